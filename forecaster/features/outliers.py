r"""Outliers: a wrong value is replaced in the state of a row; a change that persists is accepted.

Let l and u be the outermost quantiles of the 1-step-ahead forecast of a value y. The value is extreme if

    y > u + TIMES e   or   y < l - TIMES e,      e = max((u - l) / (z_u - z_l), LEAST scale)

with z the quantiles of a normal distribution whose mean absolute error is 1, so that e is the mean absolute error that
the interval implies. The interval of a burst is wide: where y is more than FAR scales from the median, `FAR_TIMES`
take the place of `TIMES`. After a gap there is no 1-step-ahead forecast; y is then extreme if |y - level| > FAR scale.

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
    reach   += (distance - reach) / RUNS              once per run that persisted; for a larger distance:
    reach    = min(distance, WITHIN reach)

A value is within reach if its distance from the forecast is at most `WITHIN` times that of the runs that persisted, or
if none did. A run persisted if the value after its first one is further from the forecast than `STILL` times the
distance of the first one. Wrong values that come at random, one of a hundred, meet none of these conditions but by a
rare chance: an accepted one costs a whole forecast. Where a row had more than `FEW` runs recently, a replaced value one
season ago is therefore no pattern yet, as it may have met another by chance: the value two seasons ago must be near as
well.

The values of a change lie on one side of the forecast, or are mixed, as after a change of scale. If the furthest one of
the last values is the only one on its side, it is a stray: it belongs to no change, and stays replaced.

When a change or a pattern is recognised, the replaced values that belong to it are restored in the lags. After a change
the level is the mean of these values without the least and the greatest, if their mean distance from it is at most
`AGREE` times that of the forecast; the scale is at least their smallest change from one to the next, if they agree so
or lie on both sides of the forecast. A burst that rises and falls changes neither: both move slowly where seasons are
long, and would not return for thousands of steps. A value that was accepted because extreme values of this series tend
to persist, and did not, is replaced in the lags afterwards where such values are rare. One value thus moves the state
by a bounded step, however large it is.

first_values.py has the rules for the first `YOUNG_VALUES` values of a row, which have no calibrated forecast.
All values are relative to the anchor of the row (anchor.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.features.profile import lag_value
from forecaster.features.step_inputs import LEVEL, SCALE
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Ring

TIMES, FAR_TIMES, LEAST, FAR = 25.0, 15.0, 0.2, 40.0
SAME, EQUAL = 0.05, 1e-6
MEMORY, USUAL, ALONE = 20.0, 0.15, 0.06  # a single extreme value gives a rate of 0.05, three in a row 0.143
LONG_MEMORY, SCARCE, ROUTINE, FEW = 1000.0, 200.0, 0.017, 2.5
FIRST_RUNS, RUNS, LONG, STILL = 3.0, 6.0, 0.44, 0.25  # the first two runs are enough if both persisted
WITHIN = 2.0  # times `reach`; the growth of `reach` by one run, too
YOUNG_VALUES = 10
SLOTS = 4  # replaced values that a row stores
CHANGE, AGREE = 3, 0.25  # replaced values within `SLOTS` steps after which a further extreme one is a change
# After step and value of each slot (nan: free): rate, lasting, first value of the present run of extreme values (nan:
# none), its forecast (nan: it is known whether the run persisted), share, reach (nan: no run persisted yet). Rate,
# lasting and share start as nan for 0.
RATE, LASTING, FIRST, BEFORE, SHARE = 2 * SLOTS, 2 * SLOTS + 1, 2 * SLOTS + 2, 2 * SLOTS + 3, 2 * SLOTS + 4
REACH = 2 * SLOTS + 5
SLOT_FLOATS = 2 * SLOTS + 6
PERIOD = 1 << 23  # steps are stored modulo it, as float32 holds whole numbers up to there


@inlined
def is_extreme(Q: int, spread: float, A: Any, one_step: int, v: float, center: float, scale: float) -> bool:
    """Returns whether a value lies far beyond its forecast.

    Args:
        Q: number of levels.
        spread: 1 / (z_u - z_l), 0 for one level.
        A, one_step: A[one_step:] holds the quantiles forecast for the value, nan where there are none.
        v: the value. center: its replacement. scale: of the row before it.
    """
    low, high = np.float64(A[one_step]), np.float64(A[one_step + Q - 1])
    far = abs(v - center) > FAR * scale
    if math.isnan(low):
        return bool(far)
    beyond = (FAR_TIMES if far else TIMES) * max((high - low) * spread, LEAST * scale)
    return bool(v > high + beyond or v < low - beyond)


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
        A, slots, ring: the row, its slots and its ring, overwritten. R: length of the ring.
        steps, v, expected: step of the value, the value, and its forecast.
        extreme: whether it is extreme.
        observed: number of earlier values.

    Returns:
        Whether extreme values as far as this one are usual or tend to persist, as known before it, or whether it is
        extreme only because it returns from the previous extreme value.
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
        if not returned:
            A[slots + REACH] = next_reach(A[slots + REACH], abs(first - before))
        A[slots + BEFORE] = math.nan
    if not extreme:
        A[slots + FIRST] = math.nan
        A[slots + RATE] = rate - rate / MEMORY
    else:
        if math.isnan(first):
            A[slots + FIRST] = v
            A[slots + BEFORE] = expected
        A[slots + RATE] = rate + (1.0 - rate) / MEMORY
    known = long >= ROUTINE or or_zero(A[slots + LASTING]) >= LONG
    return returned or rate >= USUAL or (known and not abs(v - expected) > WITHIN * A[slots + REACH])


@inlined
def next_reach(reach: float, distance: float) -> float:
    """Returns how far the extreme values that persist lie from their forecasts, after one more of them.

    It is at most doubled, so that one wrong value that seems to persist does not make others acceptable. nan: unknown.
    """
    if math.isnan(reach):
        return distance
    return min(distance, WITHIN * reach) if distance > reach else reach + (distance - reach) / RUNS


@inlined
def repeats(row: Ring, slots: int, back: int, v: float, near: float) -> bool:
    """Returns whether the value observed `back` steps ago, replaced or not, is within `near` of v."""
    A = row.array
    if abs(v - lag_value(row, back)) < near:
        return True
    for k in range(SLOTS):
        slot = slots + 2 * k
        if steps_back(A, slot, row.newest) == back and abs(v - A[slot + 1]) < near:
            return True
    return False


@inlined
def screen(
    seasons: Any, row: Ring, slots: int, v: float, expected: float,
    usual: bool, runs: float, D: Any, d: int,  # noqa: FBT001 - kernels take no keywords
) -> bool:  # fmt: skip
    """Returns whether an extreme value is to be replaced.

    Args:
        seasons: steps of each.
        row: the ring of the row and the step of the value, overwritten.
        slots: where they start in the array of the row, overwritten.
        v: the value. expected: its replacement. usual: result of `count_extremes`.
        runs: result of `recent_runs` before this value.
        D, d: statistics of the row, overwritten where a change persists.
    """
    A, ring, R, steps = row.array, row.at, row.length, row.newest
    near = 0.5 * abs(v - expected)
    if len(seasons) > 0:  # numba prunes the branch of literals; it cannot index an empty tuple
        for i in range(len(seasons)):
            season = seasons[i]
            if abs(v - lag_value(row, season)) < near:
                return False
            if runs > FEW and not repeats(row, slots, 2 * season, v, near):
                continue
            for k in range(SLOTS):
                slot = slots + 2 * k
                if steps_back(A, slot, steps) == season and abs(v - A[slot + 1]) < near:
                    restore_value(A, slot, ring, R, steps)
                    return False
    recent, stray = 0, stray_slot(A, slots, steps, v, expected)
    for k in range(SLOTS):
        recent += 1 if k != stray and steps_back(A, slots + 2 * k, steps) <= SLOTS else 0
    change = recent >= CHANGE and stray != SLOTS
    if not usual and not change:
        store_replaced(A, slots, steps, v)
        return True
    if change:
        accept_change(row, slots, v, expected, stray, D, d)
    return False


@inlined
def stray_slot(A: Any, slots: int, steps: int, v: float, expected: float) -> int:
    """Returns the number of the slot whose value, of those of the last steps and `v`, is no part of a change.

    It is the furthest one from the forecast, and the only one on its side of it. `SLOTS`: it is `v`; -1: there is none.
    """
    stray, furthest, above, count = SLOTS, abs(v - expected), 1 if v > expected else 0, 1
    higher = v > expected
    for k in range(SLOTS):
        if steps_back(A, slots + 2 * k, steps) <= SLOTS:
            one = A[slots + 2 * k + 1]
            count += 1
            above += 1 if one > expected else 0
            if abs(one - expected) > furthest:
                stray, furthest, higher = k, abs(one - expected), one > expected
    return stray if count > 1 and (above if higher else count - above) == 1 else -1


@inlined
def accept_change(row: Ring, slots: int, v: float, expected: float, stray: int, D: Any, d: int) -> None:
    """Restores the replaced values of the last steps, which were right; computes level and scale from them.

    The jump itself, which would distort both, is left out. Arguments as of `screen`.
    """
    A, steps = row.array, row.newest
    total, low, high, count = v, v, v, 1.0
    for k in range(SLOTS):
        slot = slots + 2 * k
        if k != stray and steps_back(A, slot, steps) <= SLOTS:
            one = np.float64(A[slot + 1])
            total, low, high, count = total + one, min(low, one), max(high, one), count + 1.0
    middle = (total - low - high) / (count - 2.0)  # without the first value, which may lie between the levels
    apart = abs(v - middle)
    for k in range(SLOTS):
        slot = slots + 2 * k
        if k != stray and steps_back(A, slot, steps) <= SLOTS:
            apart += abs(A[slot + 1] - middle)
            restore_value(A, slot, row.at, row.length, steps)
    same = apart <= EQUAL * abs(v - expected)  # up to rounding in float32
    agree = apart <= AGREE * count * abs(middle - expected)
    if agree:
        D[d + LEVEL] = v if same else middle
    if agree or low < expected < high:
        D[d + SCALE] = max(D[d + SCALE], 0.0 if same else smallest_change(row, v))


@inlined
def smallest_change(row: Ring, v: float) -> float:
    """Returns the smallest of the last three changes up to a value v of the newest step; one that is missing is 0."""
    one, two, three = lag_value(row, 1), lag_value(row, 2), lag_value(row, 3)
    return min(or_zero(abs(v - one)), or_zero(abs(one - two)), or_zero(abs(two - three)))
