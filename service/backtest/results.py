"""Scores of one method over all series: means, by steps ahead, hour and weekday, and calibration of the quantiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.backtest.grids import Grid
from service.backtest.local_time import hours_and_weekdays
from service.backtest.origins import LEVELS


class SeriesScore(NamedTuple):
    """Scores of one series: errors relative to its scale, and shares of the actuals within the intervals."""

    mase: float
    scrps: float
    coverage_80: float
    coverage_90: float


@dataclass(frozen=True)
class Scored:
    """Scores of a method; errors relative to each series' scale, averaged over its targets, then over series.

    Attributes:
        mase, scrps, coverage_80, coverage_90: nan without scores.
        by_step: (horizon,) sCRPS by steps ahead.
        coverage_by_step: (2, horizon) share of actuals within the 80 % and the 90 % interval, by steps ahead.
        by_hour: (24,) sCRPS by the hour of the target, nan where none has a target. by_weekday: (7,), from Monday.
        below: (19,) share of actuals at or below each quantile.
        pit: (20,) share of actuals between two quantiles, the outermost ones outside.
        per_series: name -> its scores.
        targets: number of scored targets.
    """

    mase: float
    scrps: float
    coverage_80: float
    coverage_90: float
    by_step: NDArray[np.float64]
    coverage_by_step: NDArray[np.float64]
    by_hour: NDArray[np.float64]
    by_weekday: NDArray[np.float64]
    below: NDArray[np.float64]
    pit: NDArray[np.float64]
    per_series: dict[str, SeriesScore]
    targets: int


def scored(series: Sequence[Grid], forecast: Callable[[Grid], NDArray[np.floating]], horizon: int) -> Scored:
    """Scores `forecast(grid)`, quantiles (n, horizon, 19), of every series with a scale."""
    levels = np.array(LEVELS)
    rows: list[SeriesScore] = []
    steps, inside_steps, hours, weekdays, below, bins, names, count = [], [], [], [], [], [], [], 0
    for grid in series:
        y = grid.targets(horizon)
        if not grid.scale > 0 or not np.isfinite(y).any():
            continue
        q = forecast(grid).astype(np.float64)
        error = (y[..., None] - q) / grid.scale
        pinball = 2.0 * np.maximum(levels * error, (levels - 1.0) * error).mean(axis=2)
        there = np.isfinite(y)
        inside = [np.where(there, (y >= q[..., 9 - k]) & (y <= q[..., 9 + k]), np.nan) for k in (8, 9)]
        errors = float(np.abs(error[..., 9])[there].mean()), float(pinball[there].mean())
        rows.append(SeriesScore(*errors, *(float(np.nanmean(one)) for one in inside)))
        steps.append(_nanmean(pinball))
        inside_steps.append([_nanmean(one) for one in inside])
        hour, weekday = hours_and_weekdays(grid.target_times(horizon)[there], grid.timezone)
        hours.append(_means(hour, pinball[there], 24))
        weekdays.append(_means(weekday, pinball[there], 7))
        exceeded = (y[..., None] <= q)[there]
        below.append(exceeded.mean(axis=0))
        place = (y[..., None] > q)[there].sum(axis=1)
        bins.append(np.bincount(place, minlength=len(levels) + 1) / len(place))
        names.append(grid.name)
        count += int(there.sum())
    if not rows:
        nan, steps_nan = float("nan"), np.full(horizon, np.nan)
        hours_nan, days_nan, levels_nan, bins_nan = (np.full(size, np.nan) for size in (24, 7, 19, 20))
        return Scored(
            nan, nan, nan, nan, steps_nan, np.array([steps_nan] * 2), hours_nan, days_nan, levels_nan, bins_nan, {}, 0
        )
    mase, scrps, in_80, in_90 = np.mean(rows, axis=0).tolist()
    by_step, inside_by_step, by_hour, by_weekday = map(_nanmean, (steps, inside_steps, hours, weekdays))
    levels_mean, pit, per_series = np.mean(below, axis=0), np.mean(bins, axis=0), dict(zip(names, rows, strict=True))
    return Scored(
        mase, scrps, in_80, in_90, by_step, inside_by_step, by_hour, by_weekday, levels_mean, pit, per_series, count
    )


def _nanmean(values: object) -> NDArray[np.float64]:
    """Returns the means over the first axis, nan where every value is nan."""
    found = np.asarray(values, np.float64)
    there = np.isfinite(found)
    counts = there.sum(axis=0)
    return np.where(counts > 0, np.where(there, found, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _means(place: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Returns the mean (size,) of the values at each place, nan where there is none."""
    counts = np.bincount(place, minlength=size)
    return np.where(counts > 0, np.bincount(place, values, size) / np.maximum(counts, 1), np.nan)
