"""Layers without recurrence: dense products, layer normalisation. Rows are independent: the same bits in any batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from forecaster.kernels.jit import kernel, narrow_products
from forecaster.kernels.operands import Block, Rows, Strided
from forecaster.kernels.reductions import column_sum
from forecaster.kernels.simd import load, reduce_sum, splat, store
from forecaster.sequences.narrow_head import MAX_NARROW, narrow_backward, narrow_forward, transpose_columns

NORM_EPSILON = 1e-5
PIECE = 128  # rows at a time, which stay in the cache between the passes over them


class DenseLayout(NamedTuple):
    """Sizes of a product with a bias, and offsets of its weights in the parameters and their gradient.

    Attributes:
        w: offset of the weights (n_in, n_out). b: offset of the biases (n_out,).
        n_in, n_out: multiples of 16. used: number of output columns without padding.
    """

    w: int
    b: int
    n_in: int
    n_out: int
    used: int


@kernel
def _dense(layout: Any, P: Any, X: Any, x_row: int, Y: Any, T: Any, rows: int) -> None:
    size = DenseLayout(*layout)
    w, b, n_in, n_out, used = size.w, size.b, size.n_in, size.n_out, size.used
    if used <= MAX_NARROW:
        transpose_columns(P, w, n_in, n_out, used, T)
        narrow_forward(rows, used, n_in, T, Block(P, b), Rows(X, 0, x_row), Rows(Y, 0, n_out))
        return
    for first in range(0, rows, PIECE):
        count = min(PIECE, rows - first)
        for v in range(0, n_out, 16):
            for r in range(first, first + count):
                store(Y, r * n_out + v, load(P, b + v))
            narrow_products(count, 1, Rows(Y, first * n_out + v, n_out), Strided(X, first * x_row, x_row, 1),
                            Rows(P, w + v, n_out), n_in)  # fmt: skip


@kernel
def _dense_backward(
    layout: Any, D: Any, P: Any, X: Any, x_row: int, dY: Any, dX: Any, T: Any, DT: Any, rows: int
) -> None:
    size = DenseLayout(*layout)
    w, b, n_in, n_out, used = size.w, size.b, size.n_in, size.n_out, size.used
    transpose_columns(P, w, n_in, n_out, used, T)
    DT[:] = 0.0
    pairs_end = n_in - n_in % 32
    for first in range(0, rows, PIECE):
        count, x, dx, dy = min(PIECE, rows - first), first * x_row, first * n_in, first * n_out
        for v in range(dx, dx + count * n_in, 16):
            store(dX, v, splat(dX, 0.0))
        if used <= MAX_NARROW:
            narrow_backward(count, used, n_in, T, Rows(X, x, x_row), Rows(dY, dy, n_out), dX, dx, DT)
        else:
            down, across = Strided(dY, dy, n_out, 1), Strided(dY, dy, 1, n_out)
            for v in range(0, pairs_end, 32):
                narrow_products(count, 2, Rows(dX, dx + v, n_in), down, Rows(T, v, n_in), used)
                narrow_products(used, 2, Rows(DT, v, n_in), across, Rows(X, x + v, x_row), count)
            for v in range(pairs_end, n_in, 16):
                narrow_products(count, 1, Rows(dX, dx + v, n_in), down, Rows(T, v, n_in), used)
                narrow_products(used, 1, Rows(DT, v, n_in), across, Rows(X, x + v, x_row), count)
        for v in range(0, n_out, 16):
            column_sum(D, b + v, dY, dy + v, n_out, count)
    for j in range(used):
        for k in range(n_in):
            D[w + k * n_out + j] += DT[j * n_in + k]


def _flat(x: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Returns the rows of x as one flat array, and their distance in it; a view if they are evenly spaced."""
    (rows, n), item = x.shape, x.itemsize
    if x.flags.c_contiguous or x.strides[1] != item or x.strides[0] % item:
        return np.ascontiguousarray(x).reshape(-1), n
    row = x.strides[0] // item
    return as_strided(x, ((rows - 1) * row + n,), (item,), writeable=False), row


