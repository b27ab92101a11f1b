"""Quantiles as JSON numbers: as few digits as say what was forecast.

Quantiles of an ordinary series are float32 numbers and are written with the shortest digits that tell them apart: 0.1
and not 0.10000000149011612. From 2**24 on these digits say less than the number, and all its digits are written. The
quantiles of a large level with small changes are float64 numbers that float32 does not hold. They are rounded to a
decimal grid of at most `GRID` of the width of their row, so that the text is short and right to what matters: the
changes of the series.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

GRID: Final = 1e-7
EXACT: Final = 2.0**24
"""Whole numbers below are float32 numbers, and their shortest digits as such are all their digits."""

_LEAST: Final = -300
_POWERS: Final = np.array([float(f"1e{power}") for power in range(_LEAST, 301)])
_WHOLE: Final = 2.0**53  # a product beyond is no whole number of the grid any more


def narrow(quantiles: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which rows are those of an ordinary series: below `EXACT`, and every number a float32 number; or all nan.

    Args:
        quantiles: (..., levels), not falling over the levels.

    Returns:
        (...).
    """
    low, high = quantiles[..., 0], quantiles[..., -1]
    small: NDArray[np.bool_] = ~(np.maximum(-low, high) >= EXACT)
    if quantiles.dtype == np.float32:
        return small
    with np.errstate(over="ignore"):
        same: NDArray[np.bool_] = (quantiles.astype(np.float32) == quantiles).all(axis=-1)
    found: NDArray[np.bool_] = (same | np.isnan(low)) & small
    return found


def printable(quantiles: NDArray[np.floating]) -> list[Any]:
    """What `orjson` writes as quantiles, for each of several forecasts; nan is written as null.

    Args:
        quantiles: (n, steps, levels), not falling over the levels.

    Returns:
        (steps, levels) each: an array, or a list of rows. The text of a row does not depend on the others.
    """
    fits = narrow(quantiles)
    with np.errstate(over="ignore"):
        short = np.ascontiguousarray(quantiles, np.float32)
    found: list[Any] = list(short)
    others = np.flatnonzero(~fits.all(axis=1))
    if not len(others):
        return found
    wide = np.asarray(quantiles[others], np.float64)
    exact = (short[others] == wide).all(axis=2, keepdims=True)
    rounded = np.where(exact, wide, _rounded(wide.reshape(-1, wide.shape[2])).reshape(wide.shape))
    for i, at in enumerate(others.tolist()):
        plain = fits[at] | _read_back(short[at], wide[i])
        rows = zip(plain.tolist(), short[at], rounded[i], strict=True)
        found[at] = [one if is_plain else other for is_plain, one, other in rows] if plain.any() else rounded[i]
    return found


def plain(quantiles: NDArray[np.floating]) -> list[Any]:
    """The same as lists of numbers and None, for a table of quantiles (steps, levels)."""
    found: list[Any] = orjson.loads(orjson.dumps(printable(quantiles[None])[0], option=orjson.OPT_SERIALIZE_NUMPY))
    return found


def _read_back(short: NDArray[np.float32], wide: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows whose shortest float32 digits say every number: a limit such as 0.1 among float32 numbers."""
    near = np.maximum(-wide[:, 0], wide[:, -1]) < EXACT
    if not near.any():
        return near
    said = np.array(orjson.loads(orjson.dumps(short, option=orjson.OPT_SERIALIZE_NUMPY)), np.float64)
    found: NDArray[np.bool_] = near & ((short == wide) | (said == wide)).all(axis=1)
    return found


def _rounded(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows on their decimal grids; a row without a width, and what has too many digits for its grid, stays as it is."""
    with np.errstate(over="ignore", invalid="ignore"):
        width = rows[:, -1] - rows[:, 0]
    index = np.searchsorted(_POWERS, GRID * width, side="right") - 1
    power = np.clip(index, 0, None)
    fine = power < -_LEAST
    scale = _POWERS[np.where(fine, -2 * _LEAST - power, power)][:, None]  # 10**-power or 10**power: never a fraction
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.rint(np.where(fine[:, None], rows * scale, rows / scale))
        rounded = np.where(fine[:, None], counts / scale, counts * scale) + 0.0  # no -0.0
    usable = (index >= 0)[:, None] & (np.abs(counts) < _WHOLE)
    return np.where(usable, rounded, rows)
