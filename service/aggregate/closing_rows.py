"""Windows that close together, or are revised together: their values, and those of the windows without events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from service.aggregate.closed_windows import ClosedWindows
from service.aggregate.open_window import OpenWindow
from service.aggregate.window_rules import WindowRule
from service.aggregate.window_table import SeriesWindows

MOST_EMPTY: Final = 1000
"""Empty windows of one gap, the newest ones; earlier ones are left out, like missing events."""

MOST_REVISED: Final = 32
"""Windows without events whose value follows that of a revised one, those directly behind it, and windows without
events between one before the first of a series and this: each costs a repair."""

Values = Sequence[float | None]
"""Of the functions of a window; None where it has none."""


class _Row(NamedTuple):
    end: int
    name: str
    start: int
    values: Values
    rule: WindowRule
    revises: bool


class ClosingRows:
    """The windows of one record, or of one time mark. made: number of their values."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self.made = 0

    def add(self, name: str, rule: WindowRule, window: OpenWindow, values: Values, *, revises: bool) -> None:
        """Adds one window; `revises`: its values replace earlier ones."""
        self._rows.append(_Row(window.end, name, window.start, values, rule, revises))
        self.made += len(values)

    def close(self, name: str, series: SeriesWindows, window: OpenWindow, closed: ClosedWindows) -> None:
        """Closes a window that is newer than the closed ones of its series, and those without events before it."""
        rule = series.rule
        if rule.fills and series.closed_ms is not None and series.closed_ms < window.start:
            empty = empty_values(rule, series.values)
            closed.skipped += self.fill(name, rule, series.closed_ms, window.start, empty, revises=False)
        if series.closed_ms is None:
            series.begun_ms = window.start
        series.closed_ms, series.values = window.end, window.values(rule.functions)
        self.add(name, rule, window, series.values, revises=False)
        if rule.kept_ms:
            series.keep(window)

    def fill(self, name: str, rule: WindowRule, begin: int, until: int, values: Values, *, revises: bool) -> int:
        """Adds the windows without events from `begin` to `until`, the newest `MOST_EMPTY`; returns the others."""
        for _ in range(MOST_EMPTY):
            if until <= begin:
                return 0
            start, end = rule.grid.bounds(until - 1)
            self._rows.append(_Row(end, name, start, values, rule, revises))
            self.made += len(values)
            until = start
        return (until - begin) // rule.grid.interval_ms

    def move_to(self, closed: ClosedWindows, record: int) -> None:
        """Adds them to the closed windows of a record, by end and name."""
        self._rows.sort(key=lambda row: row[:2])
        for row in self._rows:
            for name, value in zip(row.rule.names(row.name), row.values, strict=True):
                if value is None:
                    continue
                closed.series.append(name)
                closed.start_ms.append(row.start)
                closed.end_ms.append(row.end)
                closed.values.append(value)
                closed.index.append(record)
                closed.revises.append(row.revises)


def empty_values(rule: WindowRule, before: Sequence[float]) -> list[float | None]:
    """Returns the values of a window without events, behind one with the values `before`."""
    return [
        0.0 if zero else value if last and math.isfinite(value) else None
        for zero, last, value in zip(rule.zero, rule.last, before, strict=True)
    ]
