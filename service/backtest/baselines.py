"""Simple reference methods under the same protocol: naive and seasonal naive, with intervals from their past errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.backtest.grids import Grid
from service.backtest.origins import LEVELS

ERRORS = 300  # newest known errors that an interval is computed from


def methods(seasons: tuple[int, ...]) -> dict[str, tuple[str, int]]:
    """Returns name -> kind and season of the methods that are meaningful for these seasons."""
    found = {"naive": ("naive", 1)}
    for season in seasons:
        found[f"seasonal naive ({season})"] = ("seasonal", season)
        found[f"level-adjusted ({season})"] = ("adjusted", season)
    return found


def baseline(grid: Grid, kind: str, season: int, horizon: int) -> NDArray[np.float64]:
    """Computes quantiles (n, horizon, 19) at the grid's origins.

    The point forecast plus the quantiles of the newest errors known at the origin, per step ahead.
    """
    steps = np.arange(len(grid.y))
    points = np.stack([_points(grid.y, steps, kind, season, h) for h in range(1, horizon + 1)], axis=1)
    later = steps[:, None] + np.arange(1, horizon + 1)
    actuals = np.where(later < len(grid.y), grid.y[np.minimum(later, len(grid.y) - 1)], np.nan)
    errors = actuals - points
    out = np.full((len(grid.origin), horizon, len(LEVELS)), np.nan)
    for i, origin in enumerate(grid.origin.tolist()):
        newest = origin - np.arange(1, horizon + 1)  # the newest step whose forecast has its target
        window = newest[:, None] - np.arange(min(ERRORS, origin + 1))
        known = errors[np.maximum(window, 0), np.arange(horizon)[:, None]]
        known = np.sort(np.where(window >= 0, known, np.nan), axis=1)  # nan last
        count = np.isfinite(known).sum(axis=1)
        place = np.clip(count[:, None] * np.array(LEVELS) - 0.5, 0, np.maximum(count - 1, 0)[:, None])
        low = place.astype(np.int64)
        high = np.minimum(low + 1, np.maximum(count - 1, 0)[:, None])
        a, b = np.take_along_axis(known, low, 1), np.take_along_axis(known, high, 1)
        spread = np.where(count[:, None] > 0, a + (b - a) * (place - low), 0.0)
        out[i] = points[origin][:, None] + spread
    return out


def _points(y: NDArray[np.float64], steps: NDArray[np.int64], kind: str, season: int, h: int) -> NDArray[np.float64]:
    """Computes point forecasts for `h` steps ahead at every step; the last known value replaces a missing one."""
    last = _filled(y)
    if kind == "naive":
        return last
    back = steps + h - season * ((h + season - 1) // season)
    before = np.where(back >= 0, last[np.maximum(back, 0)], last)
    if kind == "seasonal":
        return before
    ago = steps - season
    return before + np.where((ago >= 0) & (back >= 0), last - last[np.maximum(ago, 0)], 0.0)


def _filled(y: NDArray[np.float64]) -> NDArray[np.float64]:
    newest = np.maximum.accumulate(np.where(np.isfinite(y), np.arange(len(y)), 0))
    return y[newest]
