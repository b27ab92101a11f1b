"""One recurrent layer of any cell: a step forward for a tile of events, the same step backward, its weight gradients.

All buffers are 1-D and contiguous, of one float type, and passed by the caller. The slab row of an event is
`[h (H) | c (H, LSTM only) | x (n_in)]`. A step writes the new hidden state to a separate buffer, as other blocks still
need the old one.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from forecaster.kernels.jit import TILE, inlined, narrow_products, products
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.reductions import column_sum
from forecaster.kernels.simd import load, store
from forecaster.kernels.sizes import literals
from forecaster.network import elman, gru, lstm
from forecaster.network.elman import elman_gates, elman_gates_backward
from forecaster.network.gru import gru_gates, gru_gates_backward
from forecaster.network.lstm import lstm_gates, lstm_gates_backward

ELMAN, GRU, LSTM, NONE = 0, 1, 2, 3
CODES = {"elman": ELMAN, "gru": GRU, "lstm": LSTM, "none": NONE}
DEPTH = 64  # rows of a weight gradient's product at a time
GROUP_ROWS = 128  # rows of the backward pass whose weight gradients are summed at once: they are still cached
CELLS = {"elman": elman, "gru": gru, "lstm": lstm}


@literals
class Gates(NamedTuple):
    """The constants of a cell, literals of a kernel.

    Attributes:
        cell: ELMAN, GRU, LSTM or NONE.
        strip: sixteen-lane vectors of activations per block of 16 units.
        h_first, h_vectors: vectors of the strip that the product with h adds to.
        x_first, x_vectors: the same for x.
        states: vectors of state per unit, 1, or 2 for the LSTM.
    """

    cell: int
    strip: int
    h_first: int
    h_vectors: int
    x_first: int
    x_vectors: int
    states: int


def gates_of(cell: str) -> Gates:
    """Returns the constants of "elman", "gru" or "lstm"; placeholders for "none", whose kernels have no layer."""
    c: ModuleType | None = CELLS.get(cell)
    if c is None:
        return Gates(CODES[cell], 1, 0, 1, 0, 1, 1)
    return Gates(CODES[cell], c.STRIP, c.H_FIRST, c.H_VECTORS, c.X_FIRST, c.X_VECTORS, c.STATES)


class LayerWeights(NamedTuple):
    """The packed weights of a layer, or their gradients.

    Attributes:
        array: (n,) parameters or gradients; only functions that say so overwrite them.
        wh: start of the recurrent weights (NB, H, 16 * h_vectors), for NB = H/16 blocks.
        wx: start of the input weights (NB, n_in, 16 * x_vectors).
        bias: start of the bias (NB, 16 * strip).
    """

    array: Any
    wh: int
    wx: int
    bias: int


class Slab(NamedTuple):
    """States and inputs, a row per event or stream.

    Attributes:
        array: (n,) floats; row r starts at array[at + r*row].
        at: start of row 0.
        row: distance of two rows.
        x: offset of the inputs in a row.
    """

    array: Any
    at: int
    row: int
    x: int


class Strips(NamedTuple):
    """Activations, or gradients of the pre-activations: row r, block b starts at array[at + r*row + b*block].

    Attributes:
        array: (n,) floats.
        at: start of row 0 of block 0.
        row: distance of two rows of a block.
        block: distance of two blocks; 0 where the activations are not needed afterwards.
    """

    array: Any
    at: int
    row: int
    block: int


@inlined
def layer_step(gates: Gates, rows: int, H: int, n_in: int, weights: Any, slab: Any, strips: Any, new: Any) -> None:
    """Computes a step of `rows` events of different series; the cell's file has the equations.

    Args:
        gates: literals.
        rows: number of events, any.
        H, n_in: units and inputs of the layer.
        weights: `LayerWeights`.
        slab: `Slab` of the events. For the LSTM the cell state in it is overwritten by the new one.
        strips: `Strips`, overwritten by the activations.
        new: `Rows` (rows, H), overwritten by the new hidden states.
    """
    P, wh, wx, bias = weights.array, weights.wh, weights.wx, weights.bias
    S, s, s_row, x = slab.array, slab.at, slab.row, slab.x
    A, a_row = strips.array, strips.row
    N, n, n_row = new.array, new.at, new.row
    strip, h_first, h_vectors, x_first, x_vectors = (
        gates.strip, gates.h_first, gates.h_vectors, gates.x_first, gates.x_vectors,
    )  # fmt: skip
    for b in range(H // 16):
        at = strips.at + b * strips.block
        for r in range(rows):
            for v in range(strip):
                store(A, at + r * a_row + v * 16, load(P, bias + (b * strip + v) * 16))
        _panel(rows, gates.h_vectors, Rows(A, at + h_first * 16, a_row), Strided(S, s, s_row, 1),
               Rows(P, wh + b * H * h_vectors * 16, h_vectors * 16), H)  # fmt: skip
        _panel(rows, gates.x_vectors, Rows(A, at + x_first * 16, a_row), Strided(S, s + x, s_row, 1),
               Rows(P, wx + b * n_in * x_vectors * 16, x_vectors * 16), n_in)  # fmt: skip
        for r in range(rows):
            strip_at, row_at, new_at = at + r * a_row, s + r * s_row, n + r * n_row + b * 16
            if gates.cell == GRU:
                gru_gates(A, strip_at, S, row_at + b * 16, N, new_at)
            elif gates.cell == LSTM:
                lstm_gates(A, strip_at, S, row_at + H + b * 16, N, new_at)
            else:
                elman_gates(A, strip_at, N, new_at)


@inlined
def layer_step_backward(
    gates: Gates, rows: int, H: int, transposed: Any, slab: Any, strips: Any, G: Any, g: int, C: Any
) -> None:
    """Computes the recurrent part of one step backward for `rows` streams: from the new hidden state to the old one.

    Args:
        gates, rows, H: as in `layer_step`.
        transposed: `Block` of the transposed recurrent weights (NB * 16*h_vectors, H).
        slab: `Slab` of this step, with the state before it (not written).
        strips: `Strips`, activations of this step, overwritten by the gradients of the pre-activations.
        G, g: gradient of the new hidden state (rows, H), starting at G[g], overwritten by that of the old one.
        C: gradient of the new cell state, like G, overwritten by that of the old one (LSTM only).
    """
    A, a_row = strips.array, strips.row
    S, T, h_vectors = slab.array, transposed.array, gates.h_vectors
    for b in range(H // 16):
        for r in range(rows):
            strip_at, unit = strips.at + r * a_row + b * strips.block, g + r * H + b * 16
            if gates.cell == GRU:
                gru_gates_backward(A, strip_at, S, slab.at + r * slab.row + b * 16, G, unit)
            elif gates.cell == LSTM:
                lstm_gates_backward(A, strip_at, G, unit, C, unit)
            else:
                elman_gates_backward(A, strip_at, G, unit)
    for b in range(H // 16):
        _through(rows, gates.h_vectors, H, Rows(G, g, H),
                 Strided(A, strips.at + b * strips.block + gates.h_first * 16, a_row, 1),
                 T, transposed.at + b * h_vectors * 16 * H)  # fmt: skip


@inlined
def layer_inputs_backward(
    gates: Gates, rows: int, H: int, n_in: int, transposed: Any, strips: Any, X: Any, x: int
) -> None:
    """Computes the gradient of the inputs of `rows` rows, of any number of steps, as it has no recurrent part.

    Args:
        gates, rows, H, n_in: as in `layer_step`; n_in a multiple of 16.
        transposed: `Block` of the transposed input weights (NB * 16*x_vectors, n_in).
        strips: `Strips`, gradients of the pre-activations.
        X, x: gradient of the inputs (rows, n_in), starting at X[x], added to.
    """
    A, T, x_vectors = strips.array, transposed.array, gates.x_vectors
    for b in range(H // 16):
        _through(rows, gates.x_vectors, n_in, Rows(X, x, n_in),
                 Strided(A, strips.at + b * strips.block + gates.x_first * 16, strips.row, 1),
                 T, transposed.at + b * x_vectors * 16 * n_in)  # fmt: skip


@inlined
def layer_weight_gradients(
    gates: Gates, H: int, n_in: int, n_x: int, gradient: Any, slab: Any, strips: Any, depth: int
) -> None:
    """Adds the weight gradients of `depth` rows (steps and streams) as tall products.

    Args:
        gates, H, n_in: as in `layer_step`.
        n_x: the first n_x of the n_in inputs have a gradient; the rest is padding.
        gradient: `LayerWeights`, added to.
        slab: `Slab`, consecutive rows.
        strips: `Strips`, gradients of the pre-activations, consecutive rows.
        depth: number of rows.
    """
    D, wh, wx, bias = gradient.array, gradient.wh, gradient.wx, gradient.bias
    S, s_row, x = slab.array, slab.row, slab.x
    A, a_row = strips.array, strips.row
    strip, h_vectors, x_vectors = gates.strip, gates.h_vectors, gates.x_vectors
    for first in range(0, depth, DEPTH):  # the rows of a piece stay in the cache; each sum is the same chain
        count = min(DEPTH, depth - first)
        s_at, a_at = slab.at + first * s_row, strips.at + first * a_row
        for b in range(H // 16):
            strip_at = a_at + b * strips.block
            _outer(gates.h_vectors, H, D, wh + b * H * h_vectors * 16, Rows(S, s_at, s_row),
                   Rows(A, strip_at + gates.h_first * 16, a_row), count)  # fmt: skip
            _outer(gates.x_vectors, n_x, D, wx + b * n_in * x_vectors * 16, Rows(S, s_at + x, s_row),
                   Rows(A, strip_at + gates.x_first * 16, a_row), count)  # fmt: skip
            for v in range(strip):
                column_sum(D, bias + (b * strip + v) * 16, A, strip_at + v * 16, a_row, count)


@inlined
def _panel(rows: int, vectors: int, acc: Any, x: Any, w: Any, depth: int) -> None:
    """Adds a product by `products`, or by `narrow_products` for the one gate of the Elman cell."""
    if vectors == 1:
        narrow_products(rows, vectors, acc, x, w, depth)
    else:
        products(rows, vectors, acc, x, w, depth)


@inlined
def _outer(vectors: int, n: int, D: Any, d: int, states: Any, strips: Any, depth: int) -> None:
    """Adds to D[d + k*16*vectors + j] the sum over rows i of states[i, k] * strips[i, j], k < n; both are `Rows`."""
    x = Strided(states.array, states.at, 1, states.row)
    _panel(n, vectors, Rows(D, d, vectors * 16), x, strips, depth)


@inlined
def _through(rows: int, vectors: int, n: int, out: Any, strips: Any, T: Any, w: int) -> None:
    """Adds to out[r, j] the sum over k < 16*vectors of strips[r, k] * T[w + k*n + j], for j < n, n % 16 = 0.

    The panels have three vectors or two (one only where n is 16): with one, multiply-adds wait for earlier ones. Where
    four divide n, they have four, whose sums fit into the registers of AVX-512.
    """
    Y, y, y_row = out.array, out.at, out.row
    depth, wide = vectors * 16, n // 16
    if TILE == 4 and wide % 4 == 0:
        for v in range(0, wide, 4):
            products(rows, 4, Rows(Y, y + v * 16, y_row), strips, Rows(T, w + v * 16, n), depth)
        return
    threes = wide // 3 * 3 if wide % 3 != 1 else max(0, wide // 3 - 1) * 3
    twos = threes + (wide - threes) // 2 * 2
    for v in range(0, threes, 3):
        products(rows, 3, Rows(Y, y + v * 16, y_row), strips, Rows(T, w + v * 16, n), depth)
    for v in range(threes, twos, 2):
        narrow_products(rows, 2, Rows(Y, y + v * 16, y_row), strips, Rows(T, w + v * 16, n), depth)
    for v in range(twos, wide):
        narrow_products(rows, 1, Rows(Y, y + v * 16, y_row), strips, Rows(T, w + v * 16, n), depth)
