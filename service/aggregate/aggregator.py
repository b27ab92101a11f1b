"""Turns the raw events of a partition into the values of closed windows, record by record.

A window closes at the end of the record with which the watermark reaches its end and the grace, at most `MOST_CLOSED`
values per record; the others close with the following records. All of it is a function of the events in the order of
their records: batches do not matter.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from service.aggregate.closed_windows import ClosedWindows
from service.aggregate.histogram_buckets import MOST_BUCKETS
from service.aggregate.open_window import OpenWindow
from service.aggregate.watermark import Watermark
from service.aggregate.window_arrays import arrays_of, table_from, watermark_from
from service.aggregate.window_rules import WindowRule, WindowRules
from service.aggregate.window_table import MOST_OF_SERIES, SeriesWindows, WindowTable
from service.config.aggregate import AggregateConfig
from service.messages.controls import Tombstone
from service.messages.decode import Decoded
from service.messages.parsed import Problem

MOST_CLOSED: Final = 16_384
"""Values of closed windows that one record adds, about: each becomes a forecast of the same unit."""

MOST_EMPTY: Final = 1000
"""Empty windows of one gap, the newest ones; earlier ones are left out, like missing events."""

_LEAP: Final = 3  # longest intervals by which one event may move the watermark
# End, series, begin, values by function; None where an empty window has none.
_Row = tuple[int, str, int, Sequence[float | None], WindowRule]


class Aggregator:
    """The windows of one partition.

    Args:
        settings: with an interval.
        most_series: bound of the series with windows.
    """

    def __init__(self, settings: AggregateConfig, most_series: int) -> None:
        self._rules = WindowRules(settings)
        self._table = WindowTable(self._rules, most_series)
        self._grace = self._rules.grace_ms
        self._watermark = Watermark(_LEAP * self._rules.longest_ms + self._grace)
        self._waiting = False  # windows wait for the next record to close

    @classmethod
    def of(cls, settings: AggregateConfig, most_series: int) -> Aggregator | None:
        """Returns the aggregator of a configuration, None where events are forecast as they are."""
        return cls(settings, most_series) if settings.interval else None

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
        ends: Callable[[Sequence[int]], bool] = lambda _: False,
    ) -> tuple[ClosedWindows, int]:
        """Adds raw events to their windows, up to the end of a record after which to stop.

        Args:
            events: raw events; start: index of the first one to take.
            tombstones: those not handled yet; the handled ones are removed.
            ends: called after each record that closed windows, with the begins of these; whether to stop there.

        Returns:
            The closed windows, and the index of the first event that was not taken.
        """
        closed, table, watermark = ClosedWindows(), self._table, self._watermark
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
                window = None if series is None or self._waiting else series.recent
                if window is None or not window.start <= time_ms < window.end:
                    window = self._window_of(name, series, time_ms, index[one], closed)
                    if window is None:
                        continue
                if bound is None:
                    window.add(time_ms, values[one])
                elif not window.add_to_bucket(bound, time_ms, values[one]):
                    closed.refused.append((index[one], _no_bucket(name)))
                    continue
                closed.taken += 1
            for one in range(at, end):
                time_ms, now = times[one], watermark.ms
                if now is not None and now - leap <= time_ms <= now and not watermark.count and not watermark.behind:
                    continue
                watermark.observe(names[one], time_ms, table.active)
            before = len(closed)
            if self._is_due():
                self._close(index[at], closed)
            at = end
            if len(closed) > before and ends(closed.start_ms[before:]):
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
    ) -> OpenWindow | None:
        """Returns the window of an event; None where it is late or beyond a bound, which is noted."""
        found = series or self._table.enter(name)
        if series is None and (other := self._table.clashes(name, found.rule)):
            text = f"values of the series {name!r} and {other!r} have the same name; rename one of them"
            closed.refused.append((record, Problem("series_clash", text)))
            return None
        start, end = found.rule.grid.bounds(time_ms)
        now, leap = self._watermark.ms, self._watermark.leap
        wrong_ms = 0 if now is None or found.closed_ms is None else found.closed_ms - max(now, time_ms)
        if wrong_ms > leap:
            # A watermark that was wrong closed it, and began anew since: the series does so as well. Windows without
            # events have shown its rows the wrong time many times, so that they would take the right one for late. A
            # time that is wrong by fewer intervals passes, and may be the right one where older events are sent again.
            found.closed_ms, found.values = None, []
            if found.rule.fills and wrong_ms > MOST_EMPTY * found.rule.grid.interval_ms:
                closed.forget += [(len(closed), one) for one in found.rule.names(name)]
        if (now is not None and end + self._grace <= now) or (found.closed_ms is not None and end <= found.closed_ms):
            text = (
                f"the window of event time {time_ms} ms of {name!r} is closed; a longer aggregate.grace keeps it open"
            )
            closed.refused.append((record, Problem("late", text)))
            return None
        window = found.open.get(end) or self._table.open(name, found, start, end)
        if window is None:
            text = (
                f"event time {time_ms} ms of {name!r} needs a further window, got {len(self._table)} open ones, "
                f"{len(found.open)} of the series, expected at most {self._table.most} and {MOST_OF_SERIES} "
                "(state.max_series); the times of this series may be wrong"
            )
            closed.refused.append((record, Problem("too_many_windows", text)))
            return None
        found.recent = window
        return window

    def _forget(self, tombstone: Tombstone, closed: ClosedWindows) -> None:
        if tombstone.series:
            (series,), _ = self._rules.by_histogram([tombstone.series])
            closed.forget += [(len(closed), name) for name in self._rules.of(series).names(series)]
            self._table.forget(series)
            self._watermark.ahead.discard(series)

    def _is_due(self) -> bool:
        end, now = self._table.next_end, self._watermark.ms
        return end is not None and now is not None and end + self._grace <= now

    def _close(self, record: int, closed: ClosedWindows) -> None:
        """Closes the windows that are due, and those without events before them, by end and name."""
        rows, made = list[_Row](), 0
        while made < MOST_CLOSED and self._is_due():
            name, series, window = self._table.close_next()
            rule, before = series.rule, len(rows)
            if rule.fills and series.closed_ms is not None and series.closed_ms < window.start:
                self._fill(name, series, window.start, rows, closed)
            series.closed_ms, series.values = window.end, window.values(rule.functions)
            rows.append((window.end, name, window.start, series.values, rule))
            made += (len(rows) - before) * len(rule.functions)
        self._waiting = self._is_due()
        rows.sort(key=lambda row: row[:2])
        for end, name, start, values, rule in rows:
            for series_name, value in zip(rule.names(name), values, strict=True):
                if value is None:
                    continue
                closed.series.append(series_name)
                closed.start_ms.append(start)
                closed.end_ms.append(end)
                closed.values.append(value)
                closed.index.append(record)

    def _fill(self, name: str, series: SeriesWindows, until: int, rows: list[_Row], closed: ClosedWindows) -> None:
        """Appends the windows without events between the last closed one and the next, the newest `MOST_EMPTY`."""
        rule, begin = series.rule, series.closed_ms or 0
        values: list[float | None] = [
            0.0 if zero else before if last and math.isfinite(before) else None
            for zero, last, before in zip(rule.zero, rule.last, series.values, strict=True)
        ]
        for _ in range(MOST_EMPTY):
            if until <= begin:
                return
            start, end = rule.grid.bounds(until - 1)
            rows.append((end, name, start, values, rule))
            until = start
        closed.skipped += (until - begin) // rule.grid.interval_ms

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the state; it does not change with further events."""
        return arrays_of(self._table, self._watermark)

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restores what `arrays` returned.

        Raises:
            CheckpointError: the arrays are not such a state.
        """
        self._table.replace(table_from(arrays, self._rules))
        watermark_from(arrays, self._watermark)
        self._waiting = self._is_due()


def _no_bucket(name: str) -> Problem:
    text = (
        f"got {name!r}, whose functions are those of histograms, expected a bucket with a number as the label le, and "
        f"at most {MOST_BUCKETS} of them"
    )
    return Problem("no_bucket", text)
