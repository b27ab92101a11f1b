"""Prequential evaluation: one pass over the whole stream, in order, each forecast made from past events only.

`Forecaster.observe` runs over the stream as in live operation, training included: at every retraining position a model
is trained on the events so far, compared with the champion, and adopted if it is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Status
from forecaster.config import ModelConfig, TrainConfig
from forecaster.errors import TrainingError
from forecaster.features.calendar_steps import step_times
from forecaster.forecaster import Forecaster
from forecaster.model import Model
from forecaster.state.history import History
from forecaster.training.compare import challenge
from forecaster.training.loop import fit_from

BATCH = 4096


@dataclass(frozen=True)
class Retraining:
    """One retraining of a backtest.

    Attributes:
        events: number of events of the stream before it.
        promoted: whether its model was adopted.
        reason: the decision in words.
        champion_loss, challenger_loss, naive_loss: on the newer half of the held-out slice; nan where nothing was
            trained.
        steps: optimiser steps taken.
        seasons: those in use afterwards.
    """

    events: int
    promoted: bool
    reason: str
    champion_loss: float = float("nan")
    challenger_loss: float = float("nan")
    naive_loss: float = float("nan")
    steps: int = 0
    seasons: tuple[int, ...] = ()


@dataclass(frozen=True)
class Backtest:
    """Forecasts at the wanted origins, and the retrainings.

    Attributes:
        event: (n,) int64, index in the stream of the event that each forecast was made from.
        quantiles: (n, horizon, levels).
        interval_ms: (n,) int64, milliseconds per horizon step.
        calendar: (n,) int16, as in `Forecasts`.
        retrainings: in order.
        forecaster: the forecaster at the end of the stream.
    """

    event: NDArray[np.int64]
    quantiles: NDArray[np.floating]
    interval_ms: NDArray[np.int64]
    calendar: NDArray[np.int16]
    retrainings: list[Retraining]
    forecaster: Forecaster

    def targets_ms(self, origin_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the target times of forecasts.

        Args:
            origin_ms: event times at which they were made, epoch milliseconds, shape (n,).

        Returns:
            Epoch milliseconds, shape (n, horizon).
        """
        steps = np.arange(1, self.quantiles.shape[1] + 1)
        interval, calendar = self.interval_ms[:, None], self.calendar[:, None]
        return step_times(origin_ms[:, None], interval, calendar, steps, self.forecaster.config.timezone)


Retrain = Callable[[Forecaster, int], tuple[Forecaster, Retraining]]
"""Maps the forecaster and its number of observed events to the forecaster to continue with, and the decision."""


def backtest(
    events: Batch,
    model: Model | ModelConfig,
    train: TrainConfig | None = None,
    *,
    retrain_at: Sequence[int] = (),
    retrain: Retrain | None = None,
    wanted: NDArray[np.bool_] | None = None,
    max_series: int = 100_000,
    history_events: int = 1_000_000,
    broadcast: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Runs a stream through a forecaster.

    Args:
        events: the whole stream, in time order, all series interleaved.
        model: initial weights, or a configuration.
        train: how to train at the retraining positions.
        retrain_at: numbers of events after which to retrain, increasing.
        retrain: the retraining; `retrained` by default.
        wanted: (n,) whether to keep an event's forecasts; by default all, which takes memory.
        max_series: as in `Forecaster`.
        history_events: as in `Forecaster`.
        broadcast: as in `Forecaster`.
        progress: called with the numbers of events done and of all events.

    Returns:
        The kept forecasts. Duplicate and late events have none.
    """
    n = len(events)
    wanted = np.ones(n, np.bool_) if wanted is None else wanted
    forecaster = Forecaster(model, max_series=max_series, history_events=history_events, broadcast=broadcast)
    if retrain is None:

        def retrain(forecaster: Forecaster, at: int) -> tuple[Forecaster, Retraining]:
            return retrained(forecaster, at, train)

    config = forecaster.config
    kept_events = [np.zeros(0, np.int64)]
    kept = [np.zeros((0, config.horizon, len(config.quantiles)))]
    intervals, calendars = [np.zeros(0, np.int64)], [np.zeros(0, np.int16)]
    retrainings: list[Retraining] = []
    at = 0
    for stop in [*(p for p in retrain_at if 0 < p < n), n]:
        while at < stop:
            end = min(stop, at + BATCH)
            out = forecaster.observe(events.taken(slice(at, end)))
            keep = np.flatnonzero(wanted[at:end] & (out.status <= Status.MISSING))
            kept_events.append(keep + at)
            kept.append(out.quantiles[keep])
            intervals.append(out.interval_ms[keep])
            calendars.append(out.calendar[keep])
            at = end
            if progress:
                progress(at, n)
        if at < n:
            forecaster, decision = retrain(forecaster, at)
            retrainings.append(decision)
    return Backtest(
        np.concatenate(kept_events),
        np.concatenate(kept),
        np.concatenate(intervals),
        np.concatenate(calendars),
        retrainings,
        forecaster,
    )


def retrained(
    forecaster: Forecaster,
    at: int,
    train: TrainConfig | None = None,
    adapt: Callable[[History, Model], Model] | None = None,
    start: str = "warm",
) -> tuple[Forecaster, Retraining]:
    """Retrains as the daemon does: fits, compares on held-out events, adopts the challenger if it is better.

    Args:
        forecaster: the forecaster after `at` events; changed.
        at: number of events, reported in the result.
        train: how to train.
        adapt: may return a model of another configuration, e.g. with the seasons detected in the history; its state
            is then built by observing the history.
        start: the initial weights, see `fit_from`.

    Returns:
        The forecaster to continue with (a new one if `adapt` changed the configuration), and the decision.
    """
    train = train or TrainConfig()
    history = forecaster.history()
    if adapt is not None:
        adapted = adapt(history, forecaster.model)
        if adapted.config != forecaster.config:
            forecaster = replayed(history, adapted, forecaster)
    seasons = forecaster.config.seasons
    try:
        report = fit_from(history, forecaster.model, start, train)
        challenger, verdict = challenge(forecaster.model, report, history, train)
    except TrainingError as error:
        return forecaster, Retraining(at, promoted=False, reason=str(error), seasons=seasons)
    if verdict.promote:
        forecaster.adopt(challenger)
    losses = (verdict.champion_loss, verdict.challenger_loss, verdict.naive_loss)
    return forecaster, Retraining(at, verdict.promote, verdict.reason, *losses, report.steps, seasons)


def replayed(history: History, model: Model, before: Forecaster) -> Forecaster:
    """Returns a forecaster of another model that has observed the same recent events; limits as in `before`."""
    after = Forecaster(
        model,
        max_series=before.max_series,
        history_events=before.history_events,
        anomaly=before.anomaly,
        broadcast=before.broadcast,
    )
    known = np.flatnonzero([serial in history.names for serial in history.series.tolist()])
    names = [history.names[serial] for serial in history.series[known].tolist()]
    covariates = history.covariates[known] if history.covariates.shape[1] else None
    future = None if history.future is None else history.future[known]
    events = Batch(names, history.timestamp_ms[known], history.value[known].astype(np.float64), covariates, future)
    for start in range(0, len(events), BATCH):
        after.observe(events.taken(slice(start, start + BATCH)))
    return after


def geometric_positions(events: int, first: int, growth: float) -> list[int]:
    """Returns numbers of events to retrain after: `first`, then each `growth` times the previous, below `events`.

    Early models become outdated quickly and are cheap to retrain; later ones gain less per event.
    """
    positions, at = [], float(first)
    while at < events:
        positions.append(round(at))
        at *= growth
    return positions
