"""The open windows of a partition by series, and the order in which they close: by end, then by the name of the series.

Memory is bounded: `state.max_series` series, four times as many open windows, `MOST_OF_SERIES` of one series, and
`input.late_within` closed windows of each. Of more series, those without an open window whose last one closed first are
removed.
"""

from __future__ import annotations

import heapq
from typing import Final

from service.aggregate.open_window import ENCODER, OpenWindow
from service.aggregate.window_rules import WindowRule, WindowRules

WINDOWS_PER_SERIES: Final = 4
"""Open windows of a partition, per series of `state.max_series`."""

MOST_OF_SERIES: Final = 1000
"""Open windows of one series; only a series whose times are far apart, or ahead of all others, has as many."""

NEVER: Final = -(1 << 62)
"""A time before all others."""

_REMOVED: Final = 100  # one of so many series is removed at a time


class SeriesWindows:
    """The windows of one series.

    Attributes:
        rule: of the series.
        open: its open windows by their end.
        recent: the window of its last event, None where it is closed.
        closed_ms: end of the last closed window, None without one.
        values: of that window, nan where it has none.
        kept: closed windows that may be revised, by their end, rising, as bytes: few of them change again, all go into
            each snapshot, and a struct is larger.
        begun_ms: begin of the first closed window. floor_ms: windows that end by it are not revised.
    """

    __slots__ = ("begun_ms", "closed_ms", "floor_ms", "kept", "open", "recent", "rule", "values")

    def __init__(self, rule: WindowRule) -> None:
        self.rule = rule
        self.open: dict[int, OpenWindow] = {}
        self.recent: OpenWindow | None = None
        self.restart()

    def restart(self) -> None:
        """Removes all that is known of closed windows."""
        self.closed_ms: int | None = None
        self.values: list[float] = []
        self.kept: dict[int, bytes] = {}
        self.begun_ms = self.floor_ms = NEVER

    def keep(self, window: OpenWindow) -> None:
        """Keeps a closed window as it is now, and removes those that have been closed for too long."""
        oldest = (self.closed_ms or 0) - self.rule.kept_ms
        in_order = not self.kept or next(reversed(self.kept)) <= window.end
        self.kept[window.end] = ENCODER.encode(window)
        if not in_order:
            self.kept = dict(sorted(self.kept.items()))
        while (end := next(iter(self.kept))) <= oldest:
            del self.kept[end]


class WindowTable:
    """The windows of all series of a partition.

    Args:
        rules: of the windows.
        most_series: bound of the series.

    Attributes:
        series: by name, in the order of their first event.
        active: number of series with an open window.
        held: series that are not removed to make room: those with stragglers of the present record.
        most: bound of the open windows.
    """

    def __init__(self, rules: WindowRules, most_series: int) -> None:
        self._rules, self._most_series = rules, most_series
        self.series: dict[str, SeriesWindows] = {}
        self.active, self.most = 0, WINDOWS_PER_SERIES * most_series
        self.held: set[str] = set()
        self._count = 0
        # By end and name. Entries of forgotten windows remain, as many as open ones at most, but not as the first one.
        self._queue: list[tuple[int, str]] = []

    def __len__(self) -> int:
        """The number of open windows."""
        return self._count

    @property
    def next_end(self) -> int | None:
        """The end of the window that closes next, None without an open one."""
        return self._queue[0][0] if self._queue else None

    def enter(self, name: str) -> SeriesWindows:
        """Returns the windows of a series; of a new one they are not in the table before `open`."""
        return self.series.get(name) or SeriesWindows(self._rules.of(name))

    def clashes(self, name: str, rule: WindowRule) -> str | None:
        """Returns a series in the table that has a value of the same name as a new series; None without one.

        Only a series with one function, such as "a.sum", and one with several, such as "a", can have such.
        """
        if len(rule.functions) > 1:
            for other in rule.names(name):
                if (there := self.series.get(other)) is not None and len(there.rule.functions) == 1:
                    return other
            return None
        other, _, function = name.rpartition(".")
        functions = () if (there := self.series.get(other)) is None else there.rule.functions
        return other if len(functions) > 1 and function in functions else None

    def open(self, name: str, series: SeriesWindows, start: int, end: int) -> OpenWindow | None:
        """Opens a window of a series; None where that would exceed a bound."""
        if self._count >= self.most or len(series.open) >= MOST_OF_SERIES:
            return None
        if not self.admit(name, series):
            return None
        if not series.open:
            self.active += 1
        self._count += 1
        found = series.open[end] = series.rule.open(start, end)
        heapq.heappush(self._queue, (end, name))
        return found

    def admit(self, name: str, series: SeriesWindows) -> bool:
        """Adds a series that is not in the table; returns whether there was room for it."""
        if name not in self.series:
            if len(self.series) >= self._most_series and not self._remove_silent():
                return False
            self.series[name] = series
        return True

    def close_next(self) -> tuple[str, SeriesWindows, OpenWindow]:
        """Takes the window that closes next out of the table; its series stays."""
        end, name = heapq.heappop(self._queue)
        series = self.series[name]
        window = series.open.pop(end)
        series.recent = None
        self._count -= 1
        if not series.open:
            self.active -= 1
        self._trim()
        return name, series, window

    def drop(self, name: str, end: int) -> None:
        """Removes one open window of a series; the series stays."""
        series = self.series[name]
        del series.open[end]
        series.recent = None
        self._count -= 1
        if not series.open:
            self.active -= 1
        self._trim()

    def forget(self, name: str) -> None:
        """Removes a series and its open windows."""
        series = self.series.pop(name, None)
        if series is not None and series.open:
            self.active -= 1
            self._count -= len(series.open)
            self._trim()

    def _trim(self) -> None:
        """Removes entries of forgotten windows: the first ones, and all where they are more than the others."""
        queue = self._queue
        if len(queue) > 2 * self._count:
            self._queue = sorted(entry for entry in set(queue) if self._is_open(*entry))
            return
        while len(queue) > self._count and not self._is_open(*queue[0]):
            heapq.heappop(queue)

    def _is_open(self, end: int, name: str) -> bool:
        series = self.series.get(name)
        return series is not None and end in series.open

    def _remove_silent(self) -> bool:
        """Removes the series without an open window that have been silent for the longest time.

        Returns:
            Whether there were any.
        """
        if self.active == len(self.series):
            return False
        silent = sorted(
            (one.closed_ms or 0, name) for name, one in self.series.items() if not one.open and name not in self.held
        )
        for _, name in silent[: 1 + self._most_series // _REMOVED]:
            del self.series[name]
        return bool(silent)

    def replace(self, series: dict[str, SeriesWindows]) -> None:
        """Replaces all windows."""
        self.series = series
        self.active = sum(1 for one in series.values() if one.open)
        self._queue = sorted((end, name) for name, one in series.items() for end in one.open)
        self._count = len(self._queue)
