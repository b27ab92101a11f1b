"""Inputs of the head about the moment and every target: the newest steps, seasonal values, the calendar ahead.

Inputs of the head for horizon h (n_f of them, in this order), differences times u = 1/scale and clipped to [-16, 16];
in four groups, as only those of the third need a product for every event and horizon (network/quantile_output.py):

    place    the same for every event: h / horizon, 1 / h, sqrt(h / horizon)
    moment   the same for every horizon: level - ref and, for each season, ref - y[t-season]; y[t-1], y[t-2], y[t-3]
             and the means of the newest 6 and 12 steps relative to ref, the mean size of the newest 5 changes: the head
             has the last steps themselves, not only what the hidden state retains of them
    target   for each season the values one and two seasons before the target relative to ref;
             (ref - y[t-season]) / sqrt(h), which fades with the horizon; the mean of up to four values of the target's
             phase and that of the two neighbours of the newest of these: the usual value, without the noise of one
             season; then the known future values, see known_future.py
    date     the same for all series at one time: sin and cos of the target's hour, once and twice a day, and of its
             weekday, once and twice a week; 1 if it falls on a holiday. With one wave each a morning rush or a weekend
             would be too sharp for a small head

step_inputs.py defines level, scale, ref and time. A lag that does not exist or was missing is replaced by the other one
of its season, or by ref; a neighbour by the value between the two. Live forecasting and training call the same
functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.features.calendar import DAY_MS, is_holiday, transitions_until
from forecaster.features.profile import lag_value
from forecaster.features.step_inputs import (
    LAG_LIMIT,
    LAST,
    LEVEL,
    SCALE,
    WEEK_MS,
    clip_lag,
    inverse_scale,
    waves,
)
from forecaster.kernels.buffers import padded_width
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block, HeadInputs, Ring, Rows
from forecaster.kernels.simd import fma, load, maximum, select, splat, store

PLACE = 3  # inputs of the head about the horizon
RECENT = 6  # inputs of the head about the newest steps
SEASONAL = 5  # inputs of the head about a target and one season
PHASES = 4  # largest number of values of the same phase in their mean
FAR = 2.0 * LAG_LIMIT  # makes every value positive, but for nan


@inlined
def recent_features(ring: Ring, ref: float, u: float, f: Any, at: int) -> None:
    """Overwrites f[at : at + RECENT] by the inputs about the newest twelve steps, see the module.

    Args:
        ring: of values.
        ref, u: last observed value and 1 / scale.
        f, at: output.
    """
    Y, y, R, newest = ring.array, ring.at, ring.length, ring.newest
    six = 0.0
    twelve = 0.0
    moved = 0.0
    after = ref
    place = newest % R
    for k in range(12):
        past = Y[y + place] if k <= newest else math.nan
        place = place - 1 if place > 0 else R - 1
        missing = math.isnan(past)
        change = 0.0 if missing else clip_lag((past - ref) * u)
        if 1 <= k <= 3:
            f[at + k - 1] = change
        twelve += change
        if k < 6:
            six += change
            if not missing:
                moved += min(abs(past - after) * u, LAG_LIMIT)
                after = past
    f[at + 3] = six / 6.0
    f[at + 4] = twelve / 12.0
    f[at + 5] = moved / 5.0


def head_columns(seasons: int, calendar: int, futures: int) -> tuple[int, int, int, int]:
    """Returns the numbers of inputs of the head about the place, the moment, a target, and its date.

    Args:
        seasons: number of seasons.
        calendar: 0 = none, 1 = hour and weekday, 2 = and holidays.
        futures: number of known-future covariates.
    """
    return PLACE, 1 + seasons + RECENT, SEASONAL * seasons + 2 * futures, (0, 8, 9)[calendar]


@inlined
def phases_of(season: int, longest: int) -> int:
    """Returns how many values of one phase are averaged: those in two of the longest season, `PHASES` at most."""
    return min(PHASES, 2 * longest // season)


def phase_floats(horizon: int) -> int:
    """Returns the length of the scratch of `season_targets`."""
    return PHASES * (padded_width(horizon) + 32)


def horizon_places(horizon: int) -> NDArray[np.float64]:
    """Returns the inputs (horizon, PLACE) of the head that are the same for every event."""
    h = np.arange(1.0, horizon + 1)
    return np.stack([h / horizon, 1.0 / h, np.sqrt(h / horizon)], 1)


def target_steps(horizon: int) -> NDArray[np.float64]:
    """Returns (horizon,) the number of steps ahead of every target."""
    return np.arange(1.0, horizon + 1)


def season_fading(horizon: int) -> NDArray[np.float64]:
    """Returns (horizon,) 1 / sqrt(h): the share of a shift against one season ago that remains h steps ahead."""
    fading: NDArray[np.float64] = 1.0 / np.sqrt(np.arange(1.0, horizon + 1))
    return fading


@inlined
def target_waves(
    horizon: int, begin: float, step: float, passed: int, W: Any, steps: int, f: Any, at: int, apart: int
) -> None:
    """Overwrites f[at:] and f[at+apart:] by sin and cos of `begin + h * step` turns, for the targets h > `passed`.

    Whole turns are removed from both first, so that float32 holds the rest to 1e-7 of a turn and step. The next two
    rows are overwritten by sin and cos of twice as many turns.
    """
    begin, step = begin - np.floor(begin), step - np.floor(step)
    large = 2.0**52 if f.itemsize == 8 else 2.0**23  # has no fraction bits: a sum with it is rounded to whole turns
    for v in range(0, horizon, 16):
        h = load(W, steps + v)
        phase = fma(h, splat(f, step), splat(f, begin))
        phase = phase - ((phase + large) - large)
        new = h - (passed + 0.5)
        sine = select(new, waves(phase), load(f, at + v))
        cosine = select(new, waves(phase + 0.25), load(f, at + apart + v))
        store(f, at + v, sine)
        store(f, at + apart + v, cosine)
        store(f, at + 2 * apart + v, sine * cosine * 2.0)
        store(f, at + 3 * apart + v, cosine * cosine - sine * sine)


@inlined
def date_features(
    calendar: int,
    calendar_table: Any,
    ts: int,
    interval: int,
    horizon: int,
    W: Any,
    steps: int,
    f: Any,
    at: int,
    apart: int,
) -> None:
    """Overwrites rows of f from f[at] on, `apart` numbers apart, by the dates of the targets of an origin `ts`.

    Sin and cos of the hour of day, of twice that, of the weekday, of twice that, then the holiday; target h at index
    h - 1 of a row. Numbers up to the next multiple of 16 are scratch. W[steps:] is `target_steps`. `calendar` is as
    in `head_columns`.
    """
    if calendar > 0:
        n = calendar_table[0]
        number = transitions_until(calendar_table, ts)
        # targets up to the previous transition; others are computed as if there were no further one
        passed: Any = np.int64(0)
        while passed < horizon:
            local = ts + calendar_table[3 + n + number]
            target_waves(horizon, local * (1.0 / DAY_MS), interval * (1.0 / DAY_MS), passed, W, steps, f, at, apart)
            weeks = (local + 3 * DAY_MS) * (1.0 / WEEK_MS)  # 1 January 1970 was a Thursday
            target_waves(horizon, weeks, interval * (1.0 / WEEK_MS), passed, W, steps, f, at + 4 * apart, apart)
            if calendar == 2:
                for h in range(passed, horizon):
                    f[at + 8 * apart + h] = is_holiday(calendar_table, local + (h + 1) * interval)
            passed = horizon
            if number < n and interval > 0:
                passed = min(horizon, (calendar_table[3 + number] - ts - 1) // interval)
                number += 1


@inlined
def phase(season: int, back: int, horizon: int, ring: Ring, ref: float, u: float, f: Any, at: int) -> None:
    """Overwrites f[at - 1 : at + horizon + 1] by values of the same phase as the targets, and as their neighbours.

    Relative to ref; nan where there is none.

    Args:
        season, back: the values lie `back` seasons before the targets. Where the horizon is longer than the
            season, before the first target of the same phase.
        horizon, ring, ref, u: as in `season_targets`.
        f, at: output; the value of the target h steps ahead at f[at + h - 1].
    """
    Y, y, R, newest = ring.array, ring.at, ring.length, ring.newest
    last = newest - (back - 1) * season
    step = last - season
    place = -1
    while place <= horizon:
        if step > last:
            step -= season
        run = min(horizon + 1 - place, last + 1 - step)  # as many at once as are contiguous in the ring
        if step < 0:
            run = min(run, -step)
            for i in range(place, place + run):
                f[at + i] = math.nan
        elif newest - step >= ring.full:  # one value for all steps of a bin, as in `lag_value`
            run = min(run, ring.width - step % ring.width, newest - ring.full + 1 - step)
            v = Y[ring.bins + step // ring.width % ring.held]
            v = math.nan if math.isnan(v) else clip_lag((v - ref) * u)
            for i in range(place, place + run):
                f[at + i] = v
        else:
            start = step % R
            run = min(run, R - start)
            for i in range(run):
                v = Y[y + start + i]
                f[at + place + i] = math.nan if math.isnan(v) else clip_lag((v - ref) * u)
        place += run
        step += run


@inlined
def season_targets(
    season: int, phases: int, horizon: int, ring: Ring, ref: float, u: float, fading: Block, shift: float,
    out: Rows, past: int,
) -> None:  # fmt: skip
    """Overwrites SEASONAL rows of `out` by the seasonal inputs of every target, relative to ref.

    Args:
        season, phases, horizon: `phases` is the number of values of one phase in their mean, two or more.
        ring, fading: as in `horizon_features`.
        ref, u: last observed value and 1 / scale.
        shift: of the last value against one season before, in scales.
        out: output; target h at index h - 1 of a row.
        past: out.array[past:] is scratch, `phase_floats`.
    """
    f, at, apart, W, fades = out.array, out.at, out.row, fading.array, fading.at
    row = apart + 32
    for p in range(phases):
        phase(season, p + 1, horizon, ring, ref, u, f, past + p * row + 16)
    nothing = splat(f, 0.0)
    for v in range(0, horizon, 16):
        place = past + 16 + v
        a, b = load(f, place), load(f, place + row)
        one = select(a + FAR, a, select(b + FAR, b, nothing))
        store(f, at + v, one)
        store(f, at + apart + v, select(b + FAR, b, one))
        store(f, at + 2 * apart + v, load(W, fades + v) * shift)
        sum_of_all, count = nothing, nothing
        for p in range(phases):
            value = load(f, place + p * row)
            sum_of_all = sum_of_all + select(value + FAR, value, nothing)
            count = count + select(value + FAR, splat(f, 1.0), nothing)
        store(f, at + 3 * apart + v, sum_of_all / maximum(count, 1.0))
        before, after = load(f, place - 1), load(f, place + 1)
        before, after = select(before + FAR, before, one), select(after + FAR, after, one)
        store(f, at + 4 * apart + v, (before + after) * 0.5)


@inlined
def horizon_features(
    seasons: Any, horizon: int, ring: Ring, statistics: Block, fading: Block, inputs: HeadInputs, past: int
) -> None:
    """Overwrites the head's inputs of the moment and of every target, for an origin at the newest step of a ring.

    Known future values (known_future.py) and dates (`date_features`) are not included.

    Args:
        seasons: as in `step_features`. horizon: number of targets.
        ring: of values, at least twice as long as the longest season.
        statistics: of the row, float64.
        fading: `season_fading`, in whole vectors.
        inputs: output; numbers after the last target of a row are scratch.
        past: inputs.array[past:] is scratch, `phase_floats`.
    """
    D, d, f, moment, apart = statistics.array, statistics.at, inputs.array, inputs.moment, inputs.row
    ref = D[d + LAST]
    u = inverse_scale(D[d + SCALE])
    f[moment] = clip_lag((D[d + LEVEL] - ref) * u)
    recent_features(ring, ref, u, f, moment + 1 + len(seasons))
    row = inputs.target
    number = moment + 1
    if len(seasons) > 0:  # as in step_features
        for i in range(len(seasons)):
            season = seasons[i]
            now = lag_value(ring, season)
            shift = 0.0 if math.isnan(now) else clip_lag((ref - now) * u)
            f[number] = shift
            season_targets(season, phases_of(season, seasons[len(seasons) - 1]), horizon, ring, ref, u, fading, shift,
                           Rows(f, row, apart), past)  # fmt: skip
            row += SEASONAL * apart
            number += 1
