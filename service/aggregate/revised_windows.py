"""Closed windows that late events (stragglers, events behind the grace) revise, with `input.late = "repair"`.

    kept       of every series the windows that closed in the last `late_within` intervals before its newest closed one
    straggler  is added to the kept window of its time, or to a new one where that had no event
    record     at its end, the changed values of each such window are events that replace those of their time

A window that a straggler opens behind the newest closed one of its series closes at the end of the record. One before
the first window of its series is the new first one; where empty windows have values, at most `MOST_REVISED` may be
between, each of which costs the forecaster a repair, and the event is late otherwise. With `empty = "last"`, the first
`MOST_REVISED` windows without events behind a revised one have its new value. So the values by time are those of a
stream without stragglers, as far as functions do not depend on the order of arrival, and such gaps are not longer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from service.aggregate.closed_windows import ClosedWindows
from service.aggregate.closing_rows import MOST_REVISED, ClosingRows, empty_values
from service.aggregate.open_window import OpenWindow, decoded_window
from service.aggregate.window_table import SeriesWindows, WindowTable


class _Straggling(NamedTuple):
    """A closed window with stragglers of the present record. before: its values without them, None for a new window."""

    series: SeriesWindows
    window: OpenWindow
    before: list[float] | None


class RevisedWindows:
    """The windows of a partition that the events of a record revise.

    Args:
        table: windows of all series.
        grace_ms: how long windows stay open after their end.

    Attributes:
        of_record: windows with stragglers of the present record, by end and series.
    """

    def __init__(self, table: WindowTable, grace_ms: int) -> None:
        self._table, self._grace = table, grace_ms
        self.of_record: dict[tuple[int, str], _Straggling] = {}

    def window_of(self, name: str, series: SeriesWindows, start: int, end: int, now: int | None) -> OpenWindow | None:
        """Returns the window of an event whose window is closed; None where it is too late.

        Args:
            name, series: of the event; a series that is new is added to the table.
            start, end: of its window.
            now: the watermark.
        """
        if not series.rule.kept_ms:
            return None
        if (known := self.of_record.get((end, name))) is not None:
            return known.window
        if (due := series.open.get(end)) is not None:  # it waits for the next record to close
            return due
        kept, before = series.kept.get(end), None
        if series.closed_ms is None or end > series.closed_ms:
            if now is None or end + self._grace <= now - series.rule.kept_ms:
                return None
            if any(other < end for other in series.open):  # these are due, and close before it
                return self._table.open(name, series, start, end)
            if not self._table.admit(name, series):
                return None
        elif end <= series.closed_ms - series.rule.kept_ms or end <= series.floor_ms or _is_before(series, end):
            return None
        if kept is None:
            window = series.rule.open(start, end)
        else:
            window = decoded_window(kept)
            before = window.values(series.rule.functions)
        self.of_record[end, name] = _Straggling(series, window, before)
        self._table.held.add(name)
        return window

    def steps(self, series: SeriesWindows, end: int, now: int | None) -> int:
        """Returns the least `late_within` that repairs an event of a closed window.

        Args:
            series: of the event. end: of its window. now: the watermark.
        """
        closed_ms, interval = series.closed_ms, series.rule.grid.interval_ms
        newest = closed_ms if closed_ms is not None and end <= closed_ms else (now or 0) - self._grace
        return 1 + (max(0, newest - end) + interval // 2) // interval

    def revise(self, record: int, closed: ClosedWindows) -> None:
        """Adds the changed values of the windows of a record to the closed ones."""
        rows = ClosingRows()
        for (_, name), found in sorted(self.of_record.items(), key=lambda item: item[0]):
            if found.window.events:  # not where the bucket of a histogram was one too many
                _revise(name, found, rows, closed)
        self.of_record.clear()
        self._table.held.clear()
        rows.move_to(closed, record)


def _is_before(series: SeriesWindows, end: int) -> bool:
    """Returns whether a window ends so long before the first one of its series that too many between have values."""
    interval = series.rule.grid.interval_ms  # a window may be longer or shorter where the clock changes
    return series.rule.fills and series.begun_ms - end > MOST_REVISED * interval + interval // 2


def _revise(name: str, found: _Straggling, rows: ClosingRows, closed: ClosedWindows) -> None:
    series, window, before = found
    rule = series.rule
    if series.closed_ms is None or window.end > series.closed_ms:
        rows.close(name, series, window, closed)
        return
    values = window.values(rule.functions)
    series.keep(window)
    if window.end <= series.begun_ms:
        # Not as revisions: the forecaster may know the series for longer than there are windows.
        rows.add(name, rule, window, values, revises=False)
        if rule.fills:
            rows.fill(name, rule, window.end, series.begun_ms, empty_values(rule, values), revises=False)
        series.begun_ms = window.start
        return
    changed = [before is None or not _same(value, before[at]) for at, value in enumerate(values)]
    rows.add(
        name, rule, window, [value if new else None for value, new in zip(values, changed, strict=True)], revises=True
    )
    if window.end == series.closed_ms:
        series.values = values
    elif any(rule.last):
        behind, _ = rule.grid.bounds(next(end for end in series.kept if end > window.end) - 1)
        empty = zip(empty_values(rule, values), rule.last, changed, strict=True)
        filled = [value if last and new else None for value, last, new in empty]
        until = window.end
        for _ in range(MOST_REVISED):
            if until < behind:
                until = rule.grid.bounds(until)[1]
        rows.fill(name, rule, window.end, until, filled, revises=True)


def _same(value: float, other: float) -> bool:
    return value == other or (math.isnan(value) and math.isnan(other))
