"""One recurrent layer of any cell: a step forward for a tile of events, the same step backward, its weight gradients.

All buffers are 1-D and contiguous, of one float type, and given by the caller; sizes are literals at compile time.
An event's slab row is `[h (H) | c (H, LSTM only) | x (n_in)]`. A step writes the new hidden state beside it, as
other blocks still need the old one.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.jit import TILE, inlined, narrow_products, products
from forecaster.kernels.reductions import column_sum
from forecaster.kernels.simd import load, store
from forecaster.network import elman, gru, lstm
from forecaster.network.elman import elman_gates, elman_gates_backward
from forecaster.network.gru import gru_gates, gru_gates_backward
from forecaster.network.lstm import lstm_gates, lstm_gates_backward

ELMAN, GRU, LSTM, NONE = 0, 1, 2, 3
CODES = {"elman": ELMAN, "gru": GRU, "lstm": LSTM, "none": NONE}
DEPTH = 64  # rows of a weight gradient's product at a time
GROUP_ROWS = 128  # rows that are gone through backward before their weight gradients are summed: they are still near
CELLS = {"elman": elman, "gru": gru, "lstm": lstm}


@inlined
def layer_step(
    cell: int, rows: int, strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, H: int, n_in: int,
    P: Any, wh: int, wx: int, bias: int, S: Any, s: int, s_row: int, x: int,
    A: Any, a: int, a_row: int, a_block: int, N: Any, n: int, n_row: int,
) -> None:  # fmt: skip
    """A step of `rows` events of different series; equations in the cell's file.

    Args:
        rows: number of events, any.
        cell, strip, h_first, h_vectors, x_first, x_vectors: literals, see the constants of the cells.
        H, n_in: units and inputs of the layer.
        P: parameters; the packed weights start at wh, wx and bias.
        wh, wx, bias: offsets in P.
        S: slab rows from `s` on, `s_row` apart; x is at offset `x` of a row. For the LSTM the cell state in it is
            overwritten by the new one.
        s, s_row, x: offsets in S.
        A: strips, overwritten by the activations; row r, block b at a + r*a_row + b*a_block.
        a, a_row, a_block: offsets in A; a_block = 0 where nobody needs the activations afterwards.
        N: new hidden states, overwritten; row r at n + r*n_row.
        n, n_row: offsets in N.
    """
    for b in range(H // 16):
        at = a + b * a_block
        for r in range(rows):
            for v in range(strip):
                store(A, at + r * a_row + v * 16, load(P, bias + (b * strip + v) * 16))
        _panel(rows, h_vectors, A, at + h_first * 16, a_row, S, s, s_row, 1,
               P, wh + b * H * h_vectors * 16, h_vectors * 16, H)  # fmt: skip
        _panel(rows, x_vectors, A, at + x_first * 16, a_row, S, s + x, s_row, 1,
               P, wx + b * n_in * x_vectors * 16, x_vectors * 16, n_in)  # fmt: skip
        for r in range(rows):
            strip_at, row_at, new_at = at + r * a_row, s + r * s_row, n + r * n_row + b * 16
            if cell == GRU:
                gru_gates(A, strip_at, S, row_at + b * 16, N, new_at)
            elif cell == LSTM:
                lstm_gates(A, strip_at, S, row_at + H + b * 16, N, new_at)
            else:
                elman_gates(A, strip_at, N, new_at)


@inlined
def layer_step_backward(
    cell: int, rows: int, h_first: int, h_vectors: int, H: int, whT: Any, wh: int, S: Any, s: int, s_row: int,
    A: Any, a: int, a_row: int, a_block: int, G: Any, g: int, C: Any,
) -> None:  # fmt: skip
    """One step backward for `rows` streams, as far as it is recurrent: from the new hidden state to the old one.

    Args:
        cell, rows, h_first, h_vectors, H: as in `layer_step`.
        whT, wh: transposed recurrent weights (NB * 16*h_vectors, H) from `wh` on.
        S, s, s_row: the slab rows of this step, as they were before it (not written).
        A, a, a_row, a_block: activations of this step, overwritten by the gradients of the pre-activations.
        G, g: gradient of the new hidden state (rows, H) from g on, overwritten by that of the old one.
        C: gradient of the new cell state, like G, overwritten by that of the old one (LSTM only).
    """
    for b in range(H // 16):
        for r in range(rows):
            strip_at, unit = a + r * a_row + b * a_block, g + r * H + b * 16
            if cell == GRU:
                gru_gates_backward(A, strip_at, S, s + r * s_row + b * 16, G, unit)
            elif cell == LSTM:
                lstm_gates_backward(A, strip_at, G, unit, C, unit)
            else:
                elman_gates_backward(A, strip_at, G, unit)
    for b in range(H // 16):
        _through(rows, h_vectors, H, G, g, H, A, a + b * a_block + h_first * 16, a_row,
                 whT, wh + b * h_vectors * 16 * H)  # fmt: skip


@inlined
def layer_inputs_backward(
    rows: int, x_first: int, x_vectors: int, H: int, n_in: int, wxT: Any, wx: int,
    A: Any, a: int, a_row: int, a_block: int, X: Any, x: int,
) -> None:  # fmt: skip
    """The gradient of the inputs of `rows` rows, of as many steps as one likes: nothing recurrent is in it.

    Args:
        rows, x_first, x_vectors, H, n_in: as in `layer_step`; n_in a multiple of 16.
        wxT, wx: transposed input weights (NB * 16*x_vectors, n_in) from `wx` on.
        A, a, a_row, a_block: gradients of the pre-activations.
        X, x: gradient of the inputs (rows, n_in) from x on, added to.
    """
    for b in range(H // 16):
        _through(rows, x_vectors, n_in, X, x, n_in, A, a + b * a_block + x_first * 16, a_row,
                 wxT, wx + b * x_vectors * 16 * n_in)  # fmt: skip


@inlined
def layer_weight_gradients(
    strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, H: int, n_in: int, n_x: int,
    D: Any, wh: int, wx: int, bias: int, S: Any, s: int, s_row: int, x: int,
    A: Any, a: int, a_row: int, a_block: int, depth: int,
) -> None:  # fmt: skip
    """Adds the weight gradients of `depth` rows (steps and streams) as tall products.

    Args:
        strip, h_first, h_vectors, x_first, x_vectors, H, n_in: as in `layer_step`.
        n_x: the first n_x of the n_in inputs have a gradient; the rest is padding.
        D: gradients of all parameters, added to; offsets wh, wx, bias as in P.
        wh, wx, bias: offsets in D.
        S, s, s_row, x: slab rows, one behind the other.
        A, a, a_row, a_block: gradients of the pre-activations, one behind the other.
        depth: number of rows.
    """
    for first in range(0, depth, DEPTH):  # the rows of a piece stay near the core; each sum is the same chain
        count = min(DEPTH, depth - first)
        s_at, a_at = s + first * s_row, a + first * a_row
        for b in range(H // 16):
            strip_at = a_at + b * a_block
            _outer(h_vectors, H, D, wh + b * H * h_vectors * 16, S, s_at, s_row,
                   A, strip_at + h_first * 16, a_row, count)  # fmt: skip
            _outer(x_vectors, n_x, D, wx + b * n_in * x_vectors * 16, S, s_at + x, s_row,
                   A, strip_at + x_first * 16, a_row, count)  # fmt: skip
            for v in range(strip):
                column_sum(D, bias + (b * strip + v) * 16, A, strip_at + v * 16, a_row, count)


@inlined
def _panel(
    rows: int, vectors: int, acc: Any, acc_at: int, acc_row: int, x: Any, x_at: int, x_row: int, x_k: int,
    w: Any, w_at: int, w_k: int, depth: int,
) -> None:  # fmt: skip
    """`products`, or `narrow_products` for the one gate of the Elman cell."""
    if vectors == 1:
        narrow_products(rows, vectors, acc, acc_at, acc_row, x, x_at, x_row, x_k, w, w_at, w_k, depth)
    else:
        products(rows, vectors, acc, acc_at, acc_row, x, x_at, x_row, x_k, w, w_at, w_k, depth)


@inlined
def _outer(
    vectors: int, n: int, D: Any, d: int, S: Any, s: int, s_row: int, A: Any, a: int, a_row: int, depth: int
) -> None:
    """D[d + k*16*vectors + j] += sum over rows i of S[s + i*s_row + k] * A[a + i*a_row + j], for k < n."""
    _panel(n, vectors, D, d, vectors * 16, S, s, 1, s_row, A, a, a_row, depth)


@inlined
def _through(
    rows: int, vectors: int, n: int, Y: Any, y: int, y_row: int, A: Any, a: int, a_row: int, T: Any, w: int
) -> None:
    """Y[y + r*y_row + j] += sum over k < 16*vectors of A[a + r*a_row + k] * T[w + k*n + j], for j < n, n % 16 = 0.

    In panels of three vectors and two (one only where n is 16): with one, multiply-adds wait for those before them.
    Where four fit, of four, whose sums the registers of AVX-512 hold.
    """
    depth, wide = vectors * 16, n // 16
    if TILE == 4 and wide % 4 == 0:
        for v in range(0, wide, 4):
            products(rows, 4, Y, y + v * 16, y_row, A, a, a_row, 1, T, w + v * 16, n, depth)
        return
    threes = wide // 3 * 3 if wide % 3 != 1 else max(0, wide // 3 - 1) * 3
    twos = threes + (wide - threes) // 2 * 2
    for v in range(0, threes, 3):
        products(rows, 3, Y, y + v * 16, y_row, A, a, a_row, 1, T, w + v * 16, n, depth)
    for v in range(threes, twos, 2):
        narrow_products(rows, 2, Y, y + v * 16, y_row, A, a, a_row, 1, T, w + v * 16, n, depth)
    for v in range(twos, wide):
        narrow_products(rows, 1, Y, y + v * 16, y_row, A, a, a_row, 1, T, w + v * 16, n, depth)
