"""What the network sees of an event: online scaling, seasonal lags, calendar, time gap, missing mask, covariates.

Everything is relative to the series itself, so that one network serves series of any unit:

    level    exponentially weighted mean of the values, rate max(1/n, `level_rate`)
    scale    exponentially weighted mean of |y - level before|, rate max(1/(n-1), `scale_rate`); 0 while constant
    ref      the last observed value; forecasts are ref + scale * (output of the network)

Inputs of a step (n_x of them, in this order), with u = 1/scale (0 where scale is 0) and s(v) = v / sqrt(1 + (v/8)^2):

    s((y - level) u), s((y - y[t-1]) u), for each season s((y - y[t-season]) u),
    1 if the value is missing, s(events' time gap in intervals - 1), sin and cos of hour and weekday, 1 on a holiday,
    for each covariate s((c - its level) / its scale) and 1 if it is missing

Inputs of the head for horizon h (n_f of them, in this order), differences times u and clipped to [-16, 16]; in three
groups, as only those of the third need a product for every event and horizon (heads/direct.py):

    place    the same for every event: h / horizon, 1 / h, sqrt(h / horizon)
    moment   the same for every horizon: level - ref and, for each season, ref - y[t-season]; y[t-1], y[t-2], y[t-3]
             and the means of the newest 6 and 12 steps relative to ref, the mean size of the newest 5 changes: the head
             sees the last steps as they were, not only what the hidden state kept of them
    target   for each season the values one and two seasons before the target relative to ref, and
             (ref - y[t-season]) / sqrt(h): now fades; sin and cos of the target's hour and weekday, 1 if it falls on a
             holiday; then what is known ahead, see future.py

A lag that does not exist or was missing is replaced by the other one of its season, or by ref.

The live path and the training path call the same functions, so a step has the same inputs, bit for bit, in both.
Values are float32 numbers computed with in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster._jit import inlined
from forecaster._simd import choose, fma, largest, load, splat, store
from forecaster.almanac import is_holiday, local_time, transitions_until

# Columns of a row's float64 state; after them two per covariate (level, scale), then two per known-future covariate.
LEVEL, SCALE, LAST = 0, 1, 2
N_STATISTICS = 3

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
LAG_LIMIT = 16.0  # a lag feature beyond 16 scales says no more than 16; keeps weights finite after a unit change
SQUASH = 8.0  # inputs are linear up to a few scales and saturate here
PLACE = 3  # inputs of the head that say how far ahead a target is
SEASONAL = 3  # inputs of the head about a target and one season
RECENT = 6  # inputs of the head about the newest steps
TINY = 1e-30  # below it a scale is no scale: 1 / scale would overflow float32


@inlined
def squash(v: float) -> float:
    """v / sqrt(1 + (v/8)^2): linear near zero, at most 8 in size; nan stays nan."""
    w = v / SQUASH
    return v / math.sqrt(1.0 + w * w)


@inlined
def clip_lag(v: float) -> float:
    """v within [-16, 16]."""
    return min(max(v, -LAG_LIMIT), LAG_LIMIT)


@inlined
def wave(phase: float) -> float:
    """sin(2 pi phase) to 1e-3, from additions and products only (the same bits on every machine).

    `phase` is any real number of turns. Two parabolas, corrected once (Capens 2006).
    """
    p = phase - math.floor(phase)
    x = 2.0 * p if p < 0.5 else 2.0 * p - 2.0  # [-1, 1): half turns
    y = 4.0 * x - 4.0 * x * abs(x)
    return 0.225 * (y * abs(y) - y) + y


@inlined
def waves(phase: Any) -> Any:
    """`wave` of sixteen phases from -0.5 to 1.25."""
    x = choose(0.5 - phase, phase * 2.0, phase * 2.0 - 2.0)
    y = (x - x * largest(x, 0.0 - x)) * 4.0
    return (y * largest(y, 0.0 - y) - y) * 0.225 + y


@inlined
def inverse_scale(scale: float) -> float:
    """1 / scale, or 0 for a series that was constant so far: its features are 0 and its intervals collapse."""
    return 1.0 / scale if scale > TINY else 0.0


def calendar_columns(calendar: int) -> int:
    """How many columns the calendar has: 0 = none, 1 = hour and weekday, 2 = and holidays."""
    return (0, 4, 5)[calendar]


@inlined
def calendar_features(calendar: int, almanac: Any, moment: int, out: Any, at: int) -> None:
    """Overwrites out[at:at+4] by sin, cos of the hour of day and of the weekday, local; behind them the holiday.

    `moment` is epoch milliseconds; `calendar` as in `calendar_columns`, a literal; `almanac` see almanac.py.
    """
    ts = local_time(almanac, moment)
    if calendar == 2:
        out[at + 4] = is_holiday(almanac, ts)
    day = ts // DAY_MS
    hours = (ts - day * DAY_MS) / DAY_MS
    week = ((day + 3) % 7 + hours) / 7.0
    out[at] = wave(hours)
    out[at + 1] = wave(hours + 0.25)
    out[at + 2] = wave(week)
    out[at + 3] = wave(week + 0.25)


@inlined
def observe_value(y: float, observed: int, D: Any, d: int, level_rate: float, scale_rate: float) -> None:
    """Updates level, scale and last value by an observed value; `observed` counts the values before this one.

    D[d:] holds the statistics of the row (LEVEL, SCALE, LAST), overwritten.
    """
    if observed == 0:
        D[d + LEVEL] = y
        D[d + SCALE] = 0.0
    else:
        deviation = abs(y - D[d + LEVEL])
        rate = max(1.0 / observed, scale_rate)
        D[d + SCALE] += (deviation - D[d + SCALE]) * rate
        rate = max(1.0 / (observed + 1), level_rate)
        D[d + LEVEL] += (y - D[d + LEVEL]) * rate
    D[d + LAST] = y


@inlined
def lag_value(Y: Any, y: int, R: int, newest: int, k: int) -> float:
    """The value `k` steps before step `newest`, or nan. Y[y:y+R] is a ring written at step % R."""
    step = newest - k
    if step < 0 or k >= R:
        return math.nan
    return Y[y + step % R]  # type: ignore[no-any-return]


@inlined
def step_features(
    seasons: Any, calendar: int, covariates: int, Y: Any, y: int, R: int, newest: int,
    D: Any, d: int, almanac: Any, ts: int, gap: float, cov: Any, cov_at: int, X: Any, x: int,
) -> None:  # fmt: skip
    """Overwrites X[x:x+n_x] by the inputs of step `newest` of a row whose statistics already include it.

    Args:
        seasons: tuple of literals.
        calendar: literal, see `calendar_columns`.
        covariates: literal, their number.
        Y, y, R: ring of values; the step's own value is in it, nan if missing.
        newest: index of the step, counted from the row's first.
        D, d: statistics of the row.
        almanac: local time and holidays.
        ts: epoch milliseconds of the step.
        gap: time since the event before, in intervals; 1 where all is regular.
        cov, cov_at: scaled covariates, nan where missing, from cov[cov_at] on.
        X, x: output.
    """
    u = inverse_scale(D[d + SCALE])
    value = lag_value(Y, y, R, newest, 0)
    missing = math.isnan(value)
    X[x] = 0.0 if missing else squash((value - D[d + LEVEL]) * u)
    before = lag_value(Y, y, R, newest, 1)
    X[x + 1] = 0.0 if missing or math.isnan(before) else squash((value - before) * u)
    at = x + 2
    if len(seasons) > 0:  # numba prunes the branch; it cannot iterate an empty tuple
        for season in seasons:
            before = lag_value(Y, y, R, newest, season)
            X[at] = 0.0 if missing or math.isnan(before) else squash((value - before) * u)
            at += 1
    X[at] = 1.0 if missing else 0.0
    X[at + 1] = squash(gap - 1.0)
    at += 2
    if calendar > 0:
        calendar_features(calendar, almanac, ts, X, at)
        at += 3 + calendar
    for c in range(covariates):
        v = cov[cov_at + c]
        X[at] = 0.0 if math.isnan(v) else v
        X[at + 1] = 1.0 if math.isnan(v) else 0.0
        at += 2


@inlined
def follow(v: float, D: Any, at: int, rate: float) -> None:
    """Moves a level D[at] (nan at first) and a mean absolute deviation D[at + 1] towards a value; both overwritten."""
    if math.isnan(D[at]):
        D[at] = v
    D[at + 1] += (abs(v - D[at]) - D[at + 1]) * rate
    D[at] += (v - D[at]) * rate


@inlined
def scale_covariates(
    covariates: int, raw: Any, raw_at: int, D: Any, d: int, out: Any, out_at: int, steps: int, rate: float
) -> None:
    """Scales each covariate by its own running level and mean absolute deviation in this row, which it updates.

    `raw` and `out` may hold nan (missing). D[d+3:] holds level and scale of each, overwritten; level starts as nan.
    """
    for c in range(covariates):
        v = raw[raw_at + c]
        at = d + N_STATISTICS + 2 * c
        if not math.isfinite(v):
            out[out_at + c] = math.nan
            continue
        follow(v, D, at, max(1.0 / steps, rate))
        out[out_at + c] = squash((v - D[at]) * inverse_scale(D[at + 1]))


@inlined
def recent_features(Y: Any, y: int, R: int, newest: int, ref: float, u: float, f: Any, at: int) -> None:
    """Overwrites f[at : at + RECENT] by what the newest twelve steps say: see the module.

    Args:
        Y, y, R, newest: ring of values up to step `newest`.
        ref, u: last observed value and 1 / scale.
        f, at: output.
    """
    six = 0.0
    twelve = 0.0
    moved = 0.0
    after = ref
    place = newest % R
    for k in range(12):
        past = Y[y + place] if k <= newest else math.nan
        place = place - 1 if place > 0 else R - 1
        missing = math.isnan(past)
        gone = 0.0 if missing else clip_lag((past - ref) * u)
        if 1 <= k <= 3:
            f[at + k - 1] = gone
        twelve += gone
        if k < 6:
            six += gone
            if not missing:
                moved += min(abs(past - after) * u, LAG_LIMIT)
                after = past
    f[at + 3] = six / 6.0
    f[at + 4] = twelve / 12.0
    f[at + 5] = moved / 5.0


def head_columns(seasons: int, calendar: int, futures: int) -> tuple[int, int, int]:
    """How many inputs of the head are of the place, of the moment, of a target.

    For so many seasons, calendar columns and known-future covariates.
    """
    return PLACE, 1 + seasons + RECENT, SEASONAL * seasons + calendar + 2 * futures


def horizon_places(horizon: int) -> NDArray[np.float64]:
    """The inputs (horizon, PLACE) of the head that are the same for every event."""
    h = np.arange(1.0, horizon + 1)
    return np.stack([h / horizon, 1.0 / h, np.sqrt(h / horizon)], 1)


def target_steps(horizon: int) -> NDArray[np.float64]:
    """(horizon,) how many steps ahead every target is."""
    return np.arange(1.0, horizon + 1)


def season_fading(horizon: int) -> NDArray[np.float64]:
    """(horizon,) 1 / sqrt(h): what is left h steps ahead of a shift against one season ago."""
    fading: NDArray[np.float64] = 1.0 / np.sqrt(np.arange(1.0, horizon + 1))
    return fading


@inlined
def target_waves(
    horizon: int, begin: float, step: float, passed: int, W: Any, steps: int, f: Any, at: int, apart: int
) -> None:
    """Overwrites f[at:] and f[at+apart:] by sin and cos of `begin + h * step` turns, for the targets h > `passed`.

    Both are taken without their whole turns first, so that float32 holds the rest to 1e-7 of a turn and step.
    """
    begin, step = begin - np.floor(begin), step - np.floor(step)
    large = 2.0**52 if f.itemsize == 8 else 2.0**23  # has no fraction: a sum with it is rounded to whole turns
    for v in range(0, horizon, 16):
        h = load(W, steps + v)
        phase = fma(h, splat(f, step), splat(f, begin))
        phase = phase - ((phase + large) - large)
        new = h - (passed + 0.5)
        store(f, at + v, choose(new, waves(phase), load(f, at + v)))
        store(f, at + apart + v, choose(new, waves(phase + 0.25), load(f, at + apart + v)))


@inlined
def target_calendar(
    calendar: int, almanac: Any, ts: int, interval: int, horizon: int, W: Any, steps: int, f: Any, at: int, apart: int
) -> None:
    """Overwrites rows of f from f[at] on, `apart` numbers apart, by the calendar of the targets of an origin `ts`.

    Sin and cos of the hour of day, then of the weekday, then the holiday; target h at place h - 1 of a row. Places up
    to the next multiple of 16 are scratch. W[steps:] is `target_steps`.
    """
    n = almanac[0]
    number = transitions_until(almanac, ts)
    passed = 0  # targets up to the transition before; the others are as if there were no further one
    while passed < horizon:
        local = ts + almanac[3 + n + number]
        target_waves(horizon, local * (1.0 / DAY_MS), interval * (1.0 / DAY_MS), passed, W, steps, f, at, apart)
        weeks = (local + 3 * DAY_MS) * (1.0 / WEEK_MS)  # the first of 1970 was a Thursday
        target_waves(horizon, weeks, interval * (1.0 / WEEK_MS), passed, W, steps, f, at + 2 * apart, apart)
        if calendar == 2:
            for h in range(passed, horizon):
                f[at + 4 * apart + h] = is_holiday(almanac, local + (h + 1) * interval)
        passed = horizon
        if number < n and interval > 0:
            passed = min(horizon, (almanac[3 + number] - ts - 1) // interval)
            number += 1


@inlined
def season_targets(
    season: int, horizon: int, Y: Any, y: int, R: int, newest: int, ref: float, u: float, f: Any, at: int, apart: int
) -> None:
    """Overwrites f[at:] and f[at+apart:] by the values one and two seasons before the targets, relative to ref.

    Args:
        season, horizon: literals; where the horizon is longer than the season, a season that has been seen.
        Y, y, R, newest: as in `horizon_features`.
        ref, u: last observed value and 1 / scale.
        f, at, apart: output; target h at place h - 1 of a row.
    """
    h = 0
    one = newest + 1 - season  # step of the value one season before the target
    one_at = (one + 2 * R) % R
    two_at = (one - season + 2 * R) % R
    while h < horizon:
        if one > newest:
            one -= season
            one_at = one_at - season if one_at >= season else one_at - season + R
            two_at = two_at - season if two_at >= season else two_at - season + R
        # as many targets at once as lie in a row in the ring and have the same of both values
        run = min(horizon - h, newest + 1 - one, R - one_at, R - two_at)
        if one < season:
            run = min(run, -one if one < 0 else season - one)
        if one < 0:
            for i in range(h, h + run):
                f[at + i] = 0.0
                f[at + apart + i] = 0.0
        else:
            a_at = y + one_at - h
            b_at = y + two_at - h if one >= season else a_at
            for i in range(h, h + run):
                a, b = Y[a_at + i], Y[b_at + i]
                if math.isnan(a):
                    a = b
                if math.isnan(b):
                    b = a
                f[at + i] = 0.0 if math.isnan(a) else clip_lag((a - ref) * u)
                f[at + apart + i] = 0.0 if math.isnan(b) else clip_lag((b - ref) * u)
        h += run
        one += run
        one_at = one_at + run if one_at + run < R else 0
        two_at = two_at + run if two_at + run < R else 0


@inlined
def horizon_features(
    seasons: Any, calendar: int, horizon: int, Y: Any, y: int, R: int, newest: int, D: Any, d: int, almanac: Any,
    ts: int, interval: int, W: Any, fading: int, f: Any, moment: int, target: int, apart: int,
) -> None:  # fmt: skip
    """Overwrites the head's inputs of the moment and of every target, asked at step `newest`.

    Not the last ones, about what is known ahead: those are of future.py.

    Args:
        seasons, calendar: as in `step_features`; horizon: literal.
        Y, y, R, newest: ring of values up to step `newest`. R is at least twice the longest season.
        D, d: statistics of the row.
        almanac: local time and holidays.
        ts: epoch milliseconds of the newest step.
        interval: milliseconds between steps.
        W, fading: constants; W[fading:] is `season_fading`, W[fading + apart:] `target_steps`, to whole vectors.
        f: output.
        moment: inputs of the moment from f[moment] on.
        target, apart: input i of the target h steps ahead at f[target + i*apart + h - 1]; `apart` is a multiple of 16,
            and what lies behind the last target of a row is scratch.
    """
    ref = D[d + LAST]
    u = inverse_scale(D[d + SCALE])
    f[moment] = clip_lag((D[d + LEVEL] - ref) * u)
    recent_features(Y, y, R, newest, ref, u, f, moment + 1 + len(seasons))
    row = target
    number = moment + 1
    if len(seasons) > 0:  # as in step_features
        for season in seasons:
            now = lag_value(Y, y, R, newest, season)
            shift = 0.0 if math.isnan(now) else clip_lag((ref - now) * u)
            f[number] = shift
            season_targets(season, horizon, Y, y, R, newest, ref, u, f, row, apart)
            for v in range(0, horizon, 16):
                store(f, row + 2 * apart + v, load(W, fading + v) * shift)
            row += SEASONAL * apart
            number += 1
    if calendar > 0:
        target_calendar(calendar, almanac, ts, interval, horizon, W, fading + apart, f, row, apart)
