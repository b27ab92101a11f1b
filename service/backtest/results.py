"""Scores of one method over all series: macro means, by steps ahead, and calibration of the quantiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.backtest.grids import Grid
from service.backtest.origins import LEVELS


@dataclass(frozen=True)
class Scored:
    """Scores of a method; errors relative to each series' scale, averaged over its targets, then over series.

    Attributes:
        mase, scrps, coverage_80, coverage_90: nan without scores.
        by_step: (horizon,) sCRPS by steps ahead.
        below: (19,) share of actuals at or below each quantile.
        pit: (20,) share of actuals between two quantiles, the outermost ones outside.
        per_series: name -> sCRPS.
        targets: number of scored targets.
    """

    mase: float
    scrps: float
    coverage_80: float
    coverage_90: float
    by_step: NDArray[np.float64]
    below: NDArray[np.float64]
    pit: NDArray[np.float64]
    per_series: dict[str, float]
    targets: int


def scored(series: Sequence[Grid], forecast: Callable[[Grid], NDArray[np.floating]], horizon: int) -> Scored:
    """Scores `forecast(grid)`, quantiles (n, horizon, 19), of every series with a scale."""
    levels = np.array(LEVELS)
    rows: list[list[float]] = []
    steps, below, bins, names, count = [], [], [], [], 0
    for grid in series:
        y = grid.targets(horizon)
        if not grid.scale > 0 or not np.isfinite(y).any():
            continue
        q = forecast(grid).astype(np.float64)
        error = (y[..., None] - q) / grid.scale
        pinball = 2.0 * np.maximum(levels * error, (levels - 1.0) * error).mean(axis=2)
        there = np.isfinite(y)
        inside = [_share((y >= q[..., 9 - k]) & (y <= q[..., 9 + k]), there) for k in (8, 9)]
        rows.append([float(np.abs(error[..., 9])[there].mean()), float(pinball[there].mean()), *inside])
        with np.errstate(invalid="ignore"):
            steps.append(np.where(there.any(axis=0), np.nansum(pinball, axis=0) / there.sum(axis=0), np.nan))
        exceeded = (y[..., None] <= q)[there]
        below.append(exceeded.mean(axis=0))
        place = (y[..., None] > q)[there].sum(axis=1)
        bins.append(np.bincount(place, minlength=len(levels) + 1) / len(place))
        names.append(grid.name)
        count += int(there.sum())
    if not rows:
        nothing = np.full(horizon, np.nan)
        nan = float("nan")
        return Scored(nan, nan, nan, nan, nothing, np.full(19, nan), np.full(20, nan), {}, 0)
    mase, scrps, in_80, in_90 = np.mean(rows, axis=0).tolist()
    by_step = np.array([np.nanmean(column) if np.isfinite(column).any() else np.nan for column in np.transpose(steps)])
    per_series = {name: row[1] for name, row in zip(names, rows, strict=True)}
    below_mean, pit = np.mean(below, axis=0), np.mean(bins, axis=0)
    return Scored(mase, scrps, in_80, in_90, by_step, below_mean, pit, per_series, count)


def _share(inside: NDArray[np.bool_], there: NDArray[np.bool_]) -> float:
    return float(inside[there].mean())
