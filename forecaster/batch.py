"""Input and output of `Forecaster.observe`: columns, one row per event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig
from forecaster.errors import BatchError
from forecaster.series_column import chosen


class Status(IntEnum):
    """Outcome of an event."""

    OK = 0
    MISSING = 1  # the value was nan, infinite or beyond float32: a missing observation, answered with a forecast
    DUPLICATE = 2  # the series' last event has the same timestamp: ignored, no forecast
    LATE = 3  # older than the series' last event: ignored, no forecast
    BROADCAST = 4  # of the reserved series: sets covariates for all others, no forecast
    UNKNOWN = 5  # too little has been observed for a forecast
    REPAIRED = 6  # late or revised, and put in its place: its forecast is that from the newest event, corrected


def is_observed(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns which events updated the state as the newest of their series.

    These are all but duplicate, late and broadcast ones, and repaired ones, which changed what was before the newest.

    Args:
        status: of events, see `Status`, shape (n,).

    Returns:
        Shape (n,).
    """
    taken: NDArray[np.bool_] = (status <= Status.MISSING) | (status == Status.UNKNOWN)
    return taken


class Note(IntFlag):
    """Notes on an event that updated the state: on its time (interval.py, late_events.py), and on alarms (anomaly.py).

    The library never sets the last two, which the daemon does.
    """

    SAME_STEP = 1  # less than half an interval after the newest step: the value replaces that of the step
    NEW_INTERVAL = 2  # the newest gaps agree on another interval, used from this event on
    CONTRADICTED = 4  # the newest gaps contradict the configured interval; noted once per series
    REOPENED = 8  # the newest timestamp was wrong, far ahead; the series continues from this event
    RENUMBERED = 16  # a repaired event changed the interval, or the number of the newest step
    QUIET = 32  # the alarm that began with the last anomalous event of the series is over
    MAINTENANCE = 64  # it would have been flagged, but is in a maintenance window
    OVER_BUDGET = 128  # it would have been flagged, but its group has used up its budget


