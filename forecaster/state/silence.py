"""Silence: an expected event that is not observed, detected by the event time of the other series.

The clock is the watermark. An event advances it to its own time if that is at most `silent_after` intervals of its
series ahead. A single event of the year 9999 must not advance it: a time further ahead counts once `CONFIRMED`
consecutive events of two or more series, or `ALONE` of one series, were all that far ahead; then the watermark
advances to the oldest of the last ones.

A series is silent once the watermark has advanced by `silent_after` of its intervals since its last event. It is
reported once, at the first event of the stream that shows it, and can be reported again after its next event. Silence
is a function of the stream alone: it does not depend on batching, restarts or the wall clock.

Series with fewer than `KNOWN_STEPS` steps are never silent: their interval is not known yet. Any time beyond the
watermark is far ahead for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Silence, is_observed
from forecaster.features.calendar_steps import longest_ms, step_times
from forecaster.features.counters import INTERVAL, LAST_TS, SEEN, SERIAL, STEPS
from forecaster.state.calendar_rows import CalendarWatch
from forecaster.state.table import Table

KNOWN_STEPS = 3
CONFIRMED, ALONE = 3, 16
FAR = 1 << 62  # the watermark never reaches it: reported already
BEGINNING = -FAR
_NOTHING = np.zeros((0, 5), np.int64)
UNSEEN = 0  # of a row whose last event was observed while silence detection was off


@dataclass(slots=True)
class _Ahead:
    """Consecutive events that were far ahead of the watermark.

    Attributes:
        count: number of events.
        several: whether they are of more than one series.
        serial: of the last event's series.
        times: of the last `CONFIRMED` events.
    """

    count: int = 0
    several: bool = False
    serial: int = -1
    times: list[int] = field(default_factory=list)

    def clear(self) -> None:
        """Removes all events."""
        self.count, self.several, self.serial, self.times = 0, False, -1, []

    def add(self, serial: int, time: int, watermark: int) -> int:
        """Adds an event and returns the watermark after it."""
        self.several = self.several or (self.count > 0 and serial != self.serial)
        self.count, self.serial, self.times = self.count + 1, serial, [*self.times, time][-CONFIRMED:]
        if self.count < (CONFIRMED if self.several else ALONE):
            return watermark
        watermark = min(self.times)
        self.clear()
        return watermark


class SilenceWatch:
    """Detects silences in a table.

    Args:
        table: the rows; its column SEEN is written.
        silent_after: intervals without an event; 0 turns detection off.
        calendars: which rows have steps of months. timezone: of these.

    Attributes:
        watermark_ms: the watermark, see the module's description.
    """

    def __init__(self, table: Table, silent_after: int, calendars: CalendarWatch, timezone: str) -> None:
        self._table, self._after, self._calendars, self._timezone = table, silent_after, calendars, timezone
        self.watermark_ms = BEGINNING
        self._ahead = _Ahead()
        self._nearest = BEGINNING  # no row is due before the watermark reaches it; a bound, not part of the state

    def header(self) -> dict[str, Any]:
        """Returns the state for `restore`, JSON-serialisable."""
        ahead = self._ahead
        return {
            "watermark_ms": self.watermark_ms,
            "watermark_ahead": [ahead.count, int(ahead.several), ahead.serial, *ahead.times],
        }

    def restore(self, header: dict[str, Any]) -> None:
        """Continues with a restored table; with detection off, all its rows are marked as unwatched."""
        self.watermark_ms, self._ahead = BEGINNING, _Ahead()
        if self._after:
            self.watermark_ms = int(np.int64(int(header["watermark_ms"])))
            count, several, serial, *times = (int(np.int64(int(number))) for number in header["watermark_ahead"])
            self._ahead = _Ahead(count, several == 1, serial, times)
        else:
            self._table.prepare_write(np.arange(self._table.used))
            self._table.counters[: self._table.used, SEEN] = UNSEEN

    def change(self, silent_after: int) -> None:
        """Continues with another limit, as a restored watch would."""
        if silent_after != self._after:
            self._after, self._nearest = silent_after, BEGINNING
            self.restore(self.header())

    def before(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the columns of the events' rows that `after` needs, read before the events are processed.

        Returns:
            (n, 5) SEEN, INTERVAL, STEPS, LAST_TS, and the code of `calendar_steps`.
        """
        if not self._after:
            return _NOTHING
        columns = self._table.counters[rows][:, [SEEN, INTERVAL, STEPS, LAST_TS]]
        return np.column_stack((columns, self._calendars.codes(rows)))

    def after(
        self,
        rows: NDArray[np.int64],
        ts: NDArray[np.int64],
        status: NDArray[np.uint8],
        interval: NDArray[np.int64],
        steps: NDArray[np.int64],
        calendar: NDArray[np.int16],
        before: NDArray[np.int64],
        start: int,
    ) -> list[Silence]:
        """Returns the silences that these events show, in order.

        Args:
            rows, ts, status, interval, steps, calendar: (n,) of the processed events.
            before: result of `before`.
            start: index of the first event in the batch.
        """
        if not self._after:
            return []
        observed = is_observed(status)
        events = np.flatnonzero(observed)
        if not len(events):
            return []
        leap = np.where(steps >= KNOWN_STEPS, self._after * interval, 0)
        clock, seen = self._clock(rows, ts, observed, leap)
        self.watermark_ms = int(clock[-1])
        order = events[np.argsort(rows[events], kind="stable")]
        mine = rows[order]
        first, last = np.ones(len(order), np.bool_), np.ones(len(order), np.bool_)
        first[1:] = last[:-1] = mine[1:] != mine[:-1]
        until = np.full(len(order), len(ts))  # the same series' next event
        until[:-1][~last[:-1]] = order[1:][~last[:-1]]
        found: list[tuple[int, int, int, int, int]] = []  # event, row, last event, interval, code

        # 1 rows that have an event here: the time before their first one, then the time after each of them
        waited = before[order[first]]
        due = _due(waited[:, 0], waited[:, 1], waited[:, 2], self._after)
        at = np.searchsorted(clock, due)
        broken = at < order[first]
        found += _listed(at[broken], mine[first][broken], waited[broken, 3], waited[broken, 1], waited[broken, 4])
        due = _due(seen[order], interval[order], steps[order], self._after)
        at = np.searchsorted(clock, due)
        silent = at < until
        here = order[silent]
        found += _listed(at[silent], mine[silent], ts[here], interval[here], calendar[here])
        self._table.counters[mine[last], SEEN] = np.where(silent[last], FAR, seen[order[last]])
        self._nearest = min(self._nearest, int(due[last & ~silent].min(initial=FAR)))

        # 2 all other rows, if one of them can be due
        if self.watermark_ms >= self._nearest:
            found += self._others(clock, mine[last])
        return self._named(found, clock, start)

    def _clock(
        self, rows: NDArray[np.int64], ts: NDArray[np.int64], observed: NDArray[np.bool_], leap: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the watermark after each event, and when each was seen by it: its own time if that is far ahead.

        Args:
            rows, ts: of the events. observed: which of them were observed, at least one.
            leap: milliseconds to far ahead.
        """
        plain = np.maximum(np.maximum.accumulate(np.where(observed, ts, BEGINNING)), self.watermark_ms)
        if not (observed & (ts - leap > np.append(self.watermark_ms, plain[:-1]))).any():
            self._ahead = _Ahead()
            return plain, plain
        serials = self._table.counters[rows, SERIAL].tolist()
        clock, seen, now, ahead = np.empty_like(ts), ts.copy(), self.watermark_ms, self._ahead
        for i, (time, far, here) in enumerate(zip(ts.tolist(), leap.tolist(), observed.tolist(), strict=True)):
            if here and time - far > now:
                now = ahead.add(serials[i], time, now)
            elif here:
                seen[i] = now = max(now, time)
                ahead.clear()
            clock[i] = now
        return clock, seen

    def _next(self, last: int, interval: int, code: int) -> int:
        """Returns the time at which the next event was expected."""
        return int(step_times(last, interval, code, 1, self._timezone))

    def _others(self, clock: NDArray[np.int64], here: NDArray[np.int64]) -> list[tuple[int, int, int, int, int]]:
        counters = self._table.counters[: self._table.used]
        due = _due(counters[:, SEEN], counters[:, INTERVAL], counters[:, STEPS], self._after)
        others = due <= self.watermark_ms
        others[here] = False
        overdue = np.flatnonzero(others)
        at = np.searchsorted(clock, due[overdue])
        self._table.prepare_write(overdue)
        counters[overdue, SEEN] = FAR
        due[overdue] = FAR
        self._nearest = int(due.min(initial=FAR))
        return _listed(
            at, overdue, counters[overdue, LAST_TS], counters[overdue, INTERVAL], self._calendars.codes(overdue)
        )

    def _named(self, found: list[tuple[int, int, int, int, int]], clock: NDArray[Any], start: int) -> list[Silence]:
        if not found:
            return []
        names = {row: name for name, row in self._table.index.items()}
        return [
            Silence(names[row], start + at, last, self._next(last, interval, code), int(clock[at]))
            for at, row, last, interval, code in sorted(found)
            if row in names
        ]


def _listed(*columns: NDArray[Any]) -> list[tuple[int, int, int, int, int]]:
    """Returns tuples (event, row, time of the last event, interval, calendar code)."""
    at, row, last, interval, code = (column.tolist() for column in columns)
    return list(zip(at, row, last, interval, code, strict=True))


def _due(
    seen: NDArray[np.int64], interval: NDArray[np.int64], steps: NDArray[np.int64], after: int
) -> NDArray[np.int64]:
    """Returns the watermark at which a row becomes silent; FAR if it cannot."""
    waited = (steps >= KNOWN_STEPS) & (interval > 0) & (seen < FAR) & (seen != UNSEEN)
    return np.where(waited, np.where(waited, seen, 0) + after * longest_ms(interval), FAR)
