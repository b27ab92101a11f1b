r"""The trend of a row: how fast its values move on average, over memories that grow with the horizon.

Per tracked horizon k, in the units of the data, with the newest value y and `diff` its difference to the value before,
per step between them:

    slope    exponentially weighted mean of diff over the newest `SPAN` k steps, `LEAST_SPAN` at least; an extreme value
             (outliers.py) is a jump, and no part of a trend
    beyond   how far the trend's line lies above y: it follows y with a memory of `NEAR` k steps, so that the noise of
             the last value is not taken for the line's, and lies within `MOST_BEYOND` mean changes of it
    ahead    beyond + k slope: what the line says about the value k steps ahead, relative to y

A trend may go on, flatten, or be chance. What the row has shown decides, per horizon: with c what came of y, k steps
after the line said d, and running means over matured forecasts only,

    damping = (1 + DOUBT) mean(c d) / mean(d^2) - DOUBT,  within [0, 1]

the least squares coefficient, pulled towards 0: 1 on a line, less where it flattens, 0 on a random walk. The member of
the pool says y + damping * ahead; between tracked horizons that is interpolated (pool.py).

The state of a row, float32: slope, beyond, mean(c d), mean(d^2) by tracked horizon, then the mean size of a change and
the number of values; nan before `YOUNG_VALUES` values were seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster._jit import inlined
from forecaster.features import LAST, SCALE, TINY, lag_value
from forecaster.outliers import YOUNG_VALUES, or_zero

SPAN, LEAST_SPAN = 4.0, 16.0
NEAR, MOST_BEYOND = 0.25, 3.0
CHANGE_RATE = 1.0 / 64.0
DOUBT, DAMPING_RATE = 0.2, 0.01
FARTHEST = 64.0  # what a line says is bounded, in scales
N_BEHIND = 2  # numbers behind the four by horizon


def trend_floats(tracked: tuple[int, ...]) -> int:
    """Length of a row's trend."""
    return 4 * len(tracked) + N_BEHIND


@inlined
def bounded(v: float, most: float) -> float:
    """v within [-most, most]."""
    return min(max(v, -most), most)


@inlined
def trend_step(
    tracked: Any, A: Any, trend: int, diff: float, elapsed: float, scale: float, jump: int
) -> None:  # fmt: skip
    """Follows a value that lies `diff` above the one before, `elapsed` steps earlier.

    Args:
        tracked: tuple of literals.
        A, trend: the row; its trend, overwritten.
        scale: of the row.
        jump: 1 if the change is no part of a trend, 0 otherwise.
    """
    K = len(tracked)
    change, count = A[trend + 4 * K], np.float64(A[trend + 4 * K + 1]) + 1.0
    per_step = bounded(diff / elapsed, scale)
    if jump == 0:
        A[trend + 4 * K] = change + (abs(per_step) - change) * max(1.0 / count, CHANGE_RATE)
        A[trend + 4 * K + 1] = min(count, 1.0e6)
    most = MOST_BEYOND * np.float64(A[trend + 4 * K])
    for j in range(K):
        k = tracked[j]
        slope, beyond = np.float64(A[trend + j]), np.float64(A[trend + K + j])
        near = 1.0 / max(1.0, min(count, NEAR * k))
        A[trend + K + j] = bounded((1.0 - near) * (beyond + slope * elapsed - diff), most)
        if jump == 0:
            rate = min(1.0, elapsed * max(1.0 / count, 1.0 / max(LEAST_SPAN, SPAN * k)))
            A[trend + j] = slope + (per_step - slope) * rate


@inlined
def trend_begin(tracked: Any, R: int, A: Any, trend: int, ring: int, newest: int, scale: float) -> None:
    """Begins with the values of the ring up to step `newest`."""
    K = len(tracked)
    for j in range(4 * K + N_BEHIND):
        A[trend + j] = 0.0
    before, elapsed = math.nan, 1.0
    held = min(newest, R - 1)
    for later in range(held + 1):
        v = lag_value(A, ring, R, newest, held - later)
        if math.isnan(v):
            elapsed += 1.0
        else:
            if not math.isnan(before):
                trend_step(tracked, A, trend, np.float64(v) - before, elapsed, scale, 0)
            before, elapsed = np.float64(v), 1.0


