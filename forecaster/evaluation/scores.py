"""Scores of probabilistic forecasts: MASE, sCRPS and the coverage of central intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """Mean scores over all scored targets of one series or many.

    Attributes:
        mase: mean absolute error of the median in units of `scale`. scrps: twice the mean pinball loss over the
            levels, in the same units. coverage: level of a central interval -> share of targets inside.
        targets: number of scored targets.
    """

    mase: float
    scrps: float
    coverage: dict[float, float]
    targets: int


def score(
    quantiles: NDArray[np.floating], targets: NDArray[np.floating], levels: Sequence[float], scale: float
) -> Scores:
    """Scores forecasts of one series.

    Args:
        quantiles: (n, horizon, levels). targets: (n, horizon), nan where there is none.
        levels: the quantile levels, 0.5 among them.
        scale: unit of the errors, e.g. the mean absolute seasonal difference (Hyndman and Koehler 2006).

    Returns:
        The scores; nan where there are no targets.
    """
    there = np.isfinite(targets)
    if not there.any():
        return Scores(float("nan"), float("nan"), {}, 0)
    q, y = quantiles[there].astype(np.float64), targets[there].astype(np.float64)
    a = np.asarray(levels, np.float64)
    error = y[:, None] - q
    pinball = np.maximum(a * error, (a - 1.0) * error)
    coverage = {}
    for low, level in enumerate(a[a < 0.5]):
        high = np.flatnonzero(np.isclose(a, 1.0 - level))
        if len(high):
            inside = (y >= q[:, low]) & (y <= q[:, high[0]])
            coverage[round(float(1.0 - 2.0 * level), 6)] = float(inside.mean())
    median = int(np.flatnonzero(a == 0.5)[0])
    return Scores(
        float(np.abs(error[:, median]).mean() / scale), float(2.0 * pinball.mean() / scale), coverage, int(there.sum())
    )


def at_levels(quantiles: NDArray[np.floating], levels: Sequence[float], wanted: Sequence[float]) -> NDArray[np.float64]:
    """Interpolates quantiles to other levels, linearly; beyond the outermost level, returns the outermost quantile.

    Args:
        quantiles: shape (..., levels), non-decreasing along the last axis.
        levels, wanted: the levels given and wanted, each increasing.

    Returns:
        Shape (..., wanted), float64.
    """
    have, want = np.asarray(levels, np.float64), np.asarray(wanted, np.float64)
    if have.shape == want.shape and np.allclose(have, want, atol=1e-9):
        return quantiles.astype(np.float64)
    right = np.clip(np.searchsorted(have, want), 1, max(1, len(have) - 1))
    if len(have) == 1:
        return np.repeat(quantiles, len(want), axis=-1).astype(np.float64)
    part = np.clip((want - have[right - 1]) / (have[right] - have[right - 1]), 0.0, 1.0)
    low, high = quantiles[..., right - 1], quantiles[..., right]
    return (low + (high - low) * part).astype(np.float64)
