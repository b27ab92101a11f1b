"""First values of a row: wrong ones are replaced, or become missing, once later values show it.

The first `YOUNG_VALUES` values of a row have no calibrated forecast. At each of these events, those that the lags hold
are compared with their median m: with d the median of |y - m|, a value is replaced if |y - m| > (15 + 60 / (n - 2)) d,
the newest one by the value before it; older ones become missing. Later events can revert this. Of the first two values,
the larger one is replaced if it is more than `PAIR` times the smaller one and exceeds `FILL` in size, as the fill value
-9999 does.

All values are relative to the anchor of the row (anchor.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.features.outliers import SLOTS, YOUNG_VALUES, restore_value, store_replaced
from forecaster.features.step_inputs import TINY, observe_value
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block, Ring

PAIR, FILL = 100.0, 900.0
YOUNG_FLOATS = 64  # scratch of `screen_young`


@inlined
def sort(S: Any, at: int, count: int) -> None:
    """Sorts S[at : at + count] in place, by insertion."""
    for i in range(1, count):
        v = S[at + i]
        j = i
        while j > 0 and S[at + j - 1] > v:
            S[at + j] = S[at + j - 1]
            j -= 1
        S[at + j] = v


@inlined
def median_of_sorted(S: Any, at: int, count: int) -> float:
    """Returns the median of sorted numbers."""
    return 0.5 * (np.float64(S[at + (count - 1) // 2]) + np.float64(S[at + count // 2]))


@inlined
def newest_within(R: int, A: Any, ring: int, steps: int, center: float, limit: float) -> float:
    """Returns the newest value before step `steps` that lies within `limit` of `center`, or center if there is none."""
    for back in range(1, min(steps + 1, R)):
        v = np.float64(A[ring + (steps - back) % R])
        if abs(v - center) <= limit:
            return v
    return center


@inlined
def screen_young(
    horizon: int, row: Ring, slots: int, ensemble_at: int, v: float, anchor: float, statistics: Block, scratch: Block
) -> bool:
    """Adds one of the first values of a row, and screens all of them again; level, scale and last value are recomputed.

    Args:
        horizon: literal; 0 where the row has no ensemble.
        row: the ring of the row and the step of the value; the value is written to it.
        slots, ensemble_at: where they start in the array of the row, overwritten; forecasts whose origin is a replaced
            value are cleared.
        v: the value. anchor: of the row.
        statistics: of the row, float64, overwritten.
        scratch: `YOUNG_FLOATS` numbers, overwritten.

    Returns:
        Whether the value was replaced.
    """
    A, ring, R, steps = row.array, row.at, row.length, row.newest
    D, d, S, at = statistics.array, statistics.at, scratch.array, scratch.at
    A[ring + steps % R] = v
    for k in range(SLOTS):
        if not math.isnan(A[slots + 2 * k]):
            restore_value(A, slots + 2 * k, ring, R, steps)
    count: Any = np.int64(0)  # no literal, see observe/kernel.py
    for back in range(min(steps + 1, R)):
        one = A[ring + (steps - back) % R]
        if not math.isnan(one) and count < YOUNG_VALUES:
            S[at + count] = one
            count += 1
    sort(S, at, count)
    center = median_of_sorted(S, at, count)
    deviations = at + 16
    for i in range(count):
        S[deviations + i] = abs(np.float64(S[at + i]) - center)
    sort(S, deviations, count)
    apart = median_of_sorted(S, deviations, count)
    limit = math.inf
    if count == 2:
        first, second = abs(anchor + np.float64(S[at])), abs(anchor + np.float64(S[at + 1]))
        if max(first, second) > max(PAIR * min(first, second), FILL) and min(first, second) > 0.0:
            center = np.float64(S[at] if first < second else S[at + 1])
            limit = 0.0
    elif count >= 3 and apart > TINY:
        limit = (15.0 + 60.0 / (count - 2)) * apart
    elif count >= 5 and not S[deviations + count - 1 - count // 4] > 0.0:
        limit = 0.0  # all but a few are equal
    replaced = False
    if limit < math.inf:
        for back in range(min(steps + 1, R)):
            place = ring + (steps - back) % R
            if abs(np.float64(A[place]) - center) > limit:
                store_replaced(A, slots, steps - back, A[place])
                A[place] = newest_within(R, A, ring, steps, center, limit) if back == 0 else math.nan
                replaced = replaced or back == 0
                if horizon > 0:
                    A[ensemble_at + 2 * ((steps - back) % max(horizon, 1))] = math.nan
    observed: Any = np.int64(0)
    for later in range(min(steps + 1, R)):
        one = np.float64(A[ring + (steps - min(steps, R - 1) + later) % R])
        if not math.isnan(one):
            observe_value(one, observed, D, d, 0.0, 0.0)
            observed += 1
    return replaced
