"""Prequential evaluation: the whole stream once, in order, each forecast made from the past alone.

The stream goes through `Forecaster.observe` as it would live, training included: at every retraining position the
model is trained on what was seen until then, compared with the one in force, and adopted if it is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Status
from forecaster.config import ModelConfig, TrainConfig
from forecaster.errors import TrainingError
from forecaster.forecaster import Forecaster
from forecaster.model import Model
from forecaster.training.compare import compare
from forecaster.training.loop import fit

BATCH = 4096


@dataclass(frozen=True)
class Retraining:
    """One retraining of a backtest: after how many events, what came of it."""

    events: int
    promoted: bool
    reason: str


@dataclass(frozen=True)
class Backtest:
    """Forecasts at the wanted origins, and what happened on the way.

    Attributes:
        event: (n,) int64, index of the event in the stream that each forecast was made after.
        quantiles: (n, horizon, levels) float32.
        retrainings: in order.
        forecaster: the forecaster as it was at the end.
    """

    event: NDArray[np.int64]
    quantiles: NDArray[np.float32]
    retrainings: list[Retraining]
    forecaster: Forecaster


def backtest(
    events: Batch,
    model: Model | ModelConfig,
    train: TrainConfig | None = None,
    *,
    retrain_at: Sequence[int] = (),
    wanted: NDArray[np.bool_] | None = None,
    max_series: int = 100_000,
    history_events: int = 1_000_000,
    progress: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Runs a stream through a forecaster.

    Args:
        events: the whole stream, in time order, all series interleaved.
        model: what to start with.
        train: how to train at the retraining positions.
        retrain_at: numbers of events after which to retrain, increasing.
        wanted: (n,) which events' forecasts to keep; all by default (memory!).
        max_series: as of `Forecaster`.
        history_events: as of `Forecaster`.
        progress: called with events done and all events.

    Returns:
        The kept forecasts. Duplicate and late events have none.
    """
    n = len(events)
    wanted = np.ones(n, np.bool_) if wanted is None else wanted
    forecaster = Forecaster(model, max_series=max_series, history_events=history_events)
    kept_events: list[NDArray[np.int64]] = []
    kept: list[NDArray[np.float32]] = []
    retrainings: list[Retraining] = []
    at = 0
    for stop in [*(p for p in retrain_at if 0 < p < n), n]:
        while at < stop:
            end = min(stop, at + BATCH)
            out = forecaster.observe(_part(events, at, end))
            keep = np.flatnonzero(wanted[at:end] & (out.status <= Status.MISSING))
            kept_events.append(keep + at)
            kept.append(out.quantiles[keep])
            at = end
            if progress:
                progress(at, n)
        if at < n:
            retrainings.append(_retrain(forecaster, at, train or TrainConfig()))
    config = forecaster.config
    empty = np.zeros((0, config.horizon, len(config.quantiles)), np.float32)
    return Backtest(
        np.concatenate(kept_events or [np.zeros(0, np.int64)]), np.concatenate(kept or [empty]), retrainings, forecaster
    )


def _part(events: Batch, start: int, end: int) -> Batch:
    covariates = None if events.covariates is None else events.covariates[start:end]
    return Batch(events.series[start:end], events.timestamp_ms[start:end], events.value[start:end], covariates)


def _retrain(forecaster: Forecaster, at: int, train: TrainConfig) -> Retraining:
    history = forecaster.history()
    try:
        report = fit(history, forecaster.model, train)
        verdict = compare(forecaster.model, report.model, history, train)
    except TrainingError as error:
        return Retraining(at, promoted=False, reason=str(error))
    if verdict.promote:
        forecaster.adopt(report.model)
    return Retraining(at, verdict.promote, verdict.reason)


@dataclass(frozen=True)
class Scores:
    """Mean scores over all scored targets of one series or many.

    Attributes:
        mase: mean absolute error of the median in units of `scale`. scrps: twice the mean pinball loss over the
            levels, in the same units. coverage: level of a central interval -> share of targets inside.
        targets: how many were scored.
    """

    mase: float
    scrps: float
    coverage: dict[float, float]
    targets: int


def score(
    quantiles: NDArray[np.floating], targets: NDArray[np.floating], levels: Sequence[float], scale: float
) -> Scores:
    """Scores forecasts of one series.

    Args:
        quantiles: (n, horizon, levels). targets: (n, horizon), nan where there is none.
        levels: the quantile levels, 0.5 among them.
        scale: unit of the errors, e.g. the mean absolute seasonal difference (Hyndman and Koehler 2006).

    Returns:
        The scores; nan where there was nothing to score.
    """
    there = np.isfinite(targets)
    if not there.any():
        return Scores(float("nan"), float("nan"), {}, 0)
    q, y = quantiles[there].astype(np.float64), targets[there].astype(np.float64)
    a = np.asarray(levels, np.float64)
    error = y[:, None] - q
    pinball = np.maximum(a * error, (a - 1.0) * error)
    coverage = {}
    for low, level in enumerate(a[a < 0.5]):
        high = np.flatnonzero(np.isclose(a, 1.0 - level))
        if len(high):
            inside = (y >= q[:, low]) & (y <= q[:, high[0]])
            coverage[round(float(1.0 - 2.0 * level), 6)] = float(inside.mean())
    median = int(np.flatnonzero(a == 0.5)[0])
    return Scores(
        float(np.abs(error[:, median]).mean() / scale), float(2.0 * pinball.mean() / scale), coverage, int(there.sum())
    )
