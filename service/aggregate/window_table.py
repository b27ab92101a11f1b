"""The open windows of a partition by series, and the order in which they close: by end, then by the name of the series.

Memory is bounded: `state.max_series` series, four times as many windows, `MOST_OF_SERIES` windows of one series. Of
more series, those without an open window whose last one closed first are removed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from service.aggregate.open_window import OpenWindow
from service.aggregate.window_rules import WindowRule, WindowRules

WINDOWS_PER_SERIES: Final = 4
"""Open windows of a partition, per series of `state.max_series`."""

MOST_OF_SERIES: Final = 1000
"""Open windows of one series; only a series whose times are far apart, or ahead of all others, has as many."""

_REMOVED: Final = 100  # one of so many series is removed at a time


class SeriesWindows:
    """The windows of one series.

    Attributes:
        rule: of the series.
        open: its open windows by their end.
        recent: the window of its last event, None where it is closed.
        closed_ms: end of the last closed window, None without one.
        values: of that window, nan where it has none.
    """

    __slots__ = ("closed_ms", "open", "recent", "rule", "values")

    def __init__(self, rule: WindowRule) -> None:
        self.rule = rule
        self.open: dict[int, OpenWindow] = {}
        self.recent: OpenWindow | None = None
        self.closed_ms: int | None = None
        self.values: list[float] = []


class WindowTable:
    """The windows of all series of a partition.

    Args:
        rules: of the windows.
        most_series: bound of the series.

    Attributes:
        series: by name, in the order of their first event.
        active: number of series with an open window.
        most: bound of the open windows.
    """

    def __init__(self, rules: WindowRules, most_series: int) -> None:
        self._rules, self._most_series = rules, most_series
        self.series: dict[str, SeriesWindows] = {}
        self.active, self.most = 0, WINDOWS_PER_SERIES * most_series
        self._queue: list[tuple[int, str]] = []

    def __len__(self) -> int:
        """The number of open windows."""
        return len(self._queue)

    @property
    def next_end(self) -> int | None:
        """The end of the window that closes next, None without an open one."""
        return self._queue[0][0] if self._queue else None

    def enter(self, name: str) -> SeriesWindows:
        """Returns the windows of a series; of a new one they are not in the table before `open`."""
        return self.series.get(name) or SeriesWindows(self._rules.of(name))

    def open(self, name: str, series: SeriesWindows, start: int, end: int) -> OpenWindow | None:
        """Opens a window of a series; None where that would exceed a bound."""
        if len(self._queue) >= self.most or len(series.open) >= MOST_OF_SERIES:
            return None
        if name not in self.series:
            if len(self.series) >= self._most_series and not self._remove_silent():
                return None
            self.series[name] = series
        if not series.open:
            self.active += 1
        found = series.open[end] = series.rule.open(start, end)
        heapq.heappush(self._queue, (end, name))
        return found

    def close_next(self) -> tuple[str, SeriesWindows, OpenWindow]:
        """Takes the window that closes next out of the table; its series stays."""
        end, name = heapq.heappop(self._queue)
        series = self.series[name]
        window = series.open.pop(end)
        series.recent = None
        if not series.open:
            self.active -= 1
        return name, series, window

    def forget(self, name: str) -> None:
        """Removes a series and its open windows."""
        series = self.series.pop(name, None)
        if series is not None and series.open:
            self.active -= 1
            self._queue = [entry for entry in self._queue if entry[1] != name]
            heapq.heapify(self._queue)

    def _remove_silent(self) -> bool:
        """Removes the series without an open window that have been silent for the longest time, one at least."""
        silent = sorted((one.closed_ms or 0, name) for name, one in self.series.items() if not one.open)
        for _, name in silent[: 1 + self._most_series // _REMOVED]:
            del self.series[name]
        return bool(silent)

    def windows(self) -> Iterator[OpenWindow]:
        """Yields the open windows of one series after the other."""
        for series in self.series.values():
            yield from series.open.values()

    def replace(self, series: dict[str, SeriesWindows]) -> None:
        """Replaces all windows."""
        self.series = series
        self.active = sum(1 for one in series.values() if one.open)
        self._queue = sorted((end, name) for name, one in series.items() for end in one.open)
