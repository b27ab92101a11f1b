r"""The anchor of a row: a value that all stored values are relative to, so that float32 is precise enough.

A row holds its lags, quantiles and statistics as y - anchor. While values are moderate in terms of the scale,

    |y| <= LARGE scale

the anchor is 0 and the row holds the values unchanged: the rounding error of float32 is LARGE 2^-25 of the scale, 1e-6.
For larger values, such as a counter at 5e8 or a disk of 2e12 bytes, the anchor is a value of the series and follows it:
it is set to the value of an event that is further than `LARGE` scales from it, and back to 0 once |y| <= SMALL scale.
Differences of float64 numbers that are near each other are exact, so whole numbers up to 2^53 stay whole. Like the rest
of the row, the anchor is a function of the row's events.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from forecaster.features.outliers import BEFORE, FIRST, SLOTS, YOUNG_VALUES
from forecaster.features.step_inputs import LAST, LEVEL, TINY
from forecaster.kernels.jit import inlined

LARGE, SMALL = 32.0, 16.0
MUCH_SMALLER = 16.0  # a young row is anchored at its smallest values: one large wrong value must not cost precision
MOST = 3.0e38  # finite in float32


@inlined
def shifted(v: float, by: float) -> float:
    """Returns v - by, bounded to the range of float32; nan stays nan."""
    w = np.float64(v) - by
    return MOST if w > MOST else (max(w, -MOST))


@inlined
def move_anchor(
    R: int,
    Q: int,
    horizon: int,
    A: Any,
    ring: int,
    one_step: int,
    slots: int,
    ensemble_at: int,
    D: Any,
    d: int,
    by: float,
) -> None:
    """Makes all stored values of a row relative to an anchor that is `by` greater; the caller stores the new anchor.

    Args:
        R, Q, horizon: numbers of the ring and the bins behind it, levels, horizons; `horizon` is 0 where the row has
            no ensemble.
        A, ring, one_step, slots, ensemble_at: the row, its ring, quantiles of the next value, outlier slots, ensemble.
        D, d: statistics of the row.
        by: difference of the anchors.
    """
    for k in range(R):
        A[ring + k] = shifted(A[ring + k], by)
    for j in range(Q):
        A[one_step + j] = shifted(A[one_step + j], by)
    for k in range(SLOTS):
        A[slots + 2 * k + 1] = shifted(A[slots + 2 * k + 1], by)
    A[slots + FIRST] = shifted(A[slots + FIRST], by)
    A[slots + BEFORE] = shifted(A[slots + BEFORE], by)
    for k in range(horizon):
        A[ensemble_at + 2 * k] = shifted(A[ensemble_at + 2 * k], by)
    D[d + LEVEL] -= by
    D[d + LAST] -= by


@inlined
def next_anchor(value: float, anchor: float, scale: float, observed: int) -> float:
    """Returns the anchor of a row from an event on whose value is not replaced.

    Args:
        value: the value, not relative to an anchor. anchor: the current one.
        scale: of the row before the value. observed: number of earlier values.
    """
    if observed == 0:
        return value
    if observed < YOUNG_VALUES:  # one wrong value may dominate the scale, or be the anchor
        return value if abs(value) * MUCH_SMALLER < abs(anchor) else anchor
    if scale > TINY and abs(value) <= SMALL * scale:
        return 0.0
    return value if abs(value - anchor) > LARGE * scale else anchor
