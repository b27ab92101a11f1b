"""Puts late events in their place: rewinds their row to a checkpoint before them and replays it with them.

    in order    ring <- event; the observe kernel; every L events of a row its checkpoints move on
    late        ring <- event, at its place by time; of a revised event, the value at its time
                row <- the checkpoint before it; the observe kernel for all later events of the ring, without outputs
                history: the events of the series from there on, in the places of the series, by time
                output: the forecast from the newest event of the series, corrected

**Law.** Let every late event of a stream be within L (see `LateRows.place_of`), and sort the events of every series by
time over the places that the series has in the stream. Both streams give the same rows, checkpoints, rings and history,
bit for bit, and then the same forecasts, with these exceptions, which follow the order of arrival: the prior of young
series, which all series share (ensemble/prior.py), silence detection, values that a broadcast series sets, and what
other objects learn from published forecasts. New weights hold from a place in the stream on, and no event is put
before the first event of its series under them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Columns, Forecasts, Note, Status, allocate_forecasts
from forecaster.config import ModelConfig
from forecaster.features.counters import EVENT, INTERVAL, LAST_TS, SERIAL, STEPS
from forecaster.state.calendar_rows import CalendarWatch
from forecaster.state.history import HistoryRing
from forecaster.state.late_rows import LateRows
from forecaster.state.late_words import NO_SLOT, NewEvents
from forecaster.state.table import Table

ObserveRows = Callable[[NDArray[np.int64], Columns, Forecasts, NDArray[np.float64]], None]
"""Calls the observe kernel: rows, columns, forecasts and robust values (overwritten)."""
ObservePart = Callable[[NDArray[np.int64], Columns, Forecasts, int, int, int], None]
"""Observes events start..end-1 that are in order; the last argument is the number of the first one in the stream."""


class ObservedState(NamedTuple):
    """The parts of a forecaster's state that late events change."""

    table: Table
    calendars: CalendarWatch
    history: HistoryRing


