"""A window that is open: what its events add up to, and the value of every function when it closes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from service.aggregate.counter_increase import CounterSamples
from service.aggregate.value_sample import ValueSample
from service.config.aggregate import Function

_LEVELS: Final[Mapping[str, float]] = MappingProxyType({"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99})
COUNTERS: Final = frozenset({"rate", "increase"})
QUANTILES: Final = frozenset(_LEVELS)


class OpenWindow:
    """The events of a series in one window. A plain class with slots: there may be a million of them.

    Attributes:
        start, end: its bounds, epoch ms; the end belongs to the next window.
        events: number of events. n: of those with a value.
        total, low, high: sum, least and greatest value.
        first, last: values by event time, with the times `first_ms` and `last_ms`; of equal times the first and the
            last that arrived.
        sample: the values for quantiles, None where no function needs them.
        counter: the samples of a counter, None where no function needs them.
    """

    __slots__ = (
        "counter", "end", "events", "first", "first_ms", "high", "last", "last_ms", "low", "n", "sample", "start",
        "total",
    )  # fmt: skip

    def __init__(self, start: int, end: int, sample: ValueSample | None, counter: CounterSamples | None) -> None:
        self.start, self.end, self.sample, self.counter = start, end, sample, counter
        self.events = self.n = 0
        self.total = self.low = self.high = self.first = self.last = 0.0
        self.first_ms = self.last_ms = 0

    def add(self, time_ms: int, value: float) -> None:
        """Adds an event; nan: it has no value."""
        self.events += 1
        if value != value:  # noqa: PLR0124 - nan differs from itself; faster than a call
            return
        if self.n:
            self.total += value
            if value < self.low:
                self.low = value
            elif value > self.high:
                self.high = value
            if time_ms >= self.last_ms:
                self.last, self.last_ms = value, time_ms
            elif time_ms < self.first_ms:
                self.first, self.first_ms = value, time_ms
        else:
            self.total = self.low = self.high = self.first = self.last = value
            self.first_ms = self.last_ms = time_ms
        self.n += 1
        if self.sample is not None:
            self.sample.add(value)
        if self.counter is not None:
            self.counter.add(time_ms, value)

    def values(self, functions: Sequence[Function]) -> list[float]:
        """Returns the value of each function; nan where the events have no value for it, or it is not finite."""
        found = [self._value(function) for function in functions]
        return [value if math.isfinite(value) else math.nan for value in found]

    def _value(self, function: Function) -> float:
        if function == "count":
            return float(self.events)
        if not self.n:
            return math.nan
        match function:
            case "sum":
                return self.total
            case "mean":
                return self.total / self.n
            case "min":
                return self.low
            case "max":
                return self.high
            case "first":
                return self.first
            case "last":
                return self.last
            case "rate" | "increase":
                if self.counter is None:
                    return math.nan
                found = self.counter.increase(self.start, self.end)
                return found * 1000 / (self.end - self.start) if function == "rate" else found
            case _:
                return math.nan if self.sample is None else self._quantile(self.sample, _LEVELS[function])

    def _quantile(self, sample: ValueSample, level: float) -> float:
        """Returns a quantile, which a bin may place beyond the least or greatest value."""
        return min(max(sample.quantile(level), self.low), self.high)
