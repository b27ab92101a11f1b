"""Draws from forecasts: a value from quantiles, a class from probabilities. The caller passes the uniform numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sample_quantiles(quantiles: NDArray[Any], levels: tuple[float, ...], uniform: NDArray[Any]) -> NDArray[np.float64]:
    """Inverts the piecewise linear distribution function through the quantiles.

    Args:
        quantiles: (N, Q) non-decreasing.
        levels: (Q,) levels of the quantiles.
        uniform: (N,) numbers from 0 to 1.

    Returns:
        (N,) values. Outside the outermost levels the outermost pieces are extrapolated linearly; a single level is
        returned as it is.
    """
    q, a = np.asarray(quantiles, np.float64), np.asarray(levels, np.float64)
    if len(a) == 1:
        return q[:, 0].copy()
    piece = np.clip(np.searchsorted(a, uniform, side="right") - 1, 0, len(a) - 2)
    rows = np.arange(len(q))
    share = (uniform - a[piece]) / (a[piece + 1] - a[piece])
    low = q[rows, piece]
    return np.asarray(low + share * (q[rows, piece + 1] - low))


def sample_classes(probabilities: NDArray[Any], temperature: float, uniform: NDArray[Any]) -> NDArray[np.int64]:
    """Draws classes (N,) from probabilities (N, C)^(1/temperature); temperature 0 takes the most probable."""
    p = np.asarray(probabilities, np.float64)
    if temperature == 0:
        return np.asarray(p.argmax(axis=1))
    p = (p / p.max(axis=1, keepdims=True)) ** (1.0 / temperature)
    cumulated = np.cumsum(p, axis=1)
    found: NDArray[np.int64] = (cumulated < uniform[:, None] * cumulated[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(found, p.shape[1] - 1))
