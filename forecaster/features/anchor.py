r"""The anchor of a row: a value that everything the row remembers is relative to, so that float32 holds it.

A row holds its lags, quantiles and statistics as y - anchor. While values are moderate in terms of the scale,

    |y| <= LARGE scale

the anchor is 0 and the row holds the values as they are: float32 is right to LARGE 2^-25 of the scale, 1e-6. Beyond, as
of a counter at 5e8 or a disk of 2e12 bytes, the anchor is a value of the series, and follows it: it is moved to the
value of an event that lies further than `LARGE` scales from it, and back to 0 once |y| <= SMALL scale. Differences of
float64 numbers that are near each other are exact, so whole numbers up to 2^53 stay whole. A function of the row's
events, as everything else in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from forecaster.features.outliers import BEFORE, FIRST, SLOTS, YOUNG_VALUES
from forecaster.features.step_inputs import LAST, LEVEL, TINY
from forecaster.kernels.jit import inlined

LARGE, SMALL = 32.0, 16.0
MUCH_SMALLER = 16.0  # a young row takes the anchor of its smallest values: one large wrong one must not cost the digits
MOST = 3.0e38  # float32 holds it


@inlined
def moved(v: float, by: float) -> float:
    """v - by within float32; nan stays nan."""
    w = np.float64(v) - by
    return MOST if w > MOST else (max(w, -MOST))


@inlined
def move_anchor(
    R: int,
    Q: int,
    horizon: int,
    A: Any,
    ring: int,
    judged: int,
    slots: int,
    ensemble_at: int,
    D: Any,
    d: int,
    by: float,
) -> None:
    """Makes all that a row remembers relative to an anchor that is `by` greater; the caller notes the new anchor.

    Args:
        R, Q, horizon: literals; `horizon` is 0 where the row has no ensemble.
        A, ring, judged, slots, ensemble_at: the row, its ring, quantiles of the next value, outlier slots, ensemble.
        D, d: statistics of the row.
        by: difference of the anchors.
    """
    for k in range(R):
        A[ring + k] = moved(A[ring + k], by)
    for j in range(Q):
        A[judged + j] = moved(A[judged + j], by)
    for k in range(SLOTS):
        A[slots + 2 * k + 1] = moved(A[slots + 2 * k + 1], by)
    A[slots + FIRST] = moved(A[slots + FIRST], by)
    A[slots + BEFORE] = moved(A[slots + BEFORE], by)
    for k in range(horizon):
        A[ensemble_at + 2 * k] = moved(A[ensemble_at + 2 * k], by)
    D[d + LEVEL] -= by
    D[d + LAST] -= by


@inlined
def next_anchor(value: float, anchor: float, scale: float, observed: int) -> float:
    """The anchor that a row is to have from an event on whose value it takes as it is.

    Args:
        value: the value, not relative to anything. anchor: the present one.
        scale: of the row before the value. observed: values before it.
    """
    if observed == 0:
        return value
    if observed < YOUNG_VALUES:  # one wrong value may have made the scale, or be the anchor
        return value if abs(value) * MUCH_SMALLER < abs(anchor) else anchor
    if scale > TINY and abs(value) <= SMALL * scale:
        return 0.0
    return value if abs(value - anchor) > LARGE * scale else anchor
