"""The rules of windows by series: which intervals, functions and empty values apply to a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from service.aggregate.counter_increase import CounterSamples
from service.aggregate.interval_grid import IntervalGrid
from service.aggregate.open_window import COUNTERS, QUANTILES, OpenWindow
from service.aggregate.value_sample import ValueSample
from service.config.aggregate import AggregateConfig, Empty, Function
from service.messages.series_patterns import SeriesPatterns

_ADDITIVE: Final = frozenset({"count", "sum"})  # nothing happened is a value of these: zero


class WindowRule:
    """One rule.

    Attributes:
        grid: the windows. functions: of the values.
        zero, last: for each function, whether an empty window is zero, or has the value before.
        fills: whether any empty window has a value.
    """

    def __init__(self, grid: IntervalGrid, functions: Sequence[Function], empty: Empty) -> None:
        self.grid, self.functions = grid, tuple(functions)
        self.zero = [empty == "zero" or (empty == "auto" and function in _ADDITIVE) for function in functions]
        self.last = [empty == "last"] * len(functions)
        self.fills = any(self.zero) or any(self.last)
        self._quantiles, self._counters = bool(QUANTILES & {*functions}), bool(COUNTERS & {*functions})

    def names(self, series: str) -> list[str]:
        """Returns the series of the functions of a series."""
        return [series] if len(self.functions) == 1 else [f"{series}.{function}" for function in self.functions]

    def open(self, start: int, end: int) -> OpenWindow:
        """Returns a window without events."""
        sample = ValueSample() if self._quantiles else None
        return OpenWindow(start, end, sample, CounterSamples() if self._counters else None)


class WindowRules:
    """The rules of a configuration.

    Args:
        settings: with an interval.

    Attributes:
        grace_ms: how long windows stay open after their end.
        longest_ms: the longest interval.
        settings: what open windows depend on, as JSON values.
    """

    def __init__(self, settings: AggregateConfig) -> None:
        self.grace_ms = round(settings.grace * 1000)
        self._patterns = SeriesPatterns([rule.series for rule in settings.rules])
        self._rules = [WindowRule(self._grid(settings, settings.interval), settings.functions, settings.empty)]
        for rule in settings.rules:
            grid = self._grid(settings, rule.interval or settings.interval)
            self._rules.append(WindowRule(grid, rule.functions or settings.functions, rule.empty or settings.empty))
        self.longest_ms = max(rule.grid.interval_ms for rule in self._rules)
        self.settings: dict[str, Any] = {
            "interval": settings.interval,
            "functions": list(settings.functions),
            "timezone": settings.timezone,
            "rules": [[rule.series, rule.interval, list(rule.functions)] for rule in settings.rules],
        }

    @staticmethod
    def _grid(settings: AggregateConfig, interval: float) -> IntervalGrid:
        return IntervalGrid(round(interval * 1000), settings.timezone)

    def of(self, series: str) -> WindowRule:
        """Returns the rule of a series."""
        return self._rules[int(self._patterns.first([series])[0])]