class LateEvents:
    """Observes events that may be late.

    Args:
        config: of the network.
        state: of the forecaster.
        rows: rings and checkpoints of the table's rows.
        observe_rows: calls the kernel with the present weights and a copy of the prior, which it may change.
        observe_part: observes events in order.
    """

    def __init__(
        self, config: ModelConfig, state: ObservedState, rows: LateRows, observe_rows: ObserveRows,
        observe_part: ObservePart,
    ) -> None:  # fmt: skip
        self._config, self._state, self._late = config, state, rows
        self._observe_rows, self._observe_part = observe_rows, observe_part
        self._ahead = len(config.future_covariates), config.horizon

    def observe(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, start: int, end: int, tag: int,
        first_event: int, revises: NDArray[np.bool_] | None,
    ) -> None:  # fmt: skip
        """Observes events start..end-1.

        Args:
            rows: (n,) of the events.
            taken: columns of the events.
            out: forecasts, overwritten.
            start, end: of the events.
            tag: of the weights in use.
            first_event: number of event `start` in the stream, from 1 on.
            revises: (n,) which events are revised; None: none.
        """
        self._state.table.prepare_write(rows[start:end])
        first = first_event - start
        for i in [] if revises is None else (start + np.flatnonzero(revises[start:end])).tolist():
            self._observe_new(rows, taken, out, start, i, tag, first_event)
            self._observe_revised(rows, taken, out, i, tag, first + i)
            start, first_event = i + 1, first + i + 1
        self._observe_new(rows, taken, out, start, end, tag, first_event)

    def _observe_new(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, start: int, end: int, tag: int, first_event: int
    ) -> None:
        """Observes events start..end-1, none of which is revised."""
        ts, value, covariates, future = taken
        events = NewEvents(rows, ts, value.view(np.int64), covariates, future)
        full, at = np.empty(end - start, np.int64), start
        while at < end:
            slot = self._state.history.written if self._state.history.capacity else NO_SLOT
            stop, count = self._late.append(events, at, end, slot, tag, full)
            if stop > at:
                self._observe_part(rows, taken, out, at, stop, first_event + at - start)
            self._late.move_on(full, count)
            at = stop
            if at < end and ts[at] < self._late.newest(rows[at]):
                self._observe_late(rows, taken, out, at, first_event + at - start)
                at += 1

    def _observe_late(self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, i: int, number: int) -> None:
        """Observes a late event: in its place, or where it is too late, as one without this."""
        row, ts = int(rows[i]), int(taken[0][i])
        counters = self._state.table.counters[row]
        place, known = self._late.place_of(row, ts, int(counters[INTERVAL]))
        if place < 0:
            self._observe_part(rows, taken, out, i, i + 1, number)
            if out.notes[i] & Note.REOPENED:
                self._late.clear(row)
            return
        out.noted_ms[i] = int(counters[LAST_TS]) - ts
        if known:
            self._ignore(out, i, Status.DUPLICATE)
            out.noted_ms[i] = 0
        else:
            self._repair(row, place, taken, out, i, known=False)
        self._note(row, out, i, number)

    def _observe_revised(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, i: int, tag: int, number: int
    ) -> None:
        """Observes a revised event: replaces the value of its time, or puts it in its place where there is none."""
        row, ts, value = int(rows[i]), int(taken[0][i]), taken[1]
        late, counters = self._late, self._state.table.counters[rows[i]]
        if late.is_newer(row, ts, tag):
            self._observe_new(rows, taken, out, i, i + 1, tag, number)
            return
        events = NewEvents(rows, taken[0], value.view(np.int64), *taken[2:])
        late.append(events, i, i + 1, NO_SLOT, tag, np.empty(1, np.int64))  # appends nothing; checks the weights
        out.noted_ms[i] = int(counters[LAST_TS]) - ts
        place, known = late.place_of(row, ts, 0)
        if place < 0:
            self._ignore(out, i, Status.LATE)
        else:
            self._repair(row, place, taken, out, i, known=known)
        self._note(row, out, i, number)

    @staticmethod
    def _ignore(out: Forecasts, i: int, status: Status) -> None:
        """Writes the output of an event that changes nothing."""
        out.status[i], out.notes[i], out.quantiles[i], out.calendar[i] = status, 0, np.nan, 0

    def _note(self, row: int, out: Forecasts, i: int, number: int) -> None:
        """Writes the rest of the output of an event that is not the newest of its row, and the number of the event."""
        counters = self._state.table.counters[row]
        out.flagged[i], out.anomaly[i] = 0, np.nan
        out.interval_ms[i], out.steps[i], counters[EVENT] = counters[INTERVAL], counters[STEPS], number

    def _repair(self, row: int, place: int, taken: Columns, out: Forecasts, i: int, *, known: bool) -> None:
        """Puts event `i` at a place of the ring, or its value into a known event there, and replays the row."""
        late, history, (ts, value, covariates, future) = self._late, self._state.history, taken
        width, ahead = len(self._config.covariates), self._ahead[0] * self._ahead[1]
        numbers = covariates[i * width : (i + 1) * width], future[i * ahead : (i + 1) * ahead]
        if known:
            late.replace(row, place, (float(value[i]), *numbers))
        else:
            slot = history.written if history.capacity else NO_SLOT
            late.insert(row, place, (int(ts[i]), float(value[i]), *numbers), slot)
        counters = self._state.table.counters[row]
        before, base = counters[[INTERVAL, STEPS]], late.base(row)
        newer = base > 0 and place >= base
        late.rewind(row, newer=newer)
        parts = []
        if base and not newer:
            parts.append(self._replay(row, 0, base))
            late.take_newer(row)
        if base < late.count(row):
            parts.append(self._replay(row, base, None))
        newest, robust = parts[-1][0], np.concatenate([part for _, part in parts])
        if history.capacity:
            self._rewrite(row, place, robust[len(robust) - (late.count(row) - place) :], grown=not known)
        if not known and late.is_full(row):
            late.move_on(np.array([row]), 1)
        out.status[i], out.origin_ms[i] = Status.REPAIRED, late.newest(row)
        out.notes[i] = 0 if np.array_equal(before, counters[[INTERVAL, STEPS]]) else Note.RENUMBERED
        out.quantiles[i], out.calendar[i] = newest.quantiles[-1], newest.calendar[-1]

    def _replay(self, row: int, start: int, end: int | None) -> tuple[Forecasts, NDArray[np.float64]]:
        """Observes the ring's events start..end-1 again; returns their forecasts and robust values."""
        ring, part = self._late.ring(row), slice(start, end)
        ts = ring.ts[part]
        n, width, ahead = len(ts), len(self._config.covariates), self._ahead[0] * self._ahead[1]
        covariates = ring.covariates.reshape(-1, width)[part].reshape(-1) if width else _NO_NUMBERS
        future = ring.future.reshape(-1, ahead)[part].reshape(-1) if ahead else _NO_NUMBERS
        found, robust, rows = allocate_forecasts(ts, self._config), np.empty(n), np.full(n, row)
        self._observe_rows(rows, (ts, ring.value[part], covariates, future), found, robust)
        same = (found.notes & Note.SAME_STEP) != 0
        self._state.calendars.after(rows, ts, found.status, found.interval_ms, found.steps, found.calendar, same)
        return found, robust

    def _rewrite(self, row: int, place: int, robust: NDArray[np.float64], *, grown: bool) -> None:
        """Writes the ring's events from a place on to the places of the series in the history.

        grown: the last one has no place yet.
        """
        history, ring = self._state.history, self._late.ring(row)
        width = len(self._config.covariates)
        columns: dict[str, Any] = {
            "series": np.full(len(robust), self._state.table.counters[row, SERIAL]),
            "timestamp_ms": ring.ts[place:],
            "value": np.where(np.isnan(robust), np.nan, ring.value[place:]),
            "robust": robust,
            "covariates": ring.covariates.reshape(len(ring.ts), width)[place:],
        }
        if self._ahead[0]:
            columns["future"] = ring.future.reshape(len(ring.ts), *self._ahead)[place:]
        last = len(robust) - grown
        if grown:
            history.append(**{name: column[last:] for name, column in columns.items()})
        history.replace(ring.slots[place : place + last], {name: column[:last] for name, column in columns.items()},
                        self._state.table.epoch)  # fmt: skip


_NO_NUMBERS = np.zeros(1, np.float32)  # placeholder where there are no covariates
