"""The newest forecast of every series of a file, after one pass over its events."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import Forecaster
from service.backtest.events import EventTable
from service.backtest.run import BacktestOutcome, run
from service.config.sections import Config
from service.partitions.schedule import FIRST_TRAINING

_TRAINED_AFTER = 0.8  # share of the events; the rest weighs the trained network against the other members


class Latest(NamedTuple):
    """The newest forecasts, one row per series that has one.

    Attributes:
        names: (n,) the series, sorted.
        origin_ms: (n,) int64, event time of the newest event. targets_ms: (n, horizon) int64, the times forecast.
        levels: the quantile levels. quantiles: (n, horizon, levels).
        without: series without a forecast: they have one event only, or none with a value.
        forecaster: with the state behind these forecasts.
    """

    names: list[str]
    origin_ms: NDArray[np.int64]
    targets_ms: NDArray[np.int64]
    levels: tuple[float, ...]
    quantiles: NDArray[np.floating]
    without: list[str]
    forecaster: Forecaster


def latest(config: Config, events: EventTable, progress: Callable[[int, int, str], None] | None = None) -> Latest:
    """Observes the events of a file in time order, with trainings on the way, and returns the newest forecasts.

    Args:
        config: the configuration of the daemon. Interval and seasons that are not set are estimated from all events.
        events: the events of the file.
        progress: called with the number of finished events, of all events, and the present activity.
    """
    newest = np.full(len(events.names), np.iinfo(np.int64).min)
    np.maximum.at(newest, events.series, events.timestamp_ms)
    wanted = events.timestamp_ms == newest[events.series]  # several, where the newest one has duplicates
    outcome = run(
        config, events, wanted, known=len(events), levels=config.model.quantiles,
        retrain_at=training_positions(config, len(events)), progress=progress,
    )  # fmt: skip
    return _by_series(outcome, events)


def training_positions(config: Config, events: int) -> list[int] | None:
    """Returns after how many events to train: once, near the end; None where the configuration says when."""
    if not config.retrain.grows:
        return None
    return [round(events * _TRAINED_AFTER)] if events >= FIRST_TRAINING else []


def _by_series(outcome: BacktestOutcome, events: EventTable) -> Latest:
    result = outcome.result
    last = {series: at for at, series in enumerate(events.series[result.event].tolist())}
    rows = np.array([last[series] for series in sorted(last)], np.int64)
    origin_ms = events.timestamp_ms[result.event]
    known = np.isfinite(result.quantiles[rows]).all(axis=(1, 2)) if len(rows) else np.zeros(0, np.bool_)
    rows = rows[known]
    names = [events.names[series] for series in events.series[result.event[rows]].tolist()]
    return Latest(
        names,
        origin_ms[rows],
        result.targets_ms(origin_ms)[rows],
        result.forecaster.config.quantiles,
        result.quantiles[rows],
        sorted({*events.names} - {*names}),
        result.forecaster,
    )
