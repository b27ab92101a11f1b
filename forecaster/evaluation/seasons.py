r"""Detects the seasons of a stream from its history, at lengths that follow from the calendar.

Candidates are the minute, hour, day, week and year in steps of the interval. For each, from the shortest to the
longest, far values of a series that do not recur one season before or after become missing, the shorter seasons
already found are removed (the mean of every phase is subtracted), then it is averaged over blocks of about an eighth of
the season, differenced (a level shift becomes one step, a random walk noise), reduced by the median difference (a trend
becomes zero) and clipped at a few of its usual steps. With d the result and m the season in blocks, the series has the
season if

    r(k) = sum d[t] d[t-k] / sqrt(sum d[t]^2 sum d[t-k]^2)        over N pairs, at least one season of them
    r(m) >= 0.1 + 2.5 / sqrt(N)   and   r(m) > r(m/2)

The first is rare in noise (r then has a standard deviation of about 1.2 / sqrt(N); Box, Jenkins and Reinsel 2008,
section 2.1.6), the second in a series that is merely smooth, whose r falls with k. For m = 2 and 3 the second is
r(2m) - r(m + 1) >= 0.1 + 2.5 / sqrt(N): neighbouring differences share a value, so that noise and single wrong values
lower r(1), and those of a smooth series are alike, so that noise alone would decide which is larger. In a series that
alternates, r(m + 1) is negative. A stream has the season if a fifth of the series long enough for the test have it: the
others lose little, as their ensembles give it a low weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

MINUTE_MS, HOUR_MS, DAY_MS, WEEK_MS = 60_000, 3_600_000, 86_400_000, 604_800_000
# Days between two steps, from and to; steps per year.
YEARLY = ((7, 7, 52), (28, 31, 12), (59, 62, 6), (89, 92, 4), (120, 123, 3), (181, 184, 2))
LONGEST = 3000  # in steps: a row keeps two of its longest seasons
_HOURS = range(6, 61)  # steps per hour for which the hour is a season
BLOCKS = 8  # approximate number of blocks per season; fewer blocks have less noise
FEW_CYCLES = 7  # a series of fewer cycles cannot rule out a usual season
FAR, AROUND = 25.0, 7  # usual steps by which a value is far from the median of so many around it
NO_NEIGHBOURS = 4  # blocks of a season of which half a season is more than one block
SHARE = 0.2  # least share of the series long enough for the test, and of the far values that recur
MOST_SERIES = 64  # spread evenly over all; more do not change the result
MOST_STEPS = 100_000  # the newest steps of a series


def candidates(interval_ms: int) -> tuple[int, ...]:
    """Returns the lengths in steps of the calendar's cycles that fit the interval, increasing."""
    if interval_ms <= 0:
        return ()
    whole = [cycle // interval_ms for cycle in (MINUTE_MS, HOUR_MS, DAY_MS, WEEK_MS) if cycle % interval_ms == 0]
    days = interval_ms / DAY_MS
    year = [length for low, high, length in YEARLY if low <= days <= high]
    return tuple(length for length in sorted({*whole, *year}) if 2 <= length <= LONGEST)


def calendar_seasons(interval_ms: int) -> tuple[int, ...]:
    """Returns the seasons to assume without any history: hour, day and week where they fit, else the longest cycle.

    The hour is included from 6 to 60 steps: machines repeat jobs at the same minutes of every hour, and on streams of
    human activity and traffic the value one hour before was measured to improve forecasts.

    Args:
        interval_ms: milliseconds between two steps.

    Returns:
        Lengths in steps, increasing.
    """
    fitting = candidates(interval_ms)
    usual = tuple(
        length
        for length in fitting
        if length * interval_ms in {DAY_MS, WEEK_MS} or (length * interval_ms == HOUR_MS and length in _HOURS)
    )
    return usual or fitting[-1:]


def detect_seasons(values: Sequence[NDArray[Any]], interval_ms: int, *, limit: int = 3) -> tuple[int, ...]:
    """Returns the seasons that the series have.

    Args:
        values: one array (steps,) per series on its regular grid, nan where missing; see `on_grid`.
        interval_ms: milliseconds between steps.
        limit: largest number of seasons; those that most series have are kept.

    Returns:
        Lengths in steps, increasing. A season of `calendar_seasons` is among them as long as it cannot be ruled out:
        no series is seven seasons long.
    """
    series = [np.asarray(v[-MOST_STEPS:], np.float64) for v in values]
    if len(series) > MOST_SERIES:
        series = [series[i] for i in np.linspace(0, len(series) - 1, MOST_SERIES).astype(int)]
    usual = calendar_seasons(interval_ms)
    found: dict[int, float] = {}
    far = [far_values(y) for y in series]
    for season in candidates(interval_ms):
        screened = [without_far_values(*pair, season) for pair in zip(series, far, strict=True)]
        votes = [vote for y in screened if (vote := has_season(y, season)) is not None]
        share = sum(votes) / len(votes) if votes else 0.0
        unsure = season in usual and not any(len(y) >= FEW_CYCLES * season for y in series)
        if unsure or (votes and share >= SHARE):
            found[season] = 1.0 if unsure else share
            series = [without_season(*pair, season) for pair in zip(series, screened, strict=True)]
    chosen = sorted(found, key=lambda season: (-found[season], season))[:limit]
    return tuple(sorted(chosen))


def has_season(y: NDArray[np.float64], season: int) -> bool | None:
    """Returns whether a series repeats after `season` steps; None where it is too short, too sparse or constant."""
    width = min((w for w in range(1, season // 2 + 1) if season % w == 0), key=lambda w: abs(season / w - BLOCKS))
    lag, blocks = season // width, len(y) // width
    if blocks < 2 * lag + 1:
        return None
    cut = y[len(y) - blocks * width :].reshape(blocks, width)
    observed = np.isfinite(cut)
    counts = observed.sum(axis=1)
    means = np.where(counts > 0, np.where(observed, cut, 0.0).sum(axis=1) / np.maximum(counts, 1), np.nan)
    steps = np.diff(means)
    steps -= np.median(steps[np.isfinite(steps)]) if np.isfinite(steps).any() else 0.0
    sizes = np.abs(steps[np.isfinite(steps)])
    usual = float(np.median(sizes)) if len(sizes) else 0.0
    usual = usual or (float(sizes.mean()) if len(sizes) else 0.0)
    if not usual > 0 or not math.isfinite(usual):
        return None
    d = np.clip(steps / usual, -6.0, 6.0)
    pairs, correlated = correlation(d, lag)
    if pairs < lag or math.isnan(correlated):
        return None
    least = 0.1 + 2.5 / math.sqrt(pairs)
    if lag >= NO_NEIGHBOURS:
        return correlated >= least and not correlated <= correlation(d, lag // 2)[1]
    again = correlation(d, 2 * lag)[1] - correlation(d, lag + 1)[1]
    return correlated >= least and not again < least


def correlation(d: NDArray[np.float64], lag: int) -> tuple[int, float]:
    """Returns the number of observed pairs `lag` apart, and their correlation around zero (nan if undefined)."""
    now, before = d[lag:], d[:-lag]
    both = np.isfinite(now) & np.isfinite(before)
    size = math.sqrt(float((now[both] ** 2).sum()) * float((before[both] ** 2).sum()))
    return int(both.sum()), float((now[both] * before[both]).sum()) / size if size > 0.0 else math.nan


def far_values(y: NDArray[np.float64]) -> NDArray[np.int8]:
    """Returns 1 and -1 for values more than `FAR` usual steps above and below the median of those around, else 0."""
    at = np.flatnonzero(np.isfinite(y))
    signs = np.zeros(len(y), np.int8)
    if len(at) < AROUND:
        return signs
    values = y[at]
    medians = np.median(sliding_window_view(np.pad(values, AROUND // 2, mode="reflect"), AROUND), axis=1)
    usual = np.median(np.abs(np.diff(values)))
    if usual > 0.0:
        signs[at] = np.where(np.abs(values - medians) > FAR * usual, np.sign(values - medians), 0.0)
    return signs


def without_far_values(y: NDArray[np.float64], far: NDArray[np.int8], season: int) -> NDArray[np.float64]:
    """Returns the series with far values missing, but for those that recur a season before or after, within one step.

    All are missing where fewer than `SHARE` of them recur: so many of those that come at random do.
    """
    found = np.flatnonzero(far)
    if not len(found):
        return y
    around = found[:, None] + [sign * season + step for sign in (-1, 1) for step in (-1, 0, 1)]
    inside = (around >= 0) & (around < len(y))
    recurs = (inside & (far[np.clip(around, 0, len(y) - 1)] == far[found][:, None])).any(axis=1)
    screened = y.copy()
    screened[found[~recurs] if recurs.mean() >= SHARE else found] = np.nan
    return screened


def without_season(y: NDArray[np.float64], screened: NDArray[np.float64], season: int) -> NDArray[np.float64]:
    """Returns the series less the mean of each phase of a season; `screened` holds the values that count."""
    observed = np.isfinite(screened)
    phase = np.arange(len(y)) % season
    sums = np.bincount(phase[observed], screened[observed], season)
    counts = np.bincount(phase[observed], minlength=season)
    return y - (sums / np.maximum(counts, 1))[phase]


def on_grid(timestamp_ms: NDArray[np.int64], value: NDArray[Any], interval_ms: int) -> NDArray[np.float64]:
    """Converts one series to its regular grid: the newest steps, nan where nothing was observed.

    Args:
        timestamp_ms, value: (n,) events in time order, n >= 1; those newer than the last one have wrong times.
        interval_ms: milliseconds between steps; an event is assigned to the nearest step.
    """
    back = (timestamp_ms[-1] - timestamp_ms + interval_ms // 2) // interval_ms
    chosen = (back >= 0) & (back < MOST_STEPS)
    grid = np.full(int(back[chosen].max()) + 1, np.nan)
    grid[len(grid) - 1 - back[chosen]] = value[chosen]
    return grid
