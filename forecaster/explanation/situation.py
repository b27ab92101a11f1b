"""A copy of everything that the newest forecast of a series was computed from, taken in microseconds.

The copy is of one row and of the newest events of its series in the history, so that whoever holds the forecaster can
take it between two batches, and another thread can compute with it while further events are observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import BatchError
from forecaster.features.counters import INTERVAL, LAST_TS, MODEL, OBSERVED, SERIAL, STEPS
from forecaster.features.step_inputs import LAST, LEVEL, SCALE
from forecaster.layout import row_layout
from forecaster.model import Model
from forecaster.observe.observed_rows import ObservedRows
from forecaster.state.history import HistoryRing

MOST_EVENTS: Final = 4096
"""Events of the series that are copied from the history, the newest ones."""


@dataclass(frozen=True)
class Situation:
    """A series at its newest event. All arrays are copies.

    Attributes:
        series: its identifier.
        model: the network in use.
        hidden, stats, counters: its row, see state/table.py.
        prior: of young series, (3,) float64, see ensemble/prior.py.
        calendar: code of steps that are months; 0: they have a fixed length.
        known: known future values of the newest event, (F, horizon) float32, nan where missing; None where the network
            has some, and the history no longer holds the event.
        times_ms, values: (n,) the newest events of the series in the history, `MOST_EVENTS` at most: int64 times and
            float64 values, nan where missing, outliers replaced.
    """

    series: str
    model: Model
    hidden: NDArray[np.float32]
    stats: NDArray[np.float64]
    counters: NDArray[np.int64]
    prior: NDArray[np.float64]
    calendar: int
    known: NDArray[np.float32] | None
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def origin_ms(self) -> int:
        """Event time of the newest event, from which horizons count."""
        return int(self.counters[LAST_TS])

    @property
    def interval_ms(self) -> int:
        """Milliseconds between two steps."""
        return int(self.counters[INTERVAL])

    @property
    def steps(self) -> int:
        """Steps of the series so far."""
        return int(self.counters[STEPS])

    @property
    def is_adopted(self) -> bool:
        """Whether the newest event was observed with the network in use."""
        return int(self.counters[MODEL]) == self.model.tag

    @property
    def anchor(self) -> float:
        """The value that all values of the row are relative to."""
        return float(self.stats[row_layout(self.model.layout).anchor])

    @property
    def last(self) -> float:
        """The newest observed value."""
        return self.anchor + float(self.stats[LAST])

    @property
    def level(self) -> float:
        """Running mean of the values."""
        return self.anchor + float(self.stats[LEVEL])

    @property
    def scale(self) -> float:
        """Running mean absolute deviation of the values from their level, the unit of the network."""
        return float(self.stats[SCALE])

    def value_back(self, k: int) -> tuple[float, int]:
        """Returns the value `k` steps before the newest step as the network reads it, and of how many steps it is.

        The number is 1, or that of the steps of which the value is the mean (features/profile.py). The value is nan
        where it is missing or no longer held.
        """
        ring, row = self.model.layout.ring, row_layout(self.model.layout)
        step = self.steps - 1 - k
        if step < 0 or k >= ring.reach:
            return np.nan, 1
        if k < ring.full:
            return self.anchor + float(self.hidden[row.ring + step % ring.length]), 1
        return self.anchor + float(self.hidden[row.bins + step // ring.width % ring.held]), ring.width


def situation_of(observed: ObservedRows, series: str) -> Situation:
    """Copies the present situation of a series.

    Raises:
        BatchError: it has no row, or too little was observed for a forecast of steps ahead.
    """
    row = observed.table.index.get(series)
    if row is None:
        msg = f"series: got {series[:80]!r}, expected one that has been observed and not been evicted"
        raise BatchError(msg)
    hidden, stats, counters = (array[row].copy() for array in observed.table.arrays)
    if counters[OBSERVED] == 0 or counters[INTERVAL] == 0:
        msg = f"series: got {series[:80]!r}, which has no forecast yet; expected two events or more, one with a value"
        raise BatchError(msg)
    times, values, known = _newest(observed.history, int(counters[SERIAL]))
    config = observed.model.config
    if not config.future_covariates:
        known = np.zeros((0, config.horizon), np.float32)
    elif not len(times) or times[-1] != counters[LAST_TS]:
        known = None
    return Situation(
        series, observed.model, hidden, stats, counters, observed.prior.copy(),
        int(observed.calendars.codes(np.array([row]))[0]), known, times, values,
    )  # fmt: skip


def _newest(
    history: HistoryRing, serial: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32] | None]:
    """Returns times and robust values of the newest events of a series, oldest first, and known values of the last."""
    columns, used = history.columns, min(history.written, history.capacity)
    next_one = history.written % history.capacity if used else 0
    series = columns["series"]
    at = np.flatnonzero(series[:next_one] == serial)[-MOST_EVENTS:]
    if len(at) < MOST_EVENTS:  # the older part of the ring
        older = np.flatnonzero(series[next_one:used] == serial) + next_one
        at = np.concatenate((older[max(0, len(older) + len(at) - MOST_EVENTS) :], at))
    known = columns["future"][at[-1]].copy() if "future" in columns and len(at) else None
    return columns["timestamp_ms"][at], columns["robust"][at], known
