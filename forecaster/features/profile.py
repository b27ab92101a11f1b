r"""The profile of a row: means of bins, in place of the values that only long seasons read.

A row keeps its newest values in a ring. Its seasonal lags reach 2 s steps back, with s the longest season: a number per
step, which is much where a day has 1,440 steps and a week 10,080. What lies `full` steps back or more is therefore read
at a coarser resolution: steps belong to bins of `width` steps, counted from the first step of the series, and every
step of a bin has the mean of those values of the bin that are not missing; it is missing where all of them are.

    bin(n) = n // width,     mean(b) = mean of y[b width] ... y[(b + 1) width - 1]

The mean is written when the first step of the bin comes to lie `full` steps back. The ring still holds all values of
the bin then, so that a row keeps neither sums nor counts, and a step that is observed again gives the same mean. It is
final: an outlier that is restored afterwards (outliers.py) is restored in the ring only. Like the values, means are
float32 and relative to the anchor of the row. The longest season usually has as many bins as `full` has steps:

    full = max(ceil(s / width), horizon, width, LEAST_FULL) + 1,   length = full + WARM,
    held = (2 s - full) / width + 2

A row that re-encodes its `WARM` newest steps under new weights reads what it read before: the ring is so much longer
than `full`. With width 1 there are no bins, and the ring reaches 2 s steps back.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Ring

LEAST_FULL = 16  # values that other inputs than seasons read


class RingShape(NamedTuple):
    """Sizes of a row's ring of values and of its ring of bins, in numbers; see `Ring`.

    Attributes:
        length, full, width, held, reach: as of `Ring`; `held` is 0 without bins.
    """

    length: int
    full: int
    width: int
    held: int
    reach: int


def ring_shape(longest: int, width: int, horizon: int, warm: int) -> RingShape:
    """Returns the sizes of the rings of a row.

    Args:
        longest: season in steps, 0 without one.
        width: steps of a bin.
        horizon: horizons.
        warm: steps that a row re-encodes under new weights.
    """
    reach = max(2 * longest, warm + longest) + 1
    full = max(-(-longest // width), horizon, width, LEAST_FULL) + 1
    if width == 1 or full + warm >= reach:
        return RingShape(reach, reach, 1, 0, reach)
    return RingShape(full + warm, full, width, (reach - 1 - full) // width + 2, reach)


@inlined
def whole_ring(array: Any, at: int, length: int, newest: int) -> Ring:
    """Returns the ring of values alone, all of which are read as such; the arguments are attributes of `Ring`."""
    return Ring(array, at, length, newest, length, 1, at, 1, length)


@inlined
def close_bin(ring: Ring) -> None:
    """Writes the mean of the bin whose first step now lies `full` steps back, if there is one.

    It must be called for every step, before its value is written and before any value is read as of this step.

    Args:
        ring: its newest step is the new one. The bin is overwritten.
    """
    A, width, first = ring.array, ring.width, ring.newest - ring.full
    if width > 1 and first >= 0 and first % width == 0:
        total, known = 0.0, 0.0
        for step in range(first, first + width):
            v = np.float64(A[ring.at + step % ring.length])
            if not math.isnan(v):
                total += v
                known += 1.0
        mean = total / known if known > 0.0 else math.nan
        A[ring.bins + first // width % ring.held] = np.float32(mean)  # also where the array is float64, in training


@inlined
def lag_value(ring: Ring, k: int) -> float:
    """Returns the value `k` steps before the newest step of a ring, or the mean of its bin, or nan."""
    step = ring.newest - k
    if step < 0:
        return math.nan
    if k < ring.full:
        return ring.array[ring.at + step % ring.length]  # type: ignore[no-any-return]
    if k >= ring.reach:
        return math.nan
    return ring.array[ring.bins + step // ring.width % ring.held]  # type: ignore[no-any-return]