@dataclass(frozen=True)
class Batch:
    """Events in the order of the stream.

    Attributes:
        series: identifier of every event's series.
        timestamp_ms: (n,) int64, event time, epoch milliseconds.
        value: (n,) float64, nan where the observation is missing.
        covariates: (n, C) float32, nan where missing; None where the model has none.
        future: (n, F, horizon) float32, known-future covariates at the 1st, 2nd, ... step ahead of each event, nan
            where missing; None where the model has none.
        revises: (n,) whether an event that is not newer than all others replaces the value of its time, if late events
            are put in their place; else it is ignored as late or a duplicate. None: no event does.
    """

    series: Sequence[str]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    covariates: NDArray[np.float32] | None = None
    future: NDArray[np.float32] | None = None
    revises: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Returns the number of events."""
        return len(self.series)

    def taken(self, which: slice | NDArray[np.int64]) -> Batch:
        """Returns some of the events.

        Args:
            which: their indices, shape (m,), in the order of the result, or a slice.
        """
        picked = self.series[which] if isinstance(which, slice) else chosen(self.series, which)
        return Batch(
            picked,
            np.asarray(self.timestamp_ms, np.int64)[which],
            np.asarray(self.value, np.float64)[which],
            None if self.covariates is None else self.covariates[which],
            None if self.future is None else self.future[which],
            None if self.revises is None else self.revises[which],
        )


@dataclass(frozen=True, slots=True)
class Silence:
    """A series that has fallen silent (silence.py).

    Attributes:
        series: its identifier.
        event: index in the batch of the event at which this was detected.
        last_ms: event time of its last event. expected_ms: when the next one was expected.
        noticed_ms: the greatest event time so far, at which this was detected.
    """

    series: str
    event: int
    last_ms: int
    expected_ms: int
    noticed_ms: int


@dataclass(frozen=True)
class Forecasts:
    """Forecasts, one row per event in the order of the batch; duplicate and late events have none (nan).

    Attributes:
        status: (n,) uint8, see `Status`.
        origin_ms: (n,) int64, event time of the event, from which horizons count; of a repaired one, that of the newest
            event of its series.
        interval_ms: (n,) int64, milliseconds per horizon step; 0 while not known (first event of a series).
        steps: (n,) int64, steps of the series so far, including this event and inserted missing ones.
        quantiles: (n, horizon, levels) float64, finite, non-decreasing over the levels; exact in float32 except
            for series whose level is large against their changes (anchor.py). All nan where there is no forecast.
        anomaly: (n,) float32, anomaly score of the event under its 1-step-ahead forecast; nan where there is none.
        flagged: (n,) uint8, 1 where the event is flagged as an anomaly, see `AnomalyConfig`.
        calendar: (n,) int16, code of steps that are months, with their day; 0: `interval_ms` is exact, see
            calendar_steps.py.
        timezone: the time zone in which these months begin.
        silences: series detected as silent at these events, in order; see `Silence`.
        notes: (n,) uint8, see `Note`; mostly 0.
        noted_ms: (n,) int64, the previous interval, the one that the gaps agree on, or the wrong timestamp; of a late
            or repaired event, by how much it is older than the newest of its series; else 0.
    """

    status: NDArray[np.uint8]
    origin_ms: NDArray[np.int64]
    interval_ms: NDArray[np.int64]
    steps: NDArray[np.int64]
    quantiles: NDArray[np.float64]
    anomaly: NDArray[np.float32]
    flagged: NDArray[np.uint8]
    silences: list[Silence] = field(default_factory=list)
    notes: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    noted_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    calendar: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.calendar) != len(self.status):  # without it, steps have a fixed length
            object.__setattr__(self, "calendar", np.zeros(len(self.status), np.int16))


Columns = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]

_NO_NUMBERS = np.zeros(1, np.float32)  # placeholder where there are no covariates


def columns(batch: Batch, config: ModelConfig) -> Columns:
    """Returns timestamps and values, and flat: covariates and known future values.

    Raises:
        BatchError: the columns do not fit each other or the model.
    """
    n = len(batch)
    ts = np.ascontiguousarray(batch.timestamp_ms, np.int64)
    value = np.ascontiguousarray(batch.value, np.float64)
    if batch.revises is not None and batch.revises.shape != (n,):
        msg = f"got {n} events and revises {batch.revises.shape}, expected one of each per event"
        raise BatchError(msg)
    if ts.shape != (n,) or value.shape != (n,):
        msg = f"got {n} series, timestamps {ts.shape} and values {value.shape}, expected one of each per event"
        raise BatchError(msg)
    names, ahead = config.covariates, config.future_covariates
    cov = _flat("covariates", batch.covariates, (n, len(names)), names)
    return ts, value, cov, _flat("future", batch.future, (n, len(ahead), config.horizon), ahead)


def _flat(
    what: str, given: NDArray[np.float32] | None, shape: tuple[int, ...], names: Sequence[str]
) -> NDArray[np.float32]:
    """Returns a column as a flat array; a single placeholder where the model has no such column."""
    if given is None:
        if names:
            each = " x ".join(map(str, shape[1:]))
            msg = f"got no {what}, expected {each} per event: {', '.join(names)}; nan where it is not known"
            raise BatchError(msg)
        return _NO_NUMBERS
    given = np.ascontiguousarray(given, np.float32)
    if given.shape != shape and (names or given.size):
        msg = f"got {what} {given.shape}, expected {shape}: {', '.join(names) or 'none'}"
        raise BatchError(msg)
    return given.reshape(-1) if given.size else _NO_NUMBERS


def allocate_forecasts(ts: NDArray[np.int64], config: ModelConfig) -> Forecasts:
    """Returns forecasts with allocated columns that the kernel has still to write."""
    n = len(ts)
    return Forecasts(
        status=np.empty(n, np.uint8),
        origin_ms=ts,
        interval_ms=np.empty(n, np.int64),
        steps=np.empty(n, np.int64),
        quantiles=np.empty((n, config.horizon, len(config.quantiles)), np.float64),
        anomaly=np.empty(n, np.float32),
        flagged=np.empty(n, np.uint8),
        notes=np.empty(n, np.uint8),
        noted_ms=np.empty(n, np.int64),
        calendar=np.zeros(n, np.int16),
        timezone=config.timezone,
    )


def empty_forecasts(ts: NDArray[np.int64], config: ModelConfig) -> Forecasts:
    """Returns empty forecasts (zeros and nan) of events without one; the caller writes their status."""
    out = allocate_forecasts(ts, config)
    columns: tuple[tuple[NDArray[Any], float], ...] = (
        (out.interval_ms, 0), (out.steps, 0), (out.flagged, 0), (out.notes, 0), (out.noted_ms, 0),
        (out.quantiles, np.nan), (out.anomaly, np.nan),
    )  # fmt: skip
    for column, value in columns:
        column.fill(value)
    return out
