"""Calendar state of the rows whose steps are months: which rows these are, and their day of the month.

A row is tracked from the first event at which its interval may be one of months (28 days or more). Its calendar state
is a function of its events from there on, see `follow_months`; it does not depend on batching or restarts. Streams of
shorter intervals cost one comparison with the greatest interval of a batch, and no memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import is_observed
from forecaster.config import ModelConfig
from forecaster.errors import CheckpointError
from forecaster.features.calendar_steps import PACKED, SHORTEST_MS, codes_of, first_state, follow_months
from forecaster.features.counters import INTERVAL, SERIAL
from forecaster.kernels.buffers import reserve
from forecaster.state.table import Table

NAME = "calendar"
"""Name of the array of `state` in a checkpoint."""
_COLUMNS = 4  # 1 + serial of the series that has the row; time and gap of its last event; score and usual day


class CalendarWatch:
    """Tracks the calendar state of the rows of a table.

    Args:
        table: the rows.
        config: of the network; with an interval of fixed length nothing is tracked.
    """

    def __init__(self, table: Table, config: ModelConfig) -> None:
        self._table, self._months, self._timezone = table, config.interval_months, config.timezone
        self._off = config.interval_ms > 0 and not config.interval_months
        self._rows = reserve(table.max_series, _COLUMNS, np.int64)
        self._used = 0  # rows from here on were never tracked

    @property
    def array(self) -> NDArray[np.int64]:
        """The state of all rows, (max_series, columns)."""
        return self._rows

    def after(
        self,
        rows: NDArray[np.int64],
        ts: NDArray[np.int64],
        status: NDArray[np.uint8],
        interval: NDArray[np.int64],
        steps: NDArray[np.int64],
        calendar: NDArray[np.int16],
        same: NDArray[np.bool_] | None = None,
    ) -> None:
        """Updates the calendar state with events that the table has processed; writes the codes of their forecasts.

        Args:
            rows, ts, status, interval, steps: (n,) of the events, in order.
            calendar: (n,) overwritten where a code is not 0.
            same: (n,) events of the same step as the one before; they do not update the state. None: none.
        """
        if self._off or not len(rows) or interval.max() < SHORTEST_MS:
            return
        events = np.flatnonzero(is_observed(status) & (interval >= SHORTEST_MS))
        events = events[np.argsort(rows[events], kind="stable")]
        if same is not None and same[events].any():
            calendar[events] = self.codes(rows[events])  # until the first event here that begins a step
            begins = events[~same[events]]
        else:
            begins = events
        if len(begins):
            codes = self._follow(rows[begins], ts[begins], interval[begins], steps[begins])
            calendar[begins] = codes
            if len(begins) < len(events):
                at = np.cumsum(~same[events]) - 1  # type: ignore[index]  # there is one, as events were left out
                held = (at >= 0) & (rows[begins[at]] == rows[events])
                calendar[events[held]] = codes[at[held]]

    def _follow(
        self, rows: NDArray[np.int64], ts: NDArray[np.int64], interval: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Updates the state with events (n,), grouped by row and in order; returns the codes of their forecasts."""
        first = np.diff(rows, prepend=-1) != 0
        heads = rows[first]
        serials = self._table.counters[heads, SERIAL] + 1
        state = self._rows[heads]
        fresh = state[:, 0] != serials
        state[fresh, 1:] = self._first(ts[first][fresh], interval[first][fresh], steps[first][fresh])
        states = follow_months(state[:, 1:], first, ts, interval, self._months, self._timezone)
        self._used = max(self._used, int(heads.max()) + 1)
        self._rows[heads, 0] = serials
        self._rows[heads, 1:] = states[np.append(first[1:], [True])]
        return codes_of(states, interval, self._months, self._timezone)

    def _first(self, ts: NDArray[np.int64], interval: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the state of rows before their first tracked event.

        At the second event of a series, its interval gives the time of the first one.
        """
        state = first_state(len(ts))
        second = np.flatnonzero(steps == 2)
        if not self._months and len(second):
            before, alone = (ts - interval)[second], np.ones(len(second), np.bool_)
            state[second] = follow_months(state[second], alone, before, interval[second], 0, self._timezone)
        return state

    def codes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the current codes of forecasts from the last events of rows (n,)."""
        found = np.zeros(len(rows), np.int64)
        at = np.flatnonzero(rows < self._used)
        if len(at):
            state, counters = self._rows[rows[at]], self._table.counters[rows[at]]
            code = codes_of(state[:, 1:], counters[:, INTERVAL], self._months, self._timezone)
            found[at] = np.where(state[:, 0] == counters[:, SERIAL] + 1, code, 0)
        return found

    def state(self) -> dict[str, NDArray[np.int64]]:
        """Returns the state as one array: row, time, gap, and packed score and usual day of every tracked row."""
        kept = self._rows[: self._used]
        rows = np.flatnonzero((kept[:, 0] > 0) & (kept[:, 0] == self._table.counters[: self._used, SERIAL] + 1))
        return {NAME: np.column_stack((rows, kept[rows, 1:]))}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restores what `state` returned into a new watch; the table must be restored already.

        Raises:
            CheckpointError: the array does not hold such rows.
        """
        found = arrays.get(NAME)
        if found is None:  # written before months were tracked: tracking begins with the next events
            return
        used = self._table.used
        fits = found.dtype == np.int64 and found.ndim == 2 and found.shape[1] == _COLUMNS
        fits = fits and bool((np.diff(found[:, 0], prepend=-1, append=used) > 0).all())
        if not fits or ((found[:, 3] < 0) | (found[:, 3] > PACKED)).any():
            msg = (
                f"{NAME}: got {found.dtype} {found.shape}, expected int64 (rows, {_COLUMNS}) of rising rows below "
                f"{used}, with numbers from 0 to {PACKED} behind time and gap"
            )
            raise CheckpointError(msg)
        rows = found[:, 0]
        self._rows[rows, 0] = self._table.counters[rows, SERIAL] + 1
        self._rows[rows, 1:] = found[:, 1:]
        self._used = int(rows.max(initial=-1)) + 1