@inlined
def trend_follow(
    tracked: Any, R: int, A: Any, trend: int, ring: int, newest: int, y: float, D: Any, d: int,
    jump: int, observed: int,
) -> None:  # fmt: skip
    """Takes in the value of step `newest`, which is in the ring and not yet in the statistics.

    Args:
        tracked, R: literals.
        A, trend, ring: the row, its trend, overwritten, and its ring.
        newest, y: the step and its value.
        D, d: statistics of the row.
        jump: 1 if the change is no part of a trend, 0 otherwise.
        observed: values before it.
    """
    if observed + 1 < YOUNG_VALUES:
        return
    if math.isnan(A[trend]):
        trend_begin(tracked, R, A, trend, ring, newest, D[d + SCALE])
        return
    elapsed = 1
    while elapsed < min(newest, R - 1) and math.isnan(A[ring + (newest - elapsed) % R]):
        elapsed += 1
    trend_step(tracked, A, trend, y - D[d + LAST], elapsed, D[d + SCALE], jump)


@inlined
def trend_replace(tracked: Any, A: Any, trend: int, by: float, scale: float) -> None:
    """The newest value is greater by `by` than the one that was taken in: the line follows as it would have."""
    K = len(tracked)
    if math.isnan(A[trend]):
        return
    count = max(np.float64(A[trend + 4 * K + 1]), 1.0)
    most = MOST_BEYOND * np.float64(A[trend + 4 * K])
    for j in range(K):
        k = tracked[j]
        near, rate = 1.0 / max(1.0, min(count, NEAR * k)), max(1.0 / count, 1.0 / max(LEAST_SPAN, SPAN * k))
        A[trend + K + j] = bounded(np.float64(A[trend + K + j]) - by * (1.0 - near), most)
        A[trend + j] += bounded(by, scale) * rate


@inlined
def trend_forget(tracked: Any, A: Any, trend: int) -> None:
    """Steps have another length, or values lie elsewhere: no line is known, what trends were worth is."""
    K = len(tracked)
    if math.isnan(A[trend]):
        return
    for j in range(2 * K):
        A[trend + j] = 0.0
    A[trend + 4 * K] = 0.0
    A[trend + 4 * K + 1] = 0.0


@inlined
def damping(A: Any, trend: int, K: int, j: int) -> float:
    """Which share of what the line says comes true at tracked horizon number `j`."""
    products, squares = np.float64(A[trend + 2 * K + j]), np.float64(A[trend + 3 * K + j])
    if not squares > TINY:
        return 0.0
    return min(max((1.0 + DOUBT) * products / squares - DOUBT, 0.0), 1.0)


@inlined
def trend_learn(A: Any, trend: int, K: int, j: int, ahead: float, came: float, made: int) -> None:
    """Learns from a forecast that matured: the line had said `ahead`, `came` came, both in scales.

    `made` is how many forecasts of this horizon can have matured, this one included.
    """
    rate = max(1.0 / made, DAMPING_RATE)
    at = trend + 2 * K + j
    products, squares = or_zero(A[at]), or_zero(A[at + K])
    A[at] = products + (ahead * bounded(came, FARTHEST) - products) * rate
    A[at + K] = squares + (ahead * ahead - squares) * rate


@inlined
def trend_ahead(tracked: Any, A: Any, trend: int, u: float, S: Any, at: int) -> None:
    """What the line says of every tracked horizon, in scales: S[at + j], and times its damping S[at + 16 + j].

    Args:
        tracked: tuple of literals, sixteen at most.
        A, trend: the row and its trend.
        u: 1 / scale.
        S, at: output of 32 numbers; those of no horizon are left alone.
    """
    K = len(tracked)
    for j in range(K):
        said = 0.0
        if not math.isnan(A[trend]):
            said = bounded((np.float64(A[trend + K + j]) + tracked[j] * np.float64(A[trend + j])) * u, FARTHEST)
        S[at + j] = said
        S[at + 16 + j] = said * damping(A, trend, K, j)
