"""The values of a window, for its quantiles: exact up to `MOST_EXACT` values, then within 1 %.

Beyond it the values are counted in bins whose bounds grow by the factor (1 + a) / (1 - a), a = 0.01: the sketch of
C. Masson, J. Rim, H. Lee: DDSketch, VLDB 2019. A quantile is then off by 1 % of its value at most. There are
`MOST_BINS` bins per sign, enough for values over 17 powers of ten; of more, those nearest to zero are counted together.
The counts depend on the values in their order alone. A sketch that draws random numbers, or is compressed when it is
saved, would make the bytes of forecasts depend on restarts.
"""

from __future__ import annotations

import math
from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_EXACT: Final = 512
MOST_BINS: Final = 2048
ERROR: Final = 0.01
_GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_LOG: Final = math.log(_GAMMA)
_HALF: Final = math.log((1 + _GAMMA) / 2)


class ValueSample:
    """The values of one window.

    Attributes:
        exact: the values, in order of arrival; empty once they are counted in bins.
        above, below: counts of positive and negative values by bin. zeros: of zeros.
    """

    __slots__ = ("above", "below", "exact", "zeros")

    def __init__(self) -> None:
        self.exact = array("d")
        self.above: dict[int, int] = {}
        self.below: dict[int, int] = {}
        self.zeros = 0

    @property
    def counts(self) -> bool:
        """Whether the values are counted in bins."""
        return bool(self.above or self.below or self.zeros)

    def add(self, value: float) -> None:
        """Adds a finite value."""
        if self.counts:
            self._count(value)
            return
        self.exact.append(value)
        if len(self.exact) > MOST_EXACT:
            for one in self.exact:
                self._count(one)
            self.exact = array("d")

    def _count(self, value: float) -> None:
        if value == 0:
            self.zeros += 1
            return
        bins = self.above if value > 0 else self.below
        at = math.ceil(math.log(abs(value)) / _LOG)
        if len(bins) >= MOST_BINS and at not in bins:
            at = _with_room(bins, at)
        bins[at] = bins.get(at, 0) + 1

    def quantile(self, level: float) -> float:
        """Returns a quantile, by linear interpolation between the values while these are exact; nan without values."""
        if not self.counts:
            return _interpolated(sorted(self.exact), level)
        total = self.zeros + sum(self.above.values()) + sum(self.below.values())
        rank, seen = int(level * (total - 1)), 0
        for at in sorted(self.below, reverse=True):
            seen += self.below[at]
            if seen > rank:
                return -_middle(at)
        seen += self.zeros
        if seen > rank:
            return 0.0
        for at in sorted(self.above):
            seen += self.above[at]
            if seen > rank:
                return _middle(at)
        return math.nan  # not reached: the counts add up to the total

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Returns the state: the exact values, and the numbers of zeros and bins, then bins and counts."""
        counts = [self.zeros, len(self.above), len(self.below)]
        pairs = [part for bins in (self.above, self.below) for at in sorted(bins) for part in (at, bins[at])]
        return np.array(self.exact, np.float64), np.array([*counts, *pairs], np.int64)

    @classmethod
    def from_arrays(cls, exact: NDArray[np.float64], counts: NDArray[np.int64]) -> ValueSample:
        """Converts what `arrays` returned.

        Raises:
            ValueError: the arrays are not such a state.
        """
        found, whole = cls(), counts.tolist()
        above, below = whole[1:3] if len(whole) >= 3 else (-1, -1)
        if len(whole) != 3 + 2 * (above + below) or min(whole) < -(1 << 40) or len(exact) > MOST_EXACT:
            msg = f"got {len(exact)} values and {len(whole)} counts, expected the values of a window"
            raise ValueError(msg)
        found.exact, found.zeros = array("d", exact.tolist()), whole[0]
        pairs = list(zip(whole[3::2], whole[4::2], strict=True))
        found.above, found.below = dict(pairs[:above]), dict(pairs[above:])
        return found


def _with_room(bins: dict[int, int], at: int) -> int:
    """Returns the bin to count in, after counting the two bins nearest to zero together where it is a further one."""
    least = min(bins)
    if at < least:
        return least
    count = bins.pop(least)
    following = min(at, *bins)
    bins[following] = bins.get(following, 0) + count
    return at


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
