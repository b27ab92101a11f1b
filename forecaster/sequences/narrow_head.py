"""A linear head of few outputs: sums over the lanes of a row, as sixteen output columns would be mostly padding.

    y = O' u + b        for rows u of n_in numbers (a multiple of 16), O (n_in, 16) with `used` valid columns

O is transposed first, to (used, n_in).
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.jit import inlined, product
from forecaster.kernels.operands import Block, Rows, Strided
from forecaster.kernels.simd import fma, load, reduce_sum, splat, store

MAX_NARROW = 4  # number of outputs up to which this is faster


@inlined
def transpose_columns(P: Any, w: int, n_in: int, n_out: int, used: int, T: Any) -> None:
    """Overwrites T (used, n_in) with the first `used` columns of the weights (n_in, n_out) at P[w], transposed."""
    for j in range(used):
        for k in range(n_in):
            T[j * n_in + k] = P[w + k * n_out + j]


@inlined
def narrow_forward(rows: int, used: int, n_in: int, T: Any, bias: Block, X: Rows, Y: Rows) -> None:
    """Computes the outputs of `rows` rows.

    Args:
        T: (used, n_in) weights, transposed.
        bias: (used,).
        X: (rows, n_in).
        Y: (rows, used), overwritten.
    """
    for r in range(rows):
        at = X.at + r * X.row
        for j in range(used):
            sums = load(X.array, at) * load(T, j * n_in)
            for v in range(16, n_in, 16):
                sums = fma(load(X.array, at + v), load(T, j * n_in + v), sums)
            Y.array[Y.at + r * Y.row + j] = bias.array[bias.at + j] + reduce_sum(sums)


@inlined
def narrow_backward(rows: int, used: int, n_in: int, T: Any, X: Rows, dY: Rows, dX: Any, dx: int, DT: Any) -> None:
    """Computes the gradients of `narrow_forward`, except that of the biases.

    Args:
        rows, used, n_in, T, X: as for `narrow_forward`.
        dY: (rows, used) gradient of the outputs.
        dX, dx: gradient of the rows, (rows, n_in) from offset dx on, added to.
        DT: (used, n_in) gradient of the transposed weights, added to.
    """
    for r in range(rows):
        for v in range(0, n_in, 16):
            d = splat(dX, 0.0)
            for j in range(used):
                d = fma(load(T, j * n_in + v), splat(dX, dY.array[dY.at + r * dY.row + j]), d)
            store(dX, dx + r * n_in + v, load(dX, dx + r * n_in + v) + d)
    blocks_end = n_in - n_in % 64
    for j in range(used):
        outputs = Strided(dY.array, dY.at + j, 1, dY.row)
        for v in range(0, blocks_end, 64):
            product(1, 4, Rows(DT, j * n_in + v, n_in), outputs, Rows(X.array, X.at + v, X.row), rows)
        for v in range(blocks_end, n_in, 16):
            product(1, 1, Rows(DT, j * n_in + v, n_in), outputs, Rows(X.array, X.at + v, X.row), rows)
