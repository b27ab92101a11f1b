r"""The trend of a row: lines through its newest values, and the share of the forecast change that is observed.

For each tracked horizon k a least squares line is fitted through the newest N = `SPAN` k values, `LEAST_SPAN` at least,
with fading weights (a fading memory filter: Morrison, Introduction to Sequential Smoothing and Prediction, 1969,
ch. 13), in the units of the data. With e the difference of the newest value y and the line's 1-step-ahead forecast, and
n the number of changes:

    slope    changes by beta e, beta = max(6 / ((n + 1)(n + 2)), 4 / N^2); not for an extreme value (outliers.py), which
             is a jump and not part of a trend
    beyond   line minus y: -(1 - alpha) e, alpha = max(2 (2n + 1) / ((n + 1)(n + 2)), 4 (N - 1) / N^2);
             0 after a jump: the line continues from there
    ahead    beyond + k slope: the line's forecast of the value k steps ahead, relative to y

A trend may continue, flatten, or be chance. The damping is learnt per horizon: with d the change that the line
forecasts k steps ahead, c the change that is observed, and running means over the last 100 sqrt(k) or so verified
forecasts, as neighbours share most of their steps,

    damping = (1 + DOUBT) mean(c d) / mean(d^2) - DOUBT,  within [0, 1]

the least squares coefficient, shrunk towards 0: 1 on a line, less where it flattens, 0 on a random walk. The member of
the ensemble forecasts y + damping * ahead, interpolated between tracked horizons (combine.py).

The state of a row, float32: slope, beyond, mean(c d), mean(d^2) by tracked horizon; nan before `YOUNG_VALUES` values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.features.outliers import YOUNG_VALUES, or_zero
from forecaster.features.profile import lag_value, whole_ring
from forecaster.features.step_inputs import LAST, TINY
from forecaster.kernels.jit import inlined

SPAN, LEAST_SPAN = 1.0, 16.0
# JUMP: an extreme value that is kept; REPLACED: one that outliers.py replaces. Not literals, see observe/kernel.py
NO_JUMP: Any = np.int64(0)
JUMP: Any = np.int64(1)
REPLACED: Any = np.int64(2)
DOUBT, DAMPING_RATE = 0.5, 0.01
FARTHEST = 64.0  # bound of a forecast change, in scales


def trend_floats(tracked: tuple[int, ...]) -> int:
    """Returns the length of a row's trend state."""
    return 4 * len(tracked)


@inlined
def bounded(v: float, most: float) -> float:
    """Returns v within [-most, most]."""
    return min(max(v, -most), most)


@inlined
def gains(k: int, count: int) -> tuple[float, float]:
    """Returns (alpha, beta) of the line of horizon k after `count` changes."""
    span, known = max(LEAST_SPAN, SPAN * k), (count + 1.0) * (count + 2.0)
    square = span * span
    return max(2.0 * (2.0 * count + 1.0) / known, 4.0 * (span - 1.0) / square), max(6.0 / known, 4.0 / square)


@inlined
def trend_step(tracked: Any, A: Any, trend: int, diff: float, elapsed: float, count: int, jump: int) -> None:
    """Updates the lines by a value that lies `diff` above the previous one, `elapsed` steps earlier.

    Args:
        tracked: tracked horizons.
        A, trend: the row; its trend, overwritten.
        count: number of changes, this one included.
        jump: `NO_JUMP`, `JUMP` or `REPLACED`.
    """
    K = len(tracked)
    for j in range(K):
        slope = np.float64(A[trend + j])
        off = diff - np.float64(A[trend + K + j]) - slope * elapsed
        if jump == NO_JUMP:
            alpha, beta = gains(tracked[j], count)
            A[trend + K + j] = (alpha - 1.0) * off
            A[trend + j] = slope + beta * off
        else:
            A[trend + K + j] = 0.0 if jump == JUMP else 0.0 - off


