"""A window that is open: what its events add up to, and the value of every function when it closes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from service.aggregate.counter_increase import CounterSamples
from service.aggregate.distinct_values import DistinctValues
from service.aggregate.histogram_buckets import HistogramBuckets
from service.aggregate.number_arrays import from_bytes, to_bytes
from service.aggregate.value_sample import ValueSample
from service.config.aggregate import HISTOGRAM, Function

_LEVELS: Final[Mapping[str, float]] = MappingProxyType({"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99})
COUNTERS: Final = frozenset({"rate", "increase"})
QUANTILES: Final = frozenset(_LEVELS)


class WindowParts(msgspec.Struct, array_like=True, gc=False):
    """What a window holds besides sums; None where no function needs it.

    Attributes:
        sample: the values, for quantiles. counter: the samples of a counter. distinct: the distinct values.
        buckets: the samples of the buckets of a histogram; such a window has no other part.
    """

    sample: ValueSample | None = None
    counter: CounterSamples | None = None
    distinct: DistinctValues | None = None
    buckets: HistogramBuckets | None = None

    def kinds(self) -> list[bool]:
        """Returns which parts there are."""
        return [part is not None for part in (self.sample, self.counter, self.distinct, self.buckets)]

    def check(self) -> None:
        """Checks a restored state.

        Raises:
            ValueError: a part is beyond its bounds.
        """
        for part in (self.sample, self.counter, self.buckets):
            if part is not None:
                part.check()


class OpenWindow(msgspec.Struct, array_like=True, gc=False):
    """The events of a series in one window.

    A struct that the garbage collector does not visit, as there may be a million of them.

    Attributes:
        start, end: its bounds, epoch ms; the end belongs to the next window.
        parts: what it holds besides, None where sums are enough.
        events: number of events. missing: of those without a value.
        total, low, high: sum, least and greatest value.
        first, last: values by event time, with the times `first_ms` and `last_ms`; of equal times the first and the
            last that arrived.
    """

    start: int
    end: int
    parts: WindowParts | None = None
    events: int = 0
    missing: int = 0
    total: float = 0.0
    low: float = 0.0
    high: float = 0.0
    first: float = 0.0
    last: float = 0.0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, time_ms: int, value: float) -> None:
        """Adds an event; nan: it has no value."""
        if value != value:  # noqa: PLR0124 - nan differs from itself; faster than a call
            self.events += 1
            self.missing += 1
            return
        if self.events != self.missing:
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
        self.events += 1
        if self.parts is not None:
            self._add_to_parts(self.parts, time_ms, value)

    def _add_to_parts(self, parts: WindowParts, time_ms: int, value: float) -> None:
        if parts.sample is not None:
            parts.sample.add(value)
        if parts.counter is not None:
            parts.counter.add(time_ms, value)
        if parts.distinct is not None:
            parts.distinct.add(value)

    def add_to_bucket(self, bound: float, time_ms: int, value: float) -> bool:
        """Adds a sample of a bucket of a histogram; returns whether there was room for its bucket."""
        if math.isnan(value):
            self.missing += 1
        elif self.parts is None or self.parts.buckets is None or not self.parts.buckets.add(bound, time_ms, value):
            return False
        self.events += 1
        return True

    def values(self, functions: Sequence[Function]) -> list[float]:
        """Returns the value of each function; nan where the events have no value for it, or it is not finite."""
        found = [self._value(function) for function in functions]
        return [value if math.isfinite(value) else math.nan for value in found]

    def _value(self, function: Function) -> float:
        if function == "count":
            return float(self.events)
        if self.events == self.missing:
            return math.nan
        match function:
            case "sum":
                return self.total
            case "mean":
                return self.total / (self.events - self.missing)
            case "min":
                return self.low
            case "max":
                return self.high
            case "first":
                return self.first
            case "last":
                return self.last
            case _:
                return math.nan if self.parts is None else self._value_of_parts(self.parts, function)

    def _value_of_parts(self, parts: WindowParts, function: Function) -> float:
        """Returns the value of a function that needs a part; a bin may place a quantile beyond all values."""
        if parts.buckets is not None:
            return parts.buckets.quantile(_LEVELS[function.removeprefix(HISTOGRAM)], self.start, self.end)
        if function in COUNTERS and parts.counter is not None:
            found = parts.counter.increase(self.start, self.end)
            return found * 1000 / (self.end - self.start) if function == "rate" else found
        if function == "distinct" and parts.distinct is not None:
            return parts.distinct.number()
        if parts.sample is not None:
            return min(max(parts.sample.quantile(_LEVELS[function]), self.low), self.high)
        return math.nan


ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=to_bytes)
"""Encodes windows; the bytes of a window depend on its state alone."""

_DECODER: Final = msgspec.msgpack.Decoder(OpenWindow, dec_hook=from_bytes)


def decoded_window(state: bytes) -> OpenWindow:
    """Returns the window that `ENCODER` has encoded."""
    return _DECODER.decode(state)
