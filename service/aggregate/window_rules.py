"""The rules of windows by series: which intervals, functions and empty values apply to a name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from service.aggregate.counter_increase import CounterSamples
from service.aggregate.distinct_values import DistinctValues
from service.aggregate.histogram_buckets import HistogramBuckets, bucket_of
from service.aggregate.interval_grid import IntervalGrid
from service.aggregate.open_window import COUNTERS, QUANTILES, OpenWindow, WindowParts
from service.aggregate.value_sample import ValueSample
from service.config.aggregate import AggregateConfig, Empty, Function, is_of_histograms
from service.messages.series_patterns import SeriesPatterns

_ADDITIVE: Final = frozenset({"count", "sum"})  # nothing happened is a value of these: zero
_REMEMBERED: Final = 100_000  # names with their buckets, which a batch may exceed; then the cache is cleared


class WindowRule:
    """One rule.

    Attributes:
        grid: the windows. functions: of the values.
        zero, last: for each function, whether an empty window is zero, or has the value before.
        fills: whether any empty window has a value.
        of_histograms: whether the functions are those of the buckets of histograms.
        kept_ms: windows are kept that end less than this before the newest closed one; 0: none. It is half an interval
            less than `late_within` of them, because local days differ in length.
    """

    def __init__(self, grid: IntervalGrid, functions: Sequence[Function], empty: Empty, late_within: int = 0) -> None:
        self.grid, self.functions = grid, tuple(functions)
        self.zero = [empty == "zero" or (empty == "auto" and function in _ADDITIVE) for function in functions]
        self.last = [empty == "last"] * len(functions)
        self.fills = any(self.zero) or any(self.last)
        self.kept_ms = max(0, late_within * grid.interval_ms - grid.interval_ms // 2)
        self._sample, self._counter = bool(QUANTILES & {*functions}), bool(COUNTERS & {*functions})
        self._distinct, self.of_histograms = "distinct" in functions, is_of_histograms(functions)
        self._parts = self._sample or self._counter or self._distinct or self.of_histograms

    def names(self, series: str) -> list[str]:
        """Returns the series of the functions of a series."""
        return [series] if len(self.functions) == 1 else [f"{series}.{function}" for function in self.functions]

    def open(self, start: int, end: int) -> OpenWindow:
        """Returns a window without events."""
        return OpenWindow(start, end, self.parts())

    def parts(self) -> WindowParts | None:
        """Returns the parts of a window without events."""
        if not self._parts:
            return None
        return WindowParts(
            ValueSample() if self._sample else None,
            CounterSamples() if self._counter else None,
            DistinctValues() if self._distinct else None,
            HistogramBuckets() if self.of_histograms else None,
        )


class WindowRules:
    """The rules of a configuration.

    Args:
        settings: with an interval.
        late_within: intervals for which closed windows are kept.

    Attributes:
        grace_ms: how long windows stay open after their end.
        longest_ms: the longest interval.
        settings: what open windows depend on, as JSON values.
        has_histograms: whether any rule is of histograms.
    """

    def __init__(self, settings: AggregateConfig, late_within: int = 0) -> None:
        self.grace_ms = round(settings.grace * 1000)
        self._patterns = SeriesPatterns([rule.series for rule in settings.rules])

        def rule(interval: float, functions: Sequence[Function], empty: Empty) -> WindowRule:
            grid = IntervalGrid(round((interval or settings.interval) * 1000), settings.timezone)
            return WindowRule(grid, functions or settings.functions, empty, late_within)

        self._rules = [rule(0.0, settings.functions, settings.empty)]
        self._rules += [rule(one.interval, one.functions, one.empty or settings.empty) for one in settings.rules]
        self._counter = self._rules[0]
        if settings.counters != "functions":
            self._counter = rule(0.0, [settings.counters], settings.empty)
        self.has_histograms = any(rule.of_histograms for rule in self._rules)
        self._buckets: dict[str, tuple[str, float | None]] = {}
        self.longest_ms = max(rule.grid.interval_ms for rule in self._rules)
        self.settings: dict[str, Any] = {
            "interval": settings.interval,
            "functions": list(settings.functions),
            "counters": settings.counters,
            "timezone": settings.timezone,
            "rules": [[rule.series, rule.interval, list(rule.functions)] for rule in settings.rules],
        }

    def of(self, series: str) -> WindowRule:
        """Returns the rule of a series: the first one that matches, else that of counters or of all others."""
        number = int(self._patterns.first([series])[0])
        return self._counter if not number and is_counter(series) else self._rules[number]

    def by_histogram(self, series: Sequence[str]) -> tuple[list[str], list[float | None]]:
        """Returns the names under which the events of series have windows, and the bounds of buckets.

        The buckets of a histogram have windows in common, if the rule of its name is one of histograms. The bound is
        None for other series, and nan for a series that has such a rule and is no bucket.
        """
        known = self._buckets
        if len(known) > _REMEMBERED:
            known.clear()
        found = [known.get(name) or known.setdefault(name, self._bucket(name)) for name in series]
        return [name for name, _ in found], [bound for _, bound in found]

    def _bucket(self, series: str) -> tuple[str, float | None]:
        bucket = bucket_of(series)
        if bucket is not None and self.of(bucket.histogram).of_histograms:
            return bucket
        return series, math.nan if self.of(series).of_histograms else None


def is_counter(series: str) -> bool:
    """Returns whether a series is a counter by its name, as Prometheus names them."""
    return series.partition("{")[0].endswith("_total")
