"""Sums in one fixed order, made of several that do not wait for each other: each addition takes a few clocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecaster._jit import inlined
from forecaster._simd import load, splat, store


@inlined
def column_sum(acc: Any, acc_at: int, x: Any, x_at: int, x_row: int, rows: int) -> None:
    """Adds the sum of rows of sixteen lanes to sixteen lanes: the gradient of a bias.

    Args:
        acc, acc_at: acc[acc_at:acc_at+16] is added to.
        x, x_at, x_row, rows: row r is x[x_at + r*x_row:][:16]. Every fourth row is in one of four sums, what is left
            over in the first; they are put together as (0 + 1) + (2 + 3).
    """
    a, b, c, d = splat(acc, 0.0), splat(acc, 0.0), splat(acc, 0.0), splat(acc, 0.0)
    whole = rows - rows % 4
    for r in range(0, whole, 4):
        at = x_at + r * x_row
        a = a + load(x, at)
        b = b + load(x, at + x_row)
        c = c + load(x, at + 2 * x_row)
        d = d + load(x, at + 3 * x_row)
    for r in range(whole, rows):
        a = a + load(x, x_at + r * x_row)
    store(acc, acc_at, load(acc, acc_at) + ((a + b) + (c + d)))


@inlined
def sum_of_squares(x: Any) -> Any:
    """The sum of the squares of all numbers of x (n,), in float64, in the order of `column_sum`; nan and inf stay."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = x.shape[0] - x.shape[0] % 4
    for i in range(0, whole, 4):
        a += np.float64(x[i]) * np.float64(x[i])
        b += np.float64(x[i + 1]) * np.float64(x[i + 1])
        c += np.float64(x[i + 2]) * np.float64(x[i + 2])
        d += np.float64(x[i + 3]) * np.float64(x[i + 3])
    for i in range(whole, x.shape[0]):
        a += np.float64(x[i]) * np.float64(x[i])
    return (a + b) + (c + d)
