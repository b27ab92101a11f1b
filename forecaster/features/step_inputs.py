"""Inputs of the network for an event: online scaling, seasonal lags, calendar, time gap, missing mask, covariates.

Everything is relative to the series itself, so that one network serves series of any unit:

    level    exponentially weighted mean of the values, rate max(1/n, `level_rate`)
    scale    exponentially weighted mean of |y - level before|, rate max(1/(n-1), `scale_rate`); 0 while constant
    ref      the last observed value; forecasts are ref + scale * (output of the network)

For the update of level and scale, y is at most `MOST_SCALES` scales from the level, from the `KNOWN_SCALE`-th value on.
Outliers are replaced before (outliers.py). All of them are relative to the anchor of the row (anchor.py).

Inputs of a step (n_x of them, in this order), with u = 1/scale (0 where scale is 0) and s(v) = v / sqrt(1 + (v/8)^2):

    s((y - level) u), s((y - y[t-1]) u), for each season s((y - y[t-season]) u),
    1 if the value is missing, s(events' time gap in intervals - 1), sin and cos of hour and weekday, 1 on a holiday,
    for each covariate s((c - its level) / its scale) and 1 if it is missing

head_inputs.py has the further inputs of the head.

Live forecasting and training call the same functions, so a step has the same inputs, bit for bit, in both. Values are
float32 numbers; computations are in float64.
"""

from __future__ import annotations

import math
from typing import Any

from forecaster.features.calendar import DAY_MS, is_holiday, local_time
from forecaster.features.profile import lag_value
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block, Ring
from forecaster.kernels.simd import maximum, select

# Columns of a row's float64 state, followed by two per covariate (level, scale), two per known-future covariate, and
# the row's anchor (anchor.py).
LEVEL, SCALE, LAST = 0, 1, 2
N_STATISTICS = 3
N_BEHIND = 1

WEEK_MS = 7 * DAY_MS
LAG_LIMIT = 16.0  # lag features are clipped to 16 scales, which keeps weights finite after a unit change
SQUASH = 8.0  # inputs are linear up to a few scales and saturate here
MOST_SCALES, KNOWN_SCALE = 64.0, 10  # bound of an update of level and scale, from this many values on
TINY = 1e-30  # smaller scales count as 0: 1 / scale would overflow float32


@inlined
def squash(v: float) -> float:
    """Returns v / sqrt(1 + (v/8)^2): linear near zero, at most 8 in size; nan stays nan."""
    w = v / SQUASH
    return v / math.sqrt(1.0 + w * w)


@inlined
def clip_lag(v: float) -> float:
    """Returns v within [-16, 16]."""
    return min(max(v, -LAG_LIMIT), LAG_LIMIT)


@inlined
def wave(phase: float) -> float:
    """Returns sin(2 pi phase) to 1e-3, from additions and products only (the same bits on every machine).

    `phase` is any real number of turns. Two parabolas, corrected once (Capens 2006).
    """
    p = phase - math.floor(phase)
    x = 2.0 * p if p < 0.5 else 2.0 * p - 2.0  # [-1, 1): half turns
    y = 4.0 * x - 4.0 * x * abs(x)
    return 0.225 * (y * abs(y) - y) + y


@inlined
def waves(phase: Any) -> Any:
    """Returns `wave` of sixteen phases from -0.5 to 1.25."""
    x = select(0.5 - phase, phase * 2.0, phase * 2.0 - 2.0)
    y = (x - x * maximum(x, 0.0 - x)) * 4.0
    return (y * maximum(y, 0.0 - y) - y) * 0.225 + y


@inlined
def inverse_scale(scale: float) -> float:
    """Returns 1 / scale, or 0 for a series that is constant so far: its features are 0 and its intervals collapse."""
    return 1.0 / scale if scale > TINY else 0.0


def calendar_columns(calendar: int) -> int:
    """Returns the number of columns of the calendar: 0 = none, 1 = hour and weekday, 2 = and holidays."""
    return (0, 4, 5)[calendar]


@inlined
def calendar_features(calendar: int, calendar_table: Any, moment: int, out: Any, at: int) -> None:
    """Overwrites out[at:at+4] by sin, cos of the hour of day and of the weekday, local, out[at+4] by the holiday.

    `moment` is epoch milliseconds; `calendar` as in `calendar_columns`; `calendar_table` see calendar.py.
    """
    ts = local_time(calendar_table, moment)
    if calendar == 2:
        out[at + 4] = is_holiday(calendar_table, ts)
    day = ts // DAY_MS
    hours = (ts - day * DAY_MS) / DAY_MS
    week = ((day + 3) % 7 + hours) / 7.0
    out[at] = wave(hours)
    out[at + 1] = wave(hours + 0.25)
    out[at + 2] = wave(week)
    out[at + 3] = wave(week + 0.25)


