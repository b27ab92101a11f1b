"""Turns the raw events of a partition into the values of closed windows, record by record.

A window closes at the end of the record with which the watermark reaches its end and the grace, at most `MOST_CLOSED`
values per record; the others close with the following records. A time mark closes windows between two records, where
the source has been silent. Late events revise closed windows, see revised_windows.py. All of it is a function of the
events and marks in their order: batches do not matter.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.state import Streamed
from service.aggregate.closed_windows import ClosedWindows
from service.aggregate.closing_rows import MOST_EMPTY, ClosingRows
from service.aggregate.histogram_buckets import MOST_BUCKETS
from service.aggregate.open_window import OpenWindow
from service.aggregate.revised_windows import RevisedWindows
from service.aggregate.watermark import Watermark
from service.aggregate.window_arrays import (
    arrays_of,
    kept_arrays,
    kept_from,
    kept_windows,
    marked_arrays,
    marked_from,
    table_from,
    watermark_from,
)
from service.aggregate.window_rules import WindowRules
from service.aggregate.window_table import MOST_OF_SERIES, NEVER, SeriesWindows, WindowTable
from service.config.aggregate import AggregateConfig
from service.messages.controls import Tombstone
from service.messages.decode import Decoded
from service.messages.parsed import Problem
from service.ports import TimeMark

MOST_CLOSED: Final = 16_384
"""Values of closed windows that one record adds, about: each becomes a forecast of the same unit."""

_LEAP: Final = 3  # longest intervals, and the grace, beyond which one event does not move the watermark


class Aggregator:
    """The windows of one partition.

    Args:
        settings: with an interval.
        most_series: bound of the series with windows.
        late_within: intervals for which closed windows are kept, to be revised; 0: they are not.

    Attributes:
        marked: the last time mark, None without any.
        marked_ms: the greatest time of all marks, `NEVER` without any: the clock may have been put back since.
    """

    def __init__(self, settings: AggregateConfig, most_series: int, late_within: int = 0) -> None:
        self._rules, self._late_within = WindowRules(settings, late_within), late_within
        self._table = WindowTable(self._rules, most_series)
        self._grace = self._rules.grace_ms
        leap = _LEAP * self._rules.longest_ms + self._grace
        self._far = max(leap, late_within and (late_within + 1) * self._rules.longest_ms + self._grace)
        self._watermark = Watermark(leap, self._rules.longest_ms, self._far)
        self._revised = RevisedWindows(self._table, self._grace)
        self._waiting = False  # windows wait for the next record to close
        self.marked: TimeMark | None = None
        self.marked_ms = NEVER

    @classmethod
    def of(cls, settings: AggregateConfig, most_series: int, late_within: int = 0) -> Aggregator | None:
        """Returns the aggregator of a configuration, None where events are forecast as they are."""
        return cls(settings, most_series, late_within) if settings.interval else None

    def __len__(self) -> int:
        """The number of open windows."""
        return len(self._table)

    @property
    def settings(self) -> dict[str, Any]:
        """What the state depends on, as JSON values: a state of other settings cannot be continued."""
        return self._rules.settings

    def take(
        self,
        events: Decoded,
        start: int,
        tombstones: deque[Tombstone],
        ends: Callable[[Sequence[str], Sequence[int]], bool] = lambda _names, _starts: False,
    ) -> tuple[ClosedWindows, int]:
        """Adds raw events to their windows, up to the end of a record after which to stop.

        Args:
            events: raw events; start: index of the first one to take.
            tombstones: those not handled yet; the handled ones are removed.
            ends: called after each record that closed windows, with their series and begins; whether to stop there.

        Returns:
            The closed windows, and the index of the first event that was not taken.
        """
        closed, table, watermark, revised = ClosedWindows(), self._table, self._watermark, self._revised
        names, index, several, bounds = events.series, events.index, events.within is not None, None
        if self._rules.has_histograms:
            names, bounds = self._rules.by_histogram(names)
        times, values = events.timestamp_ms.tolist(), events.value.tolist()
        known, leap, at, total = table.series, watermark.leap, start, len(names)
        while at < total:
            while tombstones and tombstones[0].event <= at:
                self._forget(tombstones.popleft(), closed)
            end = events.end_of_record(at + 1) if several else at + 1
            for one in range(at, end):
                name, time_ms = names[one], times[one]
                bound = None if bounds is None else bounds[one]
                if bound is not None and math.isnan(bound):
                    closed.refused.append((index[one], _no_bucket(name)))
                    continue
                series = known.get(name)
                window, is_late = None if series is None or self._waiting else series.recent, False
                if window is None or not window.start <= time_ms < window.end:
                    window, is_late = self._window_of(name, series, time_ms, index[one], closed)
                    if window is None:
                        continue
                if bound is None:
                    window.add(time_ms, values[one])
                elif not window.add_to_bucket(bound, time_ms, values[one]):
                    closed.refused.append((index[one], _no_bucket(name)))
                    continue
                closed.taken += 1
                if is_late:
                    closed.repaired += 1
            for one in range(at, end):
                name, time_ms, now, target = names[one], times[one], watermark.ms, watermark.target
                if (
                    now is None or target is None or not now - leap <= time_ms < target
                    or watermark.tail or watermark.behind or name in watermark.passed
                ):  # fmt: skip
                    watermark.observe(name, time_ms, table.active)
            before = len(closed)
            if revised.of_record:
                revised.revise(index[at], closed)
            if self._waiting or watermark.tail:
                self._close_reached(index[at], closed)
            at = end
            if len(closed) > before and ends(closed.series[before:], closed.start_ms[before:]):
                return closed, at
        while tombstones:
            self._forget(tombstones.popleft(), closed)
        return closed, at

    def values_of(self, events: Decoded) -> Decoded:
        """Returns the events of the windows that all raw events of a batch close."""
        closed, _ = self.take(events, 0, deque(events.tombstones))
        return closed.events(events, range(max(events.index, default=0) + 1))

    def _window_of(
        self, name: str, series: SeriesWindows | None, time_ms: int, record: int, closed: ClosedWindows
    ) -> tuple[OpenWindow | None, bool]:
        """Returns the window of an event, and whether it is one that is closed, or due.

        The window is None where the event is too late or beyond a bound, which is noted.
        """
        found = series or self._table.enter(name)
        if series is None and (other := self._table.clashes(name, found.rule)):
            text = f"values of the series {name!r} and {other!r} have the same name; rename one of them"
            closed.refused.append((record, Problem("series_clash", text)))
            return None, False
        start, end = found.rule.grid.bounds(time_ms)
        now = self._watermark.ms
        wrong_ms = 0 if now is None or found.closed_ms is None else found.closed_ms - max(now, time_ms)
        covered = (found.closed_ms or 0) + self._grace <= self.marked_ms
        if wrong_ms > (MOST_EMPTY * found.rule.grid.interval_ms if covered else self._far):
            # A watermark that was wrong closed it, and went back since: the series does so as well. Windows without
            # events have shown its rows the wrong time many times, so that they would take the right one for late. A
            # time that is wrong by fewer intervals passes, and may be the right one where older events are sent again.
            found.restart()
            if found.rule.fills and wrong_ms > MOST_EMPTY * found.rule.grid.interval_ms:
                closed.forget += [(len(closed), one) for one in found.rule.names(name)]
        if (now is not None and end + self._grace <= now) or (found.closed_ms is not None and end <= found.closed_ms):
            closed.late_steps[self._revised.steps(found, end, now)] += 1
            window = self._revised.window_of(name, found, start, end, now)
            if window is not None:
                return window, True
            text = (
                f"the window of event time {time_ms} ms of {name!r} is closed; a longer aggregate.grace keeps it open"
            )
            closed.refused.append((record, Problem("late", text)))
            return None, True
        window = found.open.get(end) or self._table.open(name, found, start, end)
        if window is None:
            text = (
                f"event time {time_ms} ms of {name!r} needs a further window, got {len(self._table)} open ones, "
                f"{len(found.open)} of the series, expected at most {self._table.most} and {MOST_OF_SERIES} "
                "(state.max_series); the times of this series may be wrong"
            )
            closed.refused.append((record, Problem("too_many_windows", text)))
            return None, False
        found.recent = window
        self._watermark.resting.pop(name, None)
        if self._watermark.target is None or end + self._grace < self._watermark.target:
            self._watermark.aim(end + self._grace)
        return window, False

    def _forget(self, tombstone: Tombstone, closed: ClosedWindows) -> None:
        if tombstone.series:
            (series,), _ = self._rules.by_histogram([tombstone.series])
            closed.forget += [(len(closed), name) for name in self._rules.of(series).names(series)]
            self._table.forget(series)
            self._watermark.forget(series)
            self._aim()

    def _is_due(self) -> bool:
        end, now = self._table.next_end, self._watermark.ms
        return end is not None and now is not None and end + self._grace <= now

    def _aim(self) -> None:
        end = self._table.next_end
        self._watermark.aim(None if end is None else end + self._grace)

    def _close_reached(self, record: int, closed: ClosedWindows) -> None:
        """Closes the windows whose time has come with a record, and further ones for which the watermark moves on."""
        rows, watermark = ClosingRows(), self._watermark
        while self._waiting or watermark.is_reached(self._table.active):
            near = not self._waiting and watermark.ms is not None and watermark.is_near(self._table.active)
            if not self._waiting:
                watermark.ms = watermark.target
            while rows.made < MOST_CLOSED and self._is_due():
                self._close_next(rows, closed, near=near)
            watermark.rest(self._grace)
            self._aim()
            self._waiting = self._is_due()
            if self._waiting:
                break
        rows.move_to(closed, record)

    def mark(self, mark: TimeMark) -> ClosedWindows:
        """Closes the windows whose closing time a time mark has reached, about `MOST_CLOSED` values at most.

        The watermark stays, so that events of other windows are not late because of it.
        """
        rows, closed = ClosingRows(), ClosedWindows(mark_ms=mark.time_ms)
        while rows.made < MOST_CLOSED and (end := self._table.next_end) is not None:
            if end + self._grace > mark.time_ms:
                break
            self._close_next(rows, closed, near=False)
        self._watermark.pause()
        self._aim()
        self._waiting = self._is_due()
        self.marked, self.marked_ms = mark, max(self.marked_ms, mark.time_ms)
        rows.move_to(closed, 0)
        return closed

    @property
    def next_closing_ms(self) -> int | None:
        """The event time at which the next windows close, None without open ones."""
        end = self._table.next_end
        return None if end is None else end + self._grace

    def present_ms(self) -> int:
        """Returns the event time that most series have reached, from their oldest open windows; 0 without any."""
        oldest = (min(one.open.items())[1] for one in self._table.series.values() if one.open)
        times = sorted(max(window.start, window.last_ms) for window in oldest)
        return times[(len(times) - 1) // 2] if times else 0

    def accepted_ms(self, newest_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns up to which times the events of series were accepted, as far as one can tell from the watermark.

        Times that are more than a leap ahead of it may be wrong. Where all of a series are, events behind the watermark
        were accepted, as they would be late now; where there were no others, none.

        Args:
            newest_ms: greatest event times of each series, shape (n, times), the least number where there are fewer.

        Returns:
            The times, shape (n,); the least number: none.
        """
        least = np.iinfo(np.int64).min
        now = self.present_ms() if self._watermark.ms is None else self._watermark.ms
        found: NDArray[np.int64] = np.where(newest_ms <= now + self._watermark.leap, newest_ms, least).max(axis=1)
        return np.where((found == least) & (newest_ms > least).all(axis=1), now, found)

    def _close_next(self, rows: ClosingRows, closed: ClosedWindows, *, near: bool) -> None:
        """Closes the window that ends first, and those without events before it.

        Args:
            rows, closed: extended.
            near: whether it is sure that the time is that of this window, so that much later ones are wrong.
        """
        name, series, window = self._table.close_next()
        rows.close(name, series, window, closed)
        if near and series.open:
            end = next(iter(series.open))  # the one that was opened first
            if end - window.end > MOST_OF_SERIES * series.rule.grid.interval_ms:
                self._table.drop(name, end)
                closed.dropped += 1
        if not series.open:
            self._watermark.resting[name] = window.end

    def capture(self) -> tuple[dict[str, NDArray[Any]], dict[str, Streamed]]:
        """Returns the state, without a copy of the closed windows that are kept: these are blocks that are read later.

        Neither changes with further events.
        """
        state = arrays_of(self._table, self._watermark) | marked_arrays(self.marked, self.marked_ms)
        return state | kept_arrays(self._table, self._late_within), {"kept": kept_windows(self._table)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the state; it does not change with further events."""
        state, streamed = self.capture()
        return state | {name: np.concatenate([*array.blocks()]) for name, array in streamed.items()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restores what `arrays` returned.

        Raises:
            CheckpointError: the arrays are not such a state.
        """
        series = table_from(arrays, self._rules)
        kept_from(arrays, series, self._late_within)
        self._table.replace(series)
        watermark_from(arrays, self._watermark)
        self.marked, self.marked_ms = marked_from(arrays)
        end = self._table.next_end
        self._watermark.target = None if end is None else end + self._grace
        self._waiting = self._is_due()


def _no_bucket(name: str) -> Problem:
    text = (
        f"got {name!r}, whose functions are those of histograms, expected a bucket with a number as the label le, and "
        f"at most {MOST_BUCKETS} of them"
    )
    return Problem("no_bucket", text)
