r"""Anomaly score of an event: the probability, under its 1-step-ahead forecast, of values less extreme, from 0 to 1.

The distribution is the calibrated 1-step-ahead forecast, kept as its quantiles. With u its level at the observation
(linear between quantiles; a value that several quantiles share has the level nearest to 1/2; beyond
the outermost quantiles a tail, see below):

    score = |2 u - 1|  (side "both"),   u  ("high"),   1 - u  ("low")

so with calibrated forecasts one event in 1/(1 - score) scores at least as high. Tails are learnt per row and side, as
peaks over a threshold (Siffer et al. 2017), by a mixture of generalised Pareto distributions of shapes 4, 1, 1/4, 1/16:

    P(beyond by e) = P(beyond) sum_k w_k (1 + c_k z / k)^-k      z = e / (m (unit + M)),  k = 1/4, 1, 4, 16
    w_k <- (1 - SHARE) w_k f_k(z) / sum_j w_j f_j(z) + SHARE v_k        f_k(z) = c_k (1 + c_k z / k)^(-k - 1)
    m   <- m (1 + MEDIAN_RATE)  if z > 1,   m / (1 + MEDIAN_RATE)  otherwise;    M likewise, if e > M

The unit is the distance between the outermost quantiles, or half the scale if more; M follows the median excess in the
unit of the values, so that spikes of a usual size are usual also while the interval is narrow. With the constants
c_k = k (2^(1/k) - 1), m (unit + M) is the median of each distribution. The weights follow the likelihood of the
excesses (Bayes' rule with a fixed share, Herbster and Warmuth 1998), from v_k in a new row: a row that often jumps has
heavy tails, one of well-behaved noise has light ones. In f_k, z is at most MOST_WEIGHED, so that an incident does not
hide the next one for long.

With smoothing, the score is the level of the exponentially weighted mean of the scores in its distribution under
calibrated forecasts (close to normal, mean 1/2, variance r / 12(2 - r)): a long run of slightly anomalous events counts
as much as one very anomalous event.

An event is flagged where its score reaches `threshold`, its value is far enough from the median m of the forecast,

    |y - m| >= max(min_deviation, min_relative |m|),

and the row is quiet. The row is quiet again after `quiet_events` scores below `clear`, or values that are not far
enough, so a level shift is flagged once; the last of these events has the note QUIET. A row has at most `per_day` flags
in a day of event time.

There is no score for the first `WARM` values of a row, for a missing value and for the first event after a gap.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.config import AnomalyConfig
from forecaster.features.calendar import DAY_MS
from forecaster.features.outliers import SLOT_FLOATS
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block

WARM = 10
N_RULES = 8
QUIET = 32  # batch.Note, as a literal
# After the quantiles, nan in a new row. A tail is m, M, and the weights of its four distributions.
LOW_TAIL, HIGH_TAIL, MEAN, ALARM, DAY, COUNT = 0, 6, 12, 13, 14, 15
N_STATE = 16
FIRST_EXCESS = 0.1  # close to that of a normal distribution beyond its 5 and 95 % quantiles
MEDIAN_RATE, LEAST_EXCESS, LARGEST_EXCESS, MOST_TIMES = 0.08, 1e-6, 1e38, 1e6
HEAVIEST, HEAVY, MEDIUM, LIGHT = 0.01, 0.06, 0.3, 0.63  # weights of a new row, of k = 1/4, 1, 4, 16
SHARE, MOST_WEIGHED = 0.003, 30.0
SLOPES = 3.75, 1.0, 4.0 * (2.0**0.25 - 1.0), 16.0 * (2.0**0.0625 - 1.0)  # c_k
LARGEST_DAY = 4_000_000.0  # beyond the year 9999; float32 holds every day below it


def anomaly_floats(levels: int) -> int:
    """Returns the length of a row's state: next event's quantiles, `N_STATE` numbers, replaced values."""
    return levels + N_STATE + SLOT_FLOATS


def rules(config: AnomalyConfig) -> NDArray[np.float64]:
    """Returns the settings as the kernel reads them, shape (N_RULES,).

    They are side, rate, threshold, clear, quiet events, flags per day, least deviation and least relative deviation.
    """
    side = {"low": -1.0, "both": 0.0, "high": 1.0}[config.side]
    rate = 2.0 / (config.smooth_events + 1)
    return np.array(
        [side, rate, config.threshold, config.clear, config.quiet_events, config.per_day, config.min_deviation,
         config.min_relative],
        np.float64,
    )  # fmt: skip


@inlined
def normal_level(x: float) -> float:
    """Returns the normal distribution function to 2e-3, from products only: a logistic of 1.5976 x + 0.0706 x^3."""
    z = abs(x)
    z = min(z * (1.5976 + 0.07056 * z * z), 1e4)
    p = 1.0 + z * 0.015625
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    t = 1.0 / (p * p)
    return 1.0 / (1.0 + t) if x >= 0.0 else t / (1.0 + t)


@inlined
def tail_shares(z: float) -> tuple[float, float, float, float]:
    """Returns (1 + c_k z / k)^-k for k = 1/4, 1, 4 and 16, from products, quotients and square roots only."""
    heavy, light = 1.0 + z * (0.25 * SLOPES[2]), 1.0 + z * (0.0625 * SLOPES[3])
    heavy, light = heavy * heavy, light * light
    light = light * light
    light = light * light
    heaviest = math.sqrt(math.sqrt(1.0 + z * (4.0 * SLOPES[0])))
    return 1.0 / heaviest, 1.0 / (1.0 + z), 1.0 / (heavy * heavy), 1.0 / (light * light)


@inlined
def excess_share(excess: float, unit: float, A: Any, at: int) -> float:
    """Returns the share of the tail beyond `excess`, and updates the tail: the equations are at the top of the file.

    Args:
        excess: distance from the outermost quantile, positive.
        unit: of the excesses.
        A, at: A[at] is m, A[at + 1] is M, A[at + 2:at + 6] are the weights; nan in a new row; overwritten.
    """
    if math.isnan(A[at]):
        A[at], A[at + 1] = FIRST_EXCESS, min(FIRST_EXCESS * unit, LARGEST_EXCESS)
        A[at + 2], A[at + 3], A[at + 4], A[at + 5] = HEAVIEST, HEAVY, MEDIUM, LIGHT
    usual = np.float64(A[at + 1])
    if not unit + usual > 0.0:  # the first other value of a constant
        A[at + 1] = min(excess, LARGEST_EXCESS)
        return 0.0
    times = np.float64(A[at])
    z = min(excess / ((unit + usual) * times), MOST_TIMES)
    p0, p1, p2, p3 = tail_shares(z)
    share = A[at + 2] * p0 + A[at + 3] * p1 + A[at + 4] * p2 + A[at + 5] * p3
    x = min(z, MOST_WEIGHED)
    p0, p1, p2, p3 = tail_shares(x)
    f0 = A[at + 2] * p0 * SLOPES[0] / (1.0 + x * (4.0 * SLOPES[0]))
    f1 = A[at + 3] * p1 / (1.0 + x)
    f2 = A[at + 4] * p2 * SLOPES[2] / (1.0 + x * (0.25 * SLOPES[2]))
    f3 = A[at + 5] * p3 * SLOPES[3] / (1.0 + x * (0.0625 * SLOPES[3]))
    total = (1.0 - SHARE) / (f0 + f1 + f2 + f3)
    A[at + 2] = f0 * total + SHARE * HEAVIEST
    A[at + 3] = f1 * total + SHARE * HEAVY
    A[at + 4] = f2 * total + SHARE * MEDIUM
    A[at + 5] = f3 * total + SHARE * LIGHT
    up, down = 1.0 + MEDIAN_RATE, 1.0 / (1.0 + MEDIAN_RATE)
    A[at] = max(times * (up if z > 1.0 else down), LEAST_EXCESS)
    A[at + 1] = min(max(usual * (up if excess > usual else down), LEAST_EXCESS * unit), LARGEST_EXCESS)
    return np.float64(share)


@inlined
def outcome_level(Q: int, levels: Block, one_step: Block, y: float, scale: float) -> float:
    """Returns the level of `y` in the distribution whose quantiles are `one_step`; updates its tails.

    Args:
        Q: number of levels.
        levels: (Q,) quantile levels.
        one_step: (Q,) the quantiles, followed by the row's anomaly state, overwritten.
        y: the observation.
        scale: of the series.
    """
    W, first_level, A, at = levels.array, levels.at, one_step.array, one_step.at
    below = upto = 0  # quantiles < y, quantiles <= y
    for j in range(Q):
        if A[at + j] < y:
            below += 1
        if A[at + j] <= y:
            upto += 1
    if upto > below:
        return min(max(0.5, np.float64(W[first_level + below])), np.float64(W[first_level + upto - 1]))
    first, last = np.float64(A[at]), np.float64(A[at + Q - 1])
    unit = max(last - first, 0.5 * scale)
    if below == 0:
        return np.float64(W[first_level]) * excess_share(first - y, unit, A, at + Q + LOW_TAIL)
    if below == Q:
        return 1.0 - (1.0 - np.float64(W[first_level + Q - 1])) * excess_share(y - last, unit, A, at + Q + HIGH_TAIL)
    a, b = np.float64(A[at + below - 1]), np.float64(A[at + below])
    low, high = np.float64(W[first_level + below - 1]), np.float64(W[first_level + below])
    return low + (high - low) * ((y - a) / (b - a))


@inlined
def is_far(Q: int, levels: Block, one_step: Block, y: float, anchor: float, rule: Block) -> bool:
    """Returns whether `y` is far enough from the median of `one_step` to be anomalous; see `score_anomaly`."""
    R, first = rule.array, rule.at
    least, relative = R[first + 6], R[first + 7]
    if least <= 0.0 and relative <= 0.0:
        return True
    median: Any = np.float64(0.0)
    for j in range(Q):
        if levels.array[levels.at + j] == np.float32(0.5):
            median = np.float64(one_step.array[one_step.at + j])
    return bool(abs(y - median) >= max(least, relative * abs(median + anchor)))


@inlined
def score_anomaly(
    Q: int, levels: Block, one_step: Block, y: float, scale: float, anchor: float, observed: int, ts: int, rule: Block,
    outputs: Any, i: int,
) -> None:  # fmt: skip
    """Scores the value of event `i` and sets its flag, before the row observes the value.

    Args:
        Q, levels, one_step, y, scale: as in `outcome_level`. The first quantile is nan where there is no forecast.
        anchor: that of the series, to which the quantiles and `y` are relative.
        observed: values of the row before this one.
        ts: event time, epoch milliseconds.
        rule: as returned by `rules`.
        outputs: `EventOutputs`: if there is a score, anomaly[i] and flagged[i] are overwritten, and notes[i] gets QUIET
            where an alarm of the row ends.
    """
    A, at = one_step.array, one_step.at
    if observed < WARM or math.isnan(A[at]):
        return
    u = outcome_level(Q, levels, one_step, y, scale)
    R, first = rule.array, rule.at
    side, rate = R[first], R[first + 1]
    score = abs(2.0 * u - 1.0)
    if side > 0.0:
        score = u
    elif side < 0.0:
        score = 1.0 - u
    state = at + Q
    if rate < 1.0:
        before = 0.5 if math.isnan(A[state + MEAN]) else np.float64(A[state + MEAN])
        A[state + MEAN] = before + (score - before) * rate
        score = normal_level((A[state + MEAN] - 0.5) * math.sqrt(12.0 * (2.0 - rate) / rate))
    outputs.anomaly[i] = score
    day = min(max(np.float64(ts // DAY_MS), -LARGEST_DAY), LARGEST_DAY)
    if A[state + DAY] != day:  # also the first one, as nan differs from every day
        A[state + DAY] = day
        A[state + COUNT] = 0.0
    quiet = math.isnan(A[state + ALARM]) or A[state + ALARM] <= 0.0
    far = is_far(Q, levels, one_step, y, anchor, rule)
    if far and score >= R[first + 2]:
        if quiet and A[state + COUNT] < R[first + 5]:
            outputs.flagged[i] = 1
            A[state + COUNT] += 1.0
        A[state + ALARM] = R[first + 4]
    elif not quiet and (score < R[first + 3] or not far):
        A[state + ALARM] -= 1.0
        if A[state + ALARM] <= 0.0:
            outputs.notes[i] |= QUIET