def dense(
    params: NDArray[Any], w: int, b: int, n_out: int, used: int, x: NDArray[Any], y: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Computes Y = X W + b for X (rows, n_in), W (n_in, n_out) at `w` and b (n_out) at `b` of `params`.

    Widths are multiples of 16. The first `used` columns of Y are valid; the rest is padding. `y`, contiguous, is
    overwritten and returned, if given.
    """
    rows, n_in = x.shape
    y = np.zeros((rows, n_out), x.dtype) if y is None else y
    transposed = np.empty(min(used, MAX_NARROW) * n_in, x.dtype)
    _dense((w, b, n_in, n_out, used), params, *_flat(x), y.reshape(-1), transposed, rows)
    return y


def dense_backward(
    params: NDArray[Any], gradient: NDArray[Any], w: int, b: int, used: int, x: NDArray[Any], dy: NDArray[Any],
    dx: NDArray[Any] | None = None,
) -> NDArray[Any]:  # fmt: skip
    """Returns the gradient of X; those of W and b are added to `gradient`, at the same offsets.

    The first `used` columns of `dy` are read; the rest is padding, and zero. `dx`, contiguous, is overwritten and
    returned, if given.
    """
    (rows, n_in), n_out = x.shape, dy.shape[1]
    dx = np.empty((rows, n_in), x.dtype) if dx is None else dx
    transposed, dtransposed = np.empty((2, used * n_in), x.dtype)
    _dense_backward((w, b, n_in, n_out, used), gradient, params, *_flat(x), np.ascontiguousarray(dy).reshape(-1),
                    dx.reshape(-1), transposed, dtransposed, rows)  # fmt: skip
    return dx


@kernel
def _normalise(P: Any, gain: int, shift: int, n: int, X: Any, Z: Any, inverse: Any, Y: Any, rows: int) -> None:
    for r in range(rows):
        at = r * n
        mean = splat(X, 0.0)
        for v in range(0, n, 16):
            mean = mean + load(X, at + v)
        center = reduce_sum(mean) / n
        square = splat(X, 0.0)
        for v in range(0, n, 16):
            d = load(X, at + v) - splat(X, center)
            square = square + d * d
        inverse[r] = 1.0 / np.sqrt(reduce_sum(square) / n + NORM_EPSILON)
        for v in range(0, n, 16):
            z = (load(X, at + v) - splat(X, center)) * splat(X, inverse[r])
            store(Z, at + v, z)
            store(Y, at + v, z * load(P, gain + v) + load(P, shift + v))


@kernel
def _normalise_backward(
    P: Any, D: Any, gain: int, shift: int, n: int, Z: Any, inverse: Any, dY: Any, dX: Any, rows: int
) -> None:
    for r in range(rows):
        at = r * n
        plain, along = splat(Z, 0.0), splat(Z, 0.0)
        for v in range(0, n, 16):
            dy, z = load(dY, at + v), load(Z, at + v)
            store(D, gain + v, load(D, gain + v) + dy * z)
            store(D, shift + v, load(D, shift + v) + dy)
            dz = dy * load(P, gain + v)
            plain = plain + dz
            along = along + dz * z
        mean, slope = reduce_sum(plain) / n, reduce_sum(along) / n
        for v in range(0, n, 16):
            dz = load(dY, at + v) * load(P, gain + v)
            dz = dz - splat(Z, mean) - load(Z, at + v) * splat(Z, slope)
            store(dX, at + v, dz * splat(Z, inverse[r]))


def normalise(
    params: NDArray[Any], at: list[int], x: NDArray[Any]
) -> tuple[NDArray[Any], tuple[NDArray[Any], NDArray[Any]]]:
    """Normalises a layer (Ba et al. 2016): y = gain (x - mean) / sqrt(var + 1e-5) + shift over the last axis.

    Args:
        params: with gain and shift. at: their offsets.
        x: (..., n) with n a multiple of 16.

    Returns:
        y, and the intermediate results for `normalise_backward`.
    """
    x = np.ascontiguousarray(x)
    n, z, y = x.shape[-1], np.empty_like(x), np.empty_like(x)
    inverse = np.empty(x.size // n, x.dtype)
    _normalise(params, at[0], at[1], n, x.reshape(-1), z.reshape(-1), inverse, y.reshape(-1), x.size // n)
    return y, (z, inverse)


def normalise_backward(
    params: NDArray[Any], gradient: NDArray[Any], at: list[int],
    kept: tuple[NDArray[Any], NDArray[Any]], dy: NDArray[Any],
) -> NDArray[Any]:  # fmt: skip
    """Returns the gradient of x; those of gain and shift are added to `gradient`."""
    (z, inverse), dy = kept, np.ascontiguousarray(dy)
    dx = np.empty_like(dy)
    _normalise_backward(params, gradient, at[0], at[1], z.shape[-1], z.reshape(-1), inverse, dy.reshape(-1),
                        dx.reshape(-1), inverse.size)  # fmt: skip
    return dx
