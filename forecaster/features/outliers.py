r"""Outliers: a wrong value is replaced in the state of a row; a change that persists is accepted.

Let l and u be the outermost quantiles of the 1-step-ahead forecast of a value y. The value is extreme if

    y > u + TIMES e   or   y < l - TIMES e,      e = max((u - l) / (z_u - z_l), LEAST scale)

with z the quantiles of a normal distribution whose mean absolute error is 1, so that e is the mean absolute error that
the interval implies. After a gap there is no 1-step-ahead forecast; y is then extreme if |y - level| > FAR scale.

An extreme value is replaced by the median of its forecast (or by the last value, if the two are within `SAME` scales)
in everything that a row holds: lags, level, scale, hidden state and the origin of the next forecast. The history keeps
the observed value. A value is not replaced if one of these holds:

    change     three of the last four values were replaced
    rate >= USUAL      extreme values are frequent, as after a change of scale: the fifth one within a dozen is accepted
    share >= ROUTINE   the same over a longer time: spikes are a property of the series
    lasting >= LONG    extreme values of this series tend to persist
    return             y is where the series was before the previous extreme value, which did not persist
    pattern            y is nearer to the value one season ago than to the forecast

    rate    += (1[extreme] - rate) / MEMORY
    share   += (1[first of a run] - share) / min(n + SCARCE, LONG_MEMORY)     n observed values
    lasting += (1[persisted] - lasting) / RUNS        once per run of extreme values; / FIRST_RUNS for the first run

A run persisted if the value after its first one is further from the forecast than `STILL` times the distance of the
first one. Wrong values that come at random, one of a hundred, meet none of these conditions but by a rare chance: an
accepted one costs a whole forecast. Where a row had more than `FEW` runs recently, a replaced value one season ago is
therefore no pattern yet, as it may have met another by chance: the value two seasons ago must be near as well.

When a change or a pattern is recognised, the replaced values that belong to it are restored in the lags. After a change
the level is the mean of these values without the least and the greatest, if their mean distance from it is at most
`AGREE` times that of the forecast; the scale is at least their smallest change from one to the next, if they agree so
or lie on both sides of the forecast. A burst that rises and falls changes neither: both move slowly where seasons are
long, and would not return for thousands of steps. A value that was accepted because extreme values of this series tend
to persist, and did not, is replaced in the lags afterwards where such values are rare. One value thus moves the state
by a bounded step, however large it is.

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

from forecaster.features.step_inputs import LEVEL, SCALE, TINY, lag_value, observe_value
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block, Ring

TIMES, LEAST, FAR = 25.0, 0.2, 40.0
SAME, EQUAL = 0.05, 1e-6
MEMORY, USUAL, ALONE = 20.0, 0.15, 0.06  # a single extreme value gives a rate of 0.05, three in a row 0.143
LONG_MEMORY, SCARCE, ROUTINE, FEW = 1000.0, 200.0, 0.017, 2.5
FIRST_RUNS, RUNS, LONG, STILL = 3.0, 6.0, 0.44, 0.25  # the first two runs are enough if both persisted
YOUNG_VALUES = 10
PAIR, FILL = 100.0, 900.0
SLOTS = 4  # replaced values that a row stores
CHANGE, AGREE = 3, 0.25  # replaced values within `SLOTS` steps after which a further extreme one is a change
# After step and value of each slot (nan: free): rate, lasting, first value of the present run of extreme values (nan:
# none), its forecast (nan: it is known whether the run persisted), share. Rate, lasting and share start as nan for 0.
RATE, LASTING, FIRST, BEFORE, SHARE = 2 * SLOTS, 2 * SLOTS + 1, 2 * SLOTS + 2, 2 * SLOTS + 3, 2 * SLOTS + 4
SLOT_FLOATS = 2 * SLOTS + 5
PERIOD = 1 << 23  # steps are stored modulo it, as float32 holds whole numbers up to there
YOUNG_FLOATS = 64  # scratch of `screen_young`


@inlined
def is_extreme(Q: int, spread: float, A: Any, one_step: int, v: float, level: float, scale: float) -> bool:
    """Returns whether a value lies far beyond its forecast.

    Args:
        Q: literal, number of levels.
        spread: 1 / (z_u - z_l), 0 for one level.
        A, one_step: A[one_step:] holds the quantiles forecast for the value, nan where there are none.
        v, level, scale: the value and the statistics before it.
    """
    low, high = np.float64(A[one_step]), np.float64(A[one_step + Q - 1])
    if math.isnan(low):
        return abs(v - level) > FAR * scale
    error = max((high - low) * spread, LEAST * scale)
    return bool(v > high + TIMES * error or v < low - TIMES * error)


@inlined
def spread_of(Q: int, W: Any, normal: int) -> float:
    """Returns 1 / (z_u - z_l) of the outermost levels; W[normal:] holds z. 0 for one level."""
    return 1.0 / (np.float64(W[normal + Q - 1]) - np.float64(W[normal])) if Q > 1 else 0.0


@inlined
def contradicts(v: float, before: float, scale: float, observed: int) -> bool:
    """Returns whether a further value of a step lies more than `FAR` scales from the previous one, which then stays."""
    return observed >= YOUNG_VALUES and abs(v - before) > FAR * scale


@inlined
def replacement_of(median: float, level: float, scale: float, last: float) -> float:
    """Returns the replacement of an extreme value: the forecast median, or the level where there is none (nan).

    It is the last value where that is about the same, so that a series of a few distinct values keeps to these.
    """
    center = np.float64(np.float32(level)) if math.isnan(median) else median
    return last if abs(center - last) <= SAME * scale else center


@inlined
def bounded_value(Q: int, spread: float, A: Any, one_step: int, v: float, scale: float) -> float:
    """Returns the value that the ensemble learns from where `v` was replaced: `v`, at most 2 e beyond the quantiles."""
    low, high = np.float64(A[one_step]), np.float64(A[one_step + Q - 1])
    beyond = 2.0 * max((high - low) * spread, LEAST * scale)
    return min(max(v, low - beyond), high + beyond)


@inlined
def restore_value(A: Any, slot: int, ring: int, R: int, steps: int) -> None:
    """Restores a replaced value in the lags, if the ring still holds its step, and frees its slot."""
    back = np.int64(steps % PERIOD) - np.int64(A[slot])
    if back < 0:
        back += PERIOD
    if back <= min(steps, R - 1):
        A[ring + (steps - back) % R] = A[slot + 1]
    A[slot] = math.nan


@inlined
def steps_back(A: Any, slot: int, steps: int) -> int:
    """Returns how many steps ago the value in a slot was observed; PERIOD: the slot is free."""
    if math.isnan(A[slot]):
        return PERIOD
    back = np.int64(steps % PERIOD) - np.int64(A[slot])
    return int(back + PERIOD if back < 0 else back)


@inlined
def store_replaced(A: Any, slots: int, steps: int, v: float) -> None:
    """Stores a replaced value and its step, in a free slot or that of the oldest one."""
    oldest, age = slots, -1
    for k in range(SLOTS):
        back = steps_back(A, slots + 2 * k, steps)
        if back > age:
            oldest, age = slots + 2 * k, back
    A[oldest] = steps % PERIOD
    A[oldest + 1] = v


@inlined
def or_zero(v: float) -> float:
    """Returns v, or 0 for nan."""
    return 0.0 if math.isnan(v) else np.float64(v)


@inlined
def replace_previous(A: Any, slots: int, ring: int, R: int, steps: int, v: float, expected: float) -> None:
    """Replaces the newest value before step `steps` in the lags, if it is `v`, by the expected one."""
    for back in range(1, min(steps + 1, R)):
        place = ring + (steps - back) % R
        if not math.isnan(A[place]):
            if abs(A[place] - v) <= EQUAL * abs(v - expected):  # the anchor may have been moved in between
                store_replaced(A, slots, steps - back, v)
                A[place] = expected
            return


@inlined
def recent_runs(A: Any, slots: int, observed: int) -> float:
    """Returns about how many runs of extreme values the row had recently."""
    return or_zero(A[slots + SHARE]) * min(observed + SCARCE, LONG_MEMORY)


@inlined
def count_extremes(
    A: Any,
    slots: int,
    ring: int,
    R: int,
    steps: int,
    v: float,
    expected: float,
    extreme: bool,  # noqa: FBT001 - kernels take no keywords
    observed: int,
) -> bool:
    """Updates the rates of extreme values of a row, and whether these persist.

    Args:
        A, slots, ring: the row, its slots and its ring, overwritten. R: literal, length of the ring.
        steps, v, expected: step of the value, the value, and its forecast.
        extreme: whether it is extreme.
        observed: number of earlier values.

    Returns:
        Whether extreme values are usual or tend to persist, as known before this one, or whether this one is extreme
        only because it returns from the previous extreme value.
    """
    first, before, rate = A[slots + FIRST], A[slots + BEFORE], or_zero(A[slots + RATE])
    long = or_zero(A[slots + SHARE])
    begins = 1.0 if extreme and math.isnan(first) else 0.0
    A[slots + SHARE] = long + (begins - long) / min(observed + SCARCE, LONG_MEMORY)
    returned = False
    if not math.isnan(before):
        returned = abs(v - before) <= STILL * abs(first - before)
        lasted = 0.0 if returned else 1.0
        if returned and rate < ALONE and long < 0.75 * ROUTINE:
            replace_previous(A, slots, ring, R, steps, first, before)
        lasting = or_zero(A[slots + LASTING])
        A[slots + LASTING] = lasting + (lasted - lasting) / (FIRST_RUNS if math.isnan(A[slots + LASTING]) else RUNS)
        A[slots + BEFORE] = math.nan
    if not extreme:
        A[slots + FIRST] = math.nan
        A[slots + RATE] = rate - rate / MEMORY
    else:
        if math.isnan(first):
            A[slots + FIRST] = v
            A[slots + BEFORE] = expected
        A[slots + RATE] = rate + (1.0 - rate) / MEMORY
    return returned or rate >= USUAL or long >= ROUTINE or or_zero(A[slots + LASTING]) >= LONG


@inlined
def repeats(A: Any, slots: int, ring: int, R: int, steps: int, back: int, v: float, near: float) -> bool:
    """Returns whether the value observed `back` steps ago, replaced or not, is within `near` of v."""
    if abs(v - lag_value(Ring(A, ring, R, steps), back)) < near:
        return True
    for k in range(SLOTS):
        slot = slots + 2 * k
        if steps_back(A, slot, steps) == back and abs(v - A[slot + 1]) < near:
            return True
    return False


@inlined
def screen(
    seasons: Any, R: int, A: Any, slots: int, ring: int, steps: int, v: float, expected: float,
    usual: bool, runs: float, D: Any, d: int,  # noqa: FBT001 - kernels take no keywords
) -> bool:  # fmt: skip
    """Returns whether an extreme value is to be replaced.

    Args:
        seasons: tuple of literals. R: literal, length of the ring.
        A, slots, ring: the row, its slots and its ring, overwritten.
        steps: step of the value. v: the value. expected: its replacement. usual: result of `count_extremes`.
        runs: result of `recent_runs` before this value.
        D, d: statistics of the row, overwritten where a change persists.
    """
    near = 0.5 * abs(v - expected)
    if len(seasons) > 0:  # numba prunes the branch; it cannot iterate an empty tuple
        for season in seasons:
            if abs(v - lag_value(Ring(A, ring, R, steps), season)) < near:
                return False
            if runs > FEW and not repeats(A, slots, ring, R, steps, 2 * season, v, near):
                continue
            for k in range(SLOTS):
                slot = slots + 2 * k
                if steps_back(A, slot, steps) == season and abs(v - A[slot + 1]) < near:
                    restore_value(A, slot, ring, R, steps)
                    return False
    recent = 0
    for k in range(SLOTS):
        recent += 1 if steps_back(A, slots + 2 * k, steps) <= SLOTS else 0
    if not usual and recent < CHANGE:
        store_replaced(A, slots, steps, v)
        return True
    if recent >= CHANGE:
        accept_change(R, A, slots, ring, steps, v, expected, D, d)
    return False


@inlined
def accept_change(R: int, A: Any, slots: int, ring: int, steps: int, v: float, expected: float, D: Any, d: int) -> None:
    """Restores the replaced values of the last steps, which were right; computes level and scale from them.

    The jump itself, which would distort both, is left out. Arguments as of `screen`.
    """
    total, low, high, count = v, v, v, 1.0
    for k in range(SLOTS):
        slot = slots + 2 * k
        if steps_back(A, slot, steps) <= SLOTS:
            one = np.float64(A[slot + 1])
            total, low, high, count = total + one, min(low, one), max(high, one), count + 1.0
    middle = (total - low - high) / (count - 2.0)  # without the first value, which may lie between the levels
    apart = abs(v - middle)
    for k in range(SLOTS):
        slot = slots + 2 * k
        if steps_back(A, slot, steps) <= SLOTS:
            apart += abs(A[slot + 1] - middle)
            restore_value(A, slot, ring, R, steps)
    same = apart <= EQUAL * abs(v - expected)  # up to rounding in float32
    agree = apart <= AGREE * count * abs(middle - expected)
    if agree:
        D[d + LEVEL] = v if same else middle
    if agree or low < expected < high:
        row = Ring(A, ring, R, steps)
        D[d + SCALE] = max(D[d + SCALE], 0.0 if same else smallest_change(row, v))


@inlined
def smallest_change(row: Ring, v: float) -> float:
    """Returns the smallest of the last three changes up to a value v of the newest step; one that is missing is 0."""
    one, two, three = lag_value(row, 1), lag_value(row, 2), lag_value(row, 3)
    return min(or_zero(abs(v - one)), or_zero(abs(one - two)), or_zero(abs(two - three)))


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
    count = 0
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
    observed = 0
    for later in range(min(steps + 1, R)):
        one = np.float64(A[ring + (steps - min(steps, R - 1) + later) % R])
        if not math.isnan(one):
            observe_value(one, observed, D, d, 0.0, 0.0)
            observed += 1
    return replaced
