"""The increase of a counter within a window, as Prometheus computes `increase` and `rate` (promql/functions.go).

    increase = (last - first + sum of the values before each reset) * (covered + to_start + to_end) / covered

`covered` is the time from the first to the last sample. `to_start` and `to_end` are the times to the bounds of the
window, where these are within 1.1 mean distances of samples, else half a mean distance; `to_start` is at most the time
after which the counter, at the same slope, would have been zero. A window with fewer than two samples has no increase.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from service.aggregate.number_arrays import Integers, Reals

MOST_SAMPLES: Final = 1024
"""Samples of a window that are held; of more, the older half is added up."""

_THRESHOLD: Final = 1.1  # mean distances of samples


class CounterSamples(msgspec.Struct, array_like=True, gc=False):
    """The samples of a counter in one window; their order of arrival does not matter among the newest 512.

    Attributes:
        times, values: samples that are held, in order of arrival.
        first: time and value of the first sample of those that were added up, None without any.
        before: time and value of the last one. rise: their increase without extrapolation. count: their number.
    """

    times: Integers = msgspec.field(default_factory=Integers)
    values: Reals = msgspec.field(default_factory=Reals)
    first: tuple[int, float] | None = None
    before: tuple[int, float] = (0, 0.0)
    rise: float = 0.0
    count: int = 0

    def add(self, time_ms: int, value: float) -> None:
        """Adds a sample; of samples at the same time the last one counts."""
        self.times.append(time_ms)
        self.values.append(value)
        if len(self.times) > MOST_SAMPLES:
            self._fold()

    def _sorted(self) -> list[tuple[int, float]]:
        """Returns the samples that are held by time, each time once, without those before the samples added up."""
        latest = dict(zip(self.times, self.values, strict=True))
        newest = -math.inf if self.first is None else self.before[0]
        return sorted((time, value) for time, value in latest.items() if time > newest)

    def _fold(self) -> None:
        """Adds up the older half."""
        held = self._sorted()
        older, rest = held[: len(held) // 2], held[len(held) // 2 :]
        if older and self.first is None:
            self.first = self.before = older[0]
            self.count, older = 1, older[1:]
        for sample in older:
            self.rise += _step(self.before[1], sample[1])
            self.before = sample
        self.count += len(older)
        self.times, self.values = Integers([time for time, _ in rest]), Reals([value for _, value in rest])

    def increase(self, start_ms: int, end_ms: int) -> float:
        """Returns the increase within the bounds of the window, nan with fewer than two samples."""
        held = self._sorted()
        if self.first is None:
            if len(held) < 2:
                return math.nan
            self_first, before, held = held[0], held[0], held[1:]
            rise, count = 0.0, 1
        else:
            self_first, before, rise, count = self.first, self.before, self.rise, self.count
        for sample in held:
            rise += _step(before[1], sample[1])
            before = sample
        count += len(held)
        if count < 2:
            return math.nan
        covered = before[0] - self_first[0]
        mean = covered / (count - 1)
        to_start, to_end = self_first[0] - start_ms, end_ms - before[0]
        begin = float(to_start) if to_start < _THRESHOLD * mean else mean / 2
        if rise > 0 and self_first[1] >= 0:
            begin = min(begin, covered * (self_first[1] / rise))
        end = float(to_end) if to_end < _THRESHOLD * mean else mean / 2
        return rise * ((covered + begin + end) / covered)

    def check(self) -> None:
        """Checks a restored state.

        Raises:
            ValueError: it is beyond the bounds.
        """
        times, values = len(self.times), len(self.values)
        if times != values or times > MOST_SAMPLES or self.count < 0 or (self.first is None) != (self.count == 0):
            msg = f"got {times} times, {values} values and {self.count} samples added up, expected those of a counter"
            raise ValueError(msg)


def _step(before: float, value: float) -> float:
    """Returns the growth from one sample to the next; a smaller value means that the counter began again at zero."""
    return value - before if value >= before else value
