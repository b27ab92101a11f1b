"""The values of a window, for its quantiles: exact up to `MOST_EXACT` values, then within 1 %.

Beyond it the values are counted in bins whose bounds grow by the factor (1 + a) / (1 - a), a = 0.01: the sketch of
C. Masson, J. Rim, H. Lee: DDSketch, VLDB 2019. A quantile is then off by 1 % of its value at most. There are
`MOST_BINS` bins per sign, enough for values over 17 powers of ten; of more, those nearest to zero are counted together.
So the values of a window take `MOST_BYTES` at most. The counts depend on the values in their order alone. A sketch that
draws random numbers, or is compressed when it is saved, would make the bytes of forecasts depend on restarts.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate
from typing import Final

import msgspec

from service.aggregate.number_arrays import Integers, Reals, SmallIntegers

MOST_EXACT: Final = 512
MOST_BINS: Final = 2048
MOST_BYTES: Final = 2 * MOST_BINS * 12 * 9 // 8
"""Bytes of all bins of a window: a number of 4 bytes and a count of 8 each, and an eighth of room to grow."""

ERROR: Final = 0.01
_GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_LOG: Final = math.log(_GAMMA)
_HALF: Final = math.log((1 + _GAMMA) / 2)


class Bins(msgspec.Struct, array_like=True, gc=False):
    """Counts of the values of one sign by bin, a bounded number of bins.

    Attributes:
        numbers: of the bins that have values, rising with the distance from zero. counts: of their values.
    """

    numbers: SmallIntegers = msgspec.field(default_factory=SmallIntegers)
    counts: Integers = msgspec.field(default_factory=Integers)

    def __len__(self) -> int:
        """The number of bins that have values."""
        return len(self.numbers)

    def add(self, size: float) -> None:
        """Counts a value by its distance from zero, above 0."""
        number = math.ceil(math.log(size) / _LOG)
        numbers, counts = self.numbers, self.counts
        at = bisect_left(numbers, number)
        if at < len(numbers) and numbers[at] == number:
            counts[at] += 1
            return
        if len(numbers) >= MOST_BINS:
            if not at:  # nearer to zero than all bins
                counts[0] += 1
                return
            if at == 1:
                numbers[0] = number
                counts[0] += 1
                return
            counts[1] += counts[0]
            del numbers[0], counts[0]
            at -= 1
        numbers.insert(at, number)
        counts.insert(at, 1)


class BinnedValues(msgspec.Struct, array_like=True, gc=False):
    """The values of a window as counts.

    Attributes:
        zeros: number of zeros. above, below: positive and negative values.
    """

    zeros: int = 0
    above: Bins = msgspec.field(default_factory=Bins)
    below: Bins = msgspec.field(default_factory=Bins)

    def add(self, value: float) -> None:
        """Counts a finite value."""
        if value > 0:
            self.above.add(value)
        elif value < 0:
            self.below.add(-value)
        else:
            self.zeros += 1

    def quantile(self, level: float) -> float:
        """Returns the middle of the bin that has the value with the rank of a quantile."""
        below, above = self.below, self.above
        counts = [*reversed(below.counts), self.zeros, *above.counts]
        ends = list(accumulate(counts))
        at = bisect_left(ends, int(level * (ends[-1] - 1)) + 1)
        if at < len(below):
            return -_middle(below.numbers[len(below) - 1 - at])
        return 0.0 if at == len(below) else _middle(above.numbers[at - len(below) - 1])


class ValueSample(msgspec.Struct, array_like=True, gc=False):
    """The values of one window.

    Attributes:
        exact: the values, in order of arrival; empty once they are counted in bins.
        binned: the counts, None while the values are exact.
    """

    exact: Reals = msgspec.field(default_factory=Reals)
    binned: BinnedValues | None = None

    def add(self, value: float) -> None:
        """Adds a finite value."""
        if self.binned is not None:
            self.binned.add(value)
            return
        self.exact.append(value)
        if len(self.exact) > MOST_EXACT:
            self.binned = BinnedValues()
            for one in self.exact:
                self.binned.add(one)
            self.exact = Reals()

    def check(self) -> None:
        """Checks a restored state.

        Raises:
            ValueError: it is beyond the bounds.
        """
        for bins in () if self.binned is None else (self.binned.above, self.binned.below):
            numbers = bins.numbers.tolist()
            if len(numbers) != len(bins.counts) or len(numbers) > MOST_BINS or numbers != sorted({*numbers}):
                msg = f"got {len(numbers)} bins, expected at most {MOST_BINS}, rising, with a count each"
                raise ValueError(msg)
        if len(self.exact) > (MOST_EXACT if self.binned is None else 0):
            msg = f"got {len(self.exact)} values, expected at most {MOST_EXACT}, or bins"
            raise ValueError(msg)

    def quantile(self, level: float) -> float:
        """Returns a quantile, by linear interpolation between the values while these are exact; nan without values."""
        return _interpolated(sorted(self.exact), level) if self.binned is None else self.binned.quantile(level)


def _middle(at: int) -> float:
    """Returns the value of a bin that is within `ERROR` of all values in it."""
    return math.exp(at * _LOG - _HALF)  # not beyond the float limits for any value


def _interpolated(values: list[float], level: float) -> float:
    if not values:
        return math.nan
    place = level * (len(values) - 1)
    low = int(place)
    share = place - low
    if not share:
        return values[low]
    return values[low] * (1 - share) + values[low + 1] * share
