r"""Anomaly score of an event: the probability, under its 1-step-ahead forecast, of values less extreme, from 0 to 1.

The distribution is the calibrated 1-step-ahead forecast, kept as its quantiles. With u its level at the observation
(linear between quantiles; a value that several quantiles share has the level nearest to 1/2; beyond
the outermost quantiles a tail, see below):

    score = |2 u - 1|  (side "both"),   u  ("high"),   1 - u  ("low")

so with calibrated forecasts one event in 1/(1 - score) scores at least as high. Tails are learnt per row, as peaks over
a threshold (Siffer et al. 2017): P(beyond by e) = P(beyond) (1 + e / 16 m)^-16, close to an exponential of mean m. m
follows the observed excesses, in units of the distance between the outermost quantiles (or half the scale, if more).

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
EXCESS_LOW, EXCESS_HIGH, MEAN, ALARM, DAY, COUNT = 0, 1, 2, 3, 4, 5  # after the quantiles, nan in a new row
N_STATE = 6
FIRST_EXCESS = 0.15  # close to that of a normal distribution beyond its 5 and 95 % quantiles
EXCESS_RATE, MOST_EXCESS = 0.05, 8.0  # an outlier counts as eight mean excesses at most
LEAST_EXCESS = 1e-6
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
def tail(x: float) -> float:
    """Returns (1 + x/16)^-16: exp(-x) with a somewhat heavier tail, computed from products only."""
    p = 1.0 + x * 0.0625
    p = p * p
    p = p * p
    p = p * p
    return 1.0 / (p * p)


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
def excess_share(excess: float, unit: float, A: Any, at: int) -> float:
    """Returns the share of the tail beyond `excess`; moves A[at], the mean excess in units, towards it (bounded)."""
    if not unit > 0.0:
        return 0.0
    mean = FIRST_EXCESS if math.isnan(A[at]) else np.float64(A[at])
    x = excess / (unit * mean)
    A[at] = max(mean * (1.0 + (min(x, MOST_EXCESS) - 1.0) * EXCESS_RATE), LEAST_EXCESS)
    return tail(min(x, 1e6))


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
        return np.float64(W[first_level]) * excess_share(first - y, unit, A, at + Q + EXCESS_LOW)
    if below == Q:
        return 1.0 - (1.0 - np.float64(W[first_level + Q - 1])) * excess_share(y - last, unit, A, at + Q + EXCESS_HIGH)
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
