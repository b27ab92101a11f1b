"""One backtest with the configuration of the daemon: its network, its training, its schedule, over one file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from forecaster import (
    Backtest,
    Batch,
    Forecaster,
    ModelConfig,
    Retraining,
    backtest,
    geometric_positions,
    retrained,
    start_model,
)
from service.backtest.baselines import baseline, methods
from service.backtest.events import EventTable
from service.backtest.grids import Grid, grids
from service.backtest.origins import LEVELS
from service.backtest.results import Scored, scored
from service.config.library import ModelSettings
from service.config.sections import Config
from service.discovery.cadence import FirstEvents, common_interval, common_months, shown_seasons, steps_of
from service.partitions.schedule import FIRST_TRAINING

RETRAINING_GROWTH = 1.25


@dataclass(frozen=True)
class BacktestOutcome:
    """A backtest and its cost.

    Attributes:
        result: forecasts and retrainings.
        seconds: total time. training_seconds: time of retrainings.
    """

    result: Backtest
    seconds: float
    training_seconds: float


def run(
    config: Config,
    events: EventTable,
    wanted: NDArray[np.bool_],
    *,
    freeze_after: float = 1.0,
    known: int | None = None,
    levels: tuple[float, ...] = LEVELS,
    retrain_at: list[int] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> BacktestOutcome:
    """Runs the events of a file through a forecaster, with retrainings on the way.

    Args:
        config: the configuration of the daemon.
        events: the events of the file.
        wanted: (n,) whether the forecast of each event is kept.
        freeze_after: share of the events after which no training runs.
        known: number of events that show interval and seasons; None for those before the first wanted one.
        levels: quantile levels where the configuration has the default ones.
        retrain_at: numbers of events after which to train; None for those of `retrain_positions`.
        progress: called with the number of finished events, of all events, and the present activity.
    """
    if known is None:
        known = int(np.argmax(wanted)) if wanted.any() else len(events)
    model = model_config(config, events, known, levels)
    n, spent = len(events), 0.0
    positions = retrain_positions(config, n, freeze_after) if retrain_at is None else retrain_at

    def retrain(forecaster: Forecaster, at: int) -> tuple[Forecaster, Retraining]:
        nonlocal spent
        if progress:
            progress(at, n, "training")
        started = time.perf_counter()
        answer = retrained(forecaster, at, config.library_train(), start=config.retrain.start)
        spent += time.perf_counter() - started
        return answer

    start = start_model(model)
    batch = Batch(events.series_names, events.timestamp_ms, events.value, events.covariates, events.future)
    first = batch.taken(slice(1))
    Forecaster(start, max_series=1, history_events=0).observe(first)  # compiles; not part of the reported time
    started = time.perf_counter()
    result = backtest(
        batch,
        start,
        retrain_at=positions,
        retrain=retrain,
        wanted=wanted,
        max_series=max(1, len(events.names)),
        history_events=config.state.history_events,
        broadcast=config.input.broadcast,
        progress=None if progress is None else lambda done, total: progress(done, total, "forecasting"),
    )
    return BacktestOutcome(result, time.perf_counter() - started, spent)


def assess(
    outcome: BacktestOutcome, events: EventTable, quantiles: NDArray[np.floating], *, compare: bool
) -> tuple[list[Grid], dict[str, Scored]]:
    """Scores the forecasts, quantiles (n, horizon, 19), and optionally simple reference methods."""
    result, horizon = outcome.result, quantiles.shape[1]
    seasons = result.forecaster.config.seasons
    config = result.forecaster.config
    series = grids(events, result.event, result.interval_ms, seasons, config.interval_months, config.timezone)
    found = {"forecaster": scored(series, lambda grid: quantiles[grid.at], horizon)}
    for name, (kind, season) in methods(seasons).items() if compare else ():
        found[name] = scored(series, partial(baseline, kind=kind, season=season, horizon=horizon), horizon)
    return series, found


def retrain_positions(config: Config, events: int, freeze_after: float = 1.0) -> list[int]:
    """Returns the numbers of events after which to retrain: every `retrain.every_events` if set; auto: growing gaps.

    Where it is 0, no training runs, except one after `first_after_events` if that is set, as in a daemon.
    """
    last = int(events * freeze_after)
    every, first = config.retrain.event_count, config.retrain.first_after_events
    if not every and config.retrain.every_events != "auto":
        return [first] if 0 < first < last else []
    if every:
        positions = [*([first] if first else []), *range((first or 0) + every, events, every)]
    else:
        positions = geometric_positions(events, first or FIRST_TRAINING, RETRAINING_GROWTH)
    kept = [at for at in positions if at < last]
    return [*kept, last] if freeze_after < 1.0 and last > 0 else kept


def model_config(config: Config, events: EventTable, known: int, levels: tuple[float, ...] = LEVELS) -> ModelConfig:
    """Returns the network's settings.

    Interval and seasons that are not set are estimated from the first `known` events, and quantile levels that are not
    set are `levels`.
    """
    settings = config.library_model(())
    if settings.quantiles == ModelSettings.model_validate({}).quantiles:
        settings = replace(settings, quantiles=levels)
    first = FirstEvents(events.series[:known], events.timestamp_ms[:known], events.value[:known])
    interval = settings.interval_ms or common_interval(first)
    if not settings.interval_ms and interval:
        months = common_months(first, interval, settings.timezone)
        settings = replace(settings, interval_months=months) if months else replace(settings, interval_ms=interval)
        interval = settings.interval_ms
    automatic = config.model.seasons == "auto"
    seasons = shown_seasons(first, interval) if automatic and interval else steps_of(config.model, interval)
    return config.profiled(replace(settings, seasons=seasons))