@inlined
def observe_value(y: float, observed: int, D: Any, d: int, level_rate: float, scale_rate: float) -> None:
    """Updates level, scale and last value by an observed value; `observed` is the number of earlier values.

    D[d:] holds the statistics of the row (LEVEL, SCALE, LAST), overwritten.
    """
    if observed == 0:
        D[d + LEVEL] = y
        D[d + SCALE] = 0.0
    else:
        deviation = y - D[d + LEVEL]
        if observed >= KNOWN_SCALE and D[d + SCALE] > TINY:
            most = MOST_SCALES * D[d + SCALE]
            deviation = min(max(deviation, -most), most)
        rate = max(1.0 / observed, scale_rate)
        D[d + SCALE] += (abs(deviation) - D[d + SCALE]) * rate
        rate = max(1.0 / (observed + 1), level_rate)
        D[d + LEVEL] += deviation * rate
    D[d + LAST] = y


@inlined
def step_features(
    seasons: Any, calendar: int, covariates: int, ring: Ring, statistics: Block, calendar_table: Any, ts: int,
    gap: float, cov: Block, out: Block,
) -> None:  # fmt: skip
    """Overwrites `out`, n_x numbers, by the inputs of the newest step of a row whose statistics already include it.

    Args:
        seasons: steps of each.
        calendar: see `calendar_columns`.
        covariates: their number.
        ring: of values; it includes the step's own value, nan if missing.
        statistics: of the row, float64.
        calendar_table: local time and holidays.
        ts: epoch milliseconds of the step.
        gap: time since the previous event, in intervals; 1 where all is regular.
        cov: scaled covariates, nan where missing.
        out: output.
    """
    X, x, D, d = out.array, out.at, statistics.array, statistics.at
    u = inverse_scale(D[d + SCALE])
    value = lag_value(ring, 0)
    missing = math.isnan(value)
    X[x] = 0.0 if missing else squash((value - D[d + LEVEL]) * u)
    before = lag_value(ring, 1)
    X[x + 1] = 0.0 if missing or math.isnan(before) else squash((value - before) * u)
    at = x + 2
    if len(seasons) > 0:  # numba prunes the branch of literals; it cannot index an empty tuple
        for i in range(len(seasons)):
            before = lag_value(ring, seasons[i])
            X[at] = 0.0 if missing or math.isnan(before) else squash((value - before) * u)
            at += 1
    X[at] = 1.0 if missing else 0.0
    X[at + 1] = squash(gap - 1.0)
    at += 2
    if calendar > 0:
        calendar_features(calendar, calendar_table, ts, X, at)
        at += 3 + calendar
    for c in range(covariates):
        v = cov.array[cov.at + c]
        X[at] = 0.0 if math.isnan(v) else v
        X[at + 1] = 1.0 if math.isnan(v) else 0.0
        at += 2


@inlined
def follow(v: float, D: Any, at: int, rate: float) -> None:
    """Moves a level D[at] (nan at first) and a mean absolute deviation D[at + 1] towards a value; both overwritten.

    The step is bounded as in `observe_value`, once the rate is a tenth or less.
    """
    if math.isnan(D[at]):
        D[at] = v
    deviation = v - D[at]
    if rate * KNOWN_SCALE <= 1.0 and D[at + 1] > TINY:
        most = MOST_SCALES * D[at + 1]
        deviation = min(max(deviation, -most), most)
    D[at + 1] += (abs(deviation) - D[at + 1]) * rate
    D[at] += deviation * rate


@inlined
def scale_covariates(
    covariates: int, raw: Any, raw_at: int, D: Any, d: int, out: Any, out_at: int, steps: int, rate: float
) -> None:
    """Scales each covariate by its own running level and mean absolute deviation in this row, and updates these.

    `raw` and `out` may hold nan (missing). D[d+3:] holds level and scale of each, overwritten; a level starts as nan.
    """
    for c in range(covariates):
        v = raw[raw_at + c]
        at = d + N_STATISTICS + 2 * c
        if not math.isfinite(v):
            out[out_at + c] = math.nan
            continue
        follow(v, D, at, max(1.0 / steps, rate))
        out[out_at + c] = squash((v - D[at]) * inverse_scale(D[at + 1]))
