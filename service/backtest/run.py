"""One backtest by the configuration of the daemon: its network, its training, its schedule, over one file."""

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
    cadence_months,
    calendar_months,
    calendar_of,
    calendar_seasons,
    detect_seasons,
    geometric_positions,
    on_grid,
    retrained,
    start_model,
)
from service.backtest.baselines import baseline, methods
from service.backtest.events import Events
from service.backtest.grids import Grid, grids
from service.backtest.origins import LEVELS
from service.backtest.results import Scored, scored
from service.config.library import ModelSettings
from service.config.sections import Config

FIRST_RETRAINING = 2000
_MOST_SEASONS = 3  # of a network
_SERIES, _EVENTS = 64, 48  # that are asked whether their steps are months
RETRAINING_GROWTH = 1.25


@dataclass(frozen=True)
class Outcome:
    """A backtest and its cost.

    Attributes:
        result: forecasts and retrainings.
        seconds: all of it. training_seconds: of retrainings.
    """

    result: Backtest
    seconds: float
    training_seconds: float


def run(
    config: Config,
    events: Events,
    wanted: NDArray[np.bool_],
    *,
    freeze_after: float = 1.0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Outcome:
    """Runs the file through a forecaster, retrained on the way.

    Args:
        config: of the daemon.
        events: the file.
        wanted: (n,) which events' forecasts to keep.
        freeze_after: share of the events after which nothing is trained any more.
        progress: called with events done, all events, and what is going on.
    """
    model = model_config(config, events, wanted)
    n, spent = len(events), 0.0
    positions = retrain_positions(config, n, freeze_after)

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
    Forecaster(start, max_series=1, history_events=0).observe(first)  # compiles; not part of the time that is told
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
    return Outcome(result, time.perf_counter() - started, spent)


def assess(
    outcome: Outcome, events: Events, quantiles: NDArray[np.floating], *, beside_others: bool
) -> tuple[list[Grid], dict[str, Scored]]:
    """Scores of the forecasts, quantiles (n, horizon, 19), and of simple methods beside them if that is asked for."""
    result, horizon = outcome.result, quantiles.shape[1]
    seasons = result.forecaster.config.seasons
    config = result.forecaster.config
    series = grids(events, result.event, result.interval_ms, seasons, config.interval_months, config.timezone)
    found = {"forecaster": scored(series, lambda grid: quantiles[grid.at], horizon)}
    for name, (kind, season) in methods(seasons).items() if beside_others else ():
        found[name] = scored(series, partial(baseline, kind=kind, season=season, horizon=horizon), horizon)
    return series, found


def retrain_positions(config: Config, events: int, freeze_after: float = 1.0) -> list[int]:
    """Numbers of events to retrain after: `retrain.every_events` where set, else ever further apart.

    Where it was set to 0, and not merely left at that, nothing is trained, but once after `first_after_events` if that
    is set: as in a daemon.
    """
    last = int(events * freeze_after)
    every, first = config.retrain.every_events, config.retrain.first_after_events
    if not every and "every_events" in config.retrain.model_fields_set:
        return [first] if 0 < first < last else []
    if every:
        positions = [*([first] if first else []), *range((first or 0) + every, events, every)]
    else:
        positions = geometric_positions(events, first or FIRST_RETRAINING, RETRAINING_GROWTH)
    kept = [at for at in positions if at < last]
    return [*kept, last] if freeze_after < 1.0 and last > 0 else kept


def model_config(config: Config, events: Events, wanted: NDArray[np.bool_]) -> ModelConfig:
    """The network: interval and seasons from the events before the first wanted one, where they are not configured."""
    settings = config.library_model()
    if settings.quantiles == ModelSettings.model_validate({}).quantiles:
        settings = replace(settings, quantiles=LEVELS)
    before = int(np.argmax(wanted)) if wanted.any() else len(events)
    interval = settings.interval_ms or common_interval(events, before)
    if not settings.interval_ms and interval:
        months = common_months(events, before, interval, settings.timezone)
        settings = replace(settings, interval_months=months) if months else replace(settings, interval_ms=interval)
        interval = settings.interval_ms
    if not settings.seasons and interval:
        settings = replace(settings, seasons=shown_seasons(events, before, interval))
    return settings


def shown_seasons(events: Events, before: int, interval_ms: int) -> tuple[int, ...]:
    """The seasons to use, from the first `before` events: day and week where two of them fit, and what else they show.

    Day and week are taken even where no repetition is evident: a forecaster of one is an expert more in the pool, and
    measured so, leaving the week out made hourly streams worse.
    """
    series, times, values = events.series[:before], events.timestamp_ms[:before], events.value[:before]
    order = np.argsort(series, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(series[order])) + 1) if before else []
    grids = [on_grid(times[part], values[part], interval_ms) for part in parts]
    longest = max(map(len, grids), default=0)
    usual = calendar_seasons(interval_ms)
    seen = tuple(season for season in usual if 2 * season <= longest) or usual[:1]
    others = [season for season in detect_seasons(grids, interval_ms) if season not in usual]
    return tuple(sorted((*seen, *others[: _MOST_SEASONS - len(seen)])))


def common_interval(events: Events, before: int) -> int:
    """The median gap of most series among the first events, in milliseconds; 0 where series differ or none is known.

    Gaps of 28 to 31 days are alike, as those of months are; and so on for quarters and years.
    """
    medians = []
    series, times = events.series[:before], events.timestamp_ms[:before]
    for number in range(len(events.names)):
        gaps = np.diff(times[series == number])
        gaps = gaps[gaps > 0]
        if len(gaps):
            medians.append(int(np.sort(gaps)[(len(gaps) - 1) // 2]))
    if not medians:
        return 0
    found, counts = np.unique(medians, return_counts=True)
    months = cadence_months(found)
    same = counts.max() == len(medians) or (months[0] > 0 and (months == months[0]).all())
    return int(found[np.argmax(counts)]) if same else 0


def common_months(events: Events, before: int, interval_ms: int, timezone: str) -> int:
    """Months of a step of the calendar where the first events of all series, or of many of them, are such apart."""
    if not cadence_months(interval_ms):
        return 0
    series, times = events.series[:before], events.timestamp_ms[:before]
    some = np.unique(np.linspace(0, len(events.names) - 1, _SERIES).astype(int))
    rows = [times[series == number] for number in some.tolist()]
    found = {calendar_months(calendar_of(row[-_EVENTS:], interval_ms, timezone)) for row in rows if len(row) > 1}
    return found.pop() if len(found) == 1 else 0