@inlined
def trend_begin(tracked: Any, R: int, A: Any, trend: int, ring: int, newest: int) -> None:
    """Initialises the trend from the values of the ring up to step `newest`."""
    K = len(tracked)
    for j in range(4 * K):
        A[trend + j] = 0.0
    before, elapsed, count = math.nan, 1.0, 0
    held = min(newest, R - 1)
    for later in range(held + 1):
        v = lag_value(whole_ring(A, ring, R, newest), held - later)
        if math.isnan(v):
            elapsed += 1.0
        else:
            if not math.isnan(before):
                count += 1
                trend_step(tracked, A, trend, np.float64(v) - before, elapsed, count, NO_JUMP)
            before, elapsed = np.float64(v), 1.0


@inlined
def trend_follow(
    tracked: Any, R: int, A: Any, trend: int, ring: int, newest: int, y: float, D: Any, d: int,
    jump: int, observed: int,
) -> None:  # fmt: skip
    """Updates the trend by the value of step `newest`, which is in the ring and not yet in the statistics.

    Args:
        tracked, R: tracked horizons, length of the ring.
        A, trend, ring: the row, its trend, overwritten, and its ring.
        newest, y: the step and its value.
        D, d: statistics of the row.
        jump: as in `trend_step`.
        observed: number of earlier values.
    """
    if observed + 1 < YOUNG_VALUES:
        return
    if math.isnan(A[trend]):
        trend_begin(tracked, R, A, trend, ring, newest)
        return
    elapsed = 1
    while elapsed < min(newest, R - 1) and math.isnan(A[ring + (newest - elapsed) % R]):
        elapsed += 1
    trend_step(tracked, A, trend, y - D[d + LAST], np.float64(elapsed), observed, jump)


@inlined
def trend_replace(tracked: Any, A: Any, trend: int, by: float, observed: int) -> None:
    """Corrects the trend where the newest of `observed` values is replaced by one that is greater by `by`."""
    K = len(tracked)
    if math.isnan(A[trend]):
        return
    for j in range(K):
        alpha, beta = gains(tracked[j], observed - 1)
        A[trend + K + j] += (alpha - 1.0) * by
        A[trend + j] += beta * by


@inlined
def trend_rescale(tracked: Any, A: Any, trend: int, ratio: float) -> None:
    """Rescales the trend for steps that are `ratio` times as long as before."""
    for j in range(len(tracked)):
        A[trend + j] *= ratio


@inlined
def damping(A: Any, trend: int, K: int, j: int) -> float:
    """Returns the share of the line's forecast change that is observed at tracked horizon number `j`."""
    products, squares = np.float64(A[trend + 2 * K + j]), np.float64(A[trend + 3 * K + j])
    if not squares > TINY:
        return 0.0
    return min(max((1.0 + DOUBT) * products / squares - DOUBT, 0.0), 1.0)


@inlined
def trend_learn(A: Any, trend: int, K: int, j: int, k: int, ahead: float, observed: float, made: int) -> None:
    """Updates the damping by a verified forecast of tracked horizon k, number `j`.

    `ahead` is the forecast change and `observed` the actual one, in scales; `made` is the number of forecasts of this
    horizon that can be verified, this one included.
    """
    rate = max(1.0 / made, DAMPING_RATE / math.sqrt(k))
    at = trend + 2 * K + j
    products, squares = or_zero(A[at]), or_zero(A[at + K])
    A[at] = products + (ahead * bounded(observed, FARTHEST) - products) * rate
    A[at + K] = squares + (ahead * ahead - squares) * rate


@inlined
def trend_ahead(tracked: Any, A: Any, trend: int, u: float, S: Any, at: int) -> None:
    """Writes the line's forecast change of every tracked horizon, in scales: S[at + j], and damped S[at + 16 + j].

    Args:
        tracked: tracked horizons, sixteen at most.
        A, trend: the row and its trend.
        u: 1 / scale.
        S, at: output of 32 numbers; those without a tracked horizon are not written.
    """
    K = len(tracked)
    for j in range(K):
        change = 0.0
        if not math.isnan(A[trend]):
            change = bounded((np.float64(A[trend + K + j]) + tracked[j] * np.float64(A[trend + j])) * u, FARTHEST)
        S[at + j] = change
        S[at + 16 + j] = change * damping(A, trend, K, j)
