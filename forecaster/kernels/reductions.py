"""Sums in one fixed order, split into several independent ones, as each addition has a latency of a few cycles."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecaster.kernels.jit import inlined
from forecaster.kernels.simd import load, reduce_sum, splat, store, wide


@inlined
def column_sum(acc: Any, acc_at: int, x: Any, x_at: int, x_row: int, rows: int) -> None:
    """Adds the sum of rows of sixteen lanes to sixteen lanes: the gradient of a bias.

    Args:
        acc, acc_at: acc[acc_at:acc_at+16] is added to.
        x, x_at, x_row, rows: row r is x[x_at + r*x_row:][:16]. Every fourth row is in one of four sums, the remaining
            rows in the first; they are combined as (0 + 1) + (2 + 3).
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
    """Returns the sum of the squares of all numbers of x (n,), in float64; nan and inf stay.

    Sixteen sums, each of every sixteenth number, are combined in the order of `reduce_sum`; remaining numbers follow.
    """
    whole = x.shape[0] - x.shape[0] % 16
    sums = wide(splat(x, 0.0))
    for i in range(0, whole, 16):
        value = wide(load(x, i))
        sums = sums + value * value
    result = reduce_sum(sums)
    for i in range(whole, x.shape[0]):
        result += np.float64(x[i]) * np.float64(x[i])
    return result
