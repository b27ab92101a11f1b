"""Formats quantiles as JSON numbers with as few digits as their precision needs.

Quantiles of most series are float32 values and are written with the shortest digits that identify them: 0.1 and not
0.10000000149011612. From 2**24 on these digits are less exact than the value, and all its digits are written. The
quantiles of a series with a large level and small changes are float64 values that float32 cannot represent. They are
rounded to a decimal grid of at most `GRID` of the width of their row, so that the text is short and exact relative to
the changes of the series.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

GRID: Final = 1e-7
EXACT: Final = 2.0**24
"""Integers below are float32 values, and their shortest float32 digits are all their digits."""

_LEAST: Final = -300
_POWERS: Final = np.array([float(f"1e{power}") for power in range(_LEAST, 301)])
_WHOLE: Final = 2.0**53  # larger products are not exact integers


def narrow(quantiles: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Returns which rows are below `EXACT` with float32 values only, or all nan.

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
    """Returns quantiles that `orjson` serialises, for each of several forecasts; nan becomes null.

    Args:
        quantiles: (n, steps, levels), not falling over the levels.

    Returns:
        (steps, levels) per forecast: an array, or a list of rows. The text of a row does not depend on the others.
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


def exact_in_float32(quantiles: NDArray[np.floating]) -> list[bool]:
    """Returns for each of several forecasts whether float32 has all its quantiles exactly, or they are nan.

    Args:
        quantiles: (n, steps, levels).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        same = (quantiles.astype(np.float32) == quantiles) | np.isnan(quantiles)
    found: list[bool] = same.all(axis=(1, 2)).tolist()
    return found


def plain(quantiles: NDArray[np.floating]) -> list[Any]:
    """Returns the same as lists of numbers and None, for a table of quantiles (steps, levels)."""
    found: list[Any] = orjson.loads(orjson.dumps(printable(quantiles[None])[0], option=orjson.OPT_SERIALIZE_NUMPY))
    return found


def _read_back(short: NDArray[np.float32], wide: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns the rows whose shortest float32 digits are exact, e.g. a bound such as 0.1 among float32 values.

    Those of a float32 value may be less exact than the grid of the row.
    """
    near = np.maximum(-wide[:, 0], wide[:, -1]) < EXACT
    if not near.any():
        return near
    parsed = np.array(orjson.loads(orjson.dumps(short, option=orjson.OPT_SERIALIZE_NUMPY)), np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        fine = np.abs(parsed - wide) <= GRID * (wide[:, -1:] - wide[:, :1])
    found: NDArray[np.bool_] = near & (((short == wide) & fine) | (parsed == wide)).all(axis=1)
    return found


def _rounded(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounds rows to their decimal grids.

    A row without a width, and values with too many digits for the grid, stay unchanged.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        width = rows[:, -1] - rows[:, 0]
    index = np.searchsorted(_POWERS, GRID * width, side="right") - 1
    power = np.clip(index, 0, None)
    fine = power < -_LEAST
    scale = _POWERS[np.where(fine, -2 * _LEAST - power, power)][:, None]  # 10**-power or 10**power, never a fraction
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.rint(np.where(fine[:, None], rows * scale, rows / scale))
        rounded = np.where(fine[:, None], counts / scale, counts * scale) + 0.0  # no -0.0
    usable = (index >= 0)[:, None] & (np.abs(counts) < _WHOLE)
    return np.where(usable, rounded, rows)
