"""One recurrent layer of any cell: a step forward for a tile of events, the same step backward, its weight gradients.

All buffers are 1-D and contiguous, of one float type, and given by the caller; sizes are literals at compile time.
An event's slab row is `[h (H) | c (H, LSTM only) | x (n_in)]`. A step writes the new hidden state beside it, as
other blocks still need the old one.
"""

from __future__ import annotations

from typing import Any

from forecaster._jit import inlined, products
from forecaster._simd import load, splat, store
from forecaster.cells import elman, gru, lstm
from forecaster.cells.elman import elman_gates, elman_gates_backward
from forecaster.cells.gru import gru_gates, gru_gates_backward
from forecaster.cells.lstm import lstm_gates, lstm_gates_backward

ELMAN, GRU, LSTM, NONE = 0, 1, 2, 3
CODES = {"elman": ELMAN, "gru": GRU, "lstm": LSTM, "none": NONE}
DEPTH = 64  # rows of a weight gradient's product at a time
CELLS = {"elman": elman, "gru": gru, "lstm": lstm}


@inlined
def layer_step(
    cell: int, rows: int, strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, H: int, n_in: int,
    P: Any, wh: int, wx: int, bias: int, S: Any, s: int, s_row: int, x: int,
    A: Any, a: int, a_row: int, a_block: int, N: Any, n: int, n_row: int,
) -> None:  # fmt: skip
    """A step of `rows` events of different series; equations in the cell's file.

    Args:
        rows: number of events, a literal in the live path.
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
        products(rows, h_vectors, A, at + h_first * 16, a_row, S, s, s_row, 1,
                P, wh + b * H * h_vectors * 16, h_vectors * 16, H)  # fmt: skip
        products(rows, x_vectors, A, at + x_first * 16, a_row, S, s + x, s_row, 1,
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
    cell: int, rows: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, H: int, n_in: int,
    whT: Any, wh: int, wxT: Any, wx: int, S: Any, s: int, s_row: int,
    A: Any, a: int, a_row: int, a_block: int, G: Any, g: int, C: Any, X: Any, x: int, x_row: int, with_x: int,
) -> None:  # fmt: skip
    """One step backward for `rows` streams.

    Args:
        cell, rows, h_first, h_vectors, x_first, x_vectors, H, n_in: as in `layer_step`.
        whT, wh: transposed recurrent weights (NB * 16*h_vectors, H) from `wh` on.
        wxT, wx: transposed input weights (NB * 16*x_vectors, n_in) from `wx` on; used where with_x is 1.
        S, s, s_row: the slab rows of this step, as they were before it (not written).
        A, a, a_row, a_block: activations of this step, overwritten by the gradients of the pre-activations.
        G, g: gradient of the new hidden state (rows, H) from g on, overwritten by that of the old one.
        C: gradient of the new cell state, like G, overwritten by that of the old one (LSTM only).
        X, x, x_row: gradient of the input (n_in a multiple of 16), added to; where with_x is 1.
        with_x: 0 or 1.
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
        at = a + b * a_block
        # As many vectors at a time as there are: with one, each multiply-add would wait for the one before it.
        w = wh + b * h_vectors * 16 * H
        four = H - H % 64
        for v in range(0, four, 64):
            products(rows, 4, G, g + v, H, A, at + h_first * 16, a_row, 1, whT, w + v, H, h_vectors * 16)
        two = H - H % 32
        for v in range(four, two, 32):
            products(rows, 2, G, g + v, H, A, at + h_first * 16, a_row, 1, whT, w + v, H, h_vectors * 16)
        for v in range(two, H, 16):
            products(rows, 1, G, g + v, H, A, at + h_first * 16, a_row, 1, whT, w + v, H, h_vectors * 16)
        if with_x == 1:
            for v in range(n_in // 16):
                products(rows, 1, X, x + v * 16, x_row, A, at + x_first * 16, a_row, 1,
                        wxT, wx + b * x_vectors * 16 * n_in + v * 16, n_in, x_vectors * 16)  # fmt: skip


@inlined
def layer_weight_gradients(
    strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, H: int, n_in: int,
    D: Any, wh: int, wx: int, bias: int, S: Any, s: int, s_row: int, x: int, A: Any, a: int, a_row: int, depth: int,
) -> None:  # fmt: skip
    """Adds the weight gradients of `depth` rows (all steps and streams of a chunk) as tall products.

    Args:
        strip, h_first, h_vectors, x_first, x_vectors, H, n_in: as in `layer_step`.
        D: gradients of all parameters, added to; offsets wh, wx, bias as in P.
        wh, wx, bias: offsets in D.
        S, s, s_row, x: slab rows, one behind the other.
        A, a, a_row: gradients of the pre-activations, blocks side by side in a row.
        depth: number of rows.
    """
    for first in range(0, depth, DEPTH):  # the rows of a piece stay near the core; each sum is the same chain
        count = min(DEPTH, depth - first)
        s_at, a_at = s + first * s_row, a + first * a_row
        for b in range(H // 16):
            strip_at = a_at + b * strip * 16
            _outer(h_vectors, H, D, wh + b * H * h_vectors * 16, S, s_at, s_row,
                   A, strip_at + h_first * 16, a_row, count)  # fmt: skip
            _outer(x_vectors, n_in, D, wx + b * n_in * x_vectors * 16, S, s_at + x, s_row,
                   A, strip_at + x_first * 16, a_row, count)  # fmt: skip
    for b in range(H // 16):
        strip_at = a + b * strip * 16
        for v in range(strip):
            total = splat(D, 0.0)
            for i in range(depth):
                total = total + load(A, strip_at + v * 16 + i * a_row)
            at = bias + (b * strip + v) * 16
            store(D, at, load(D, at) + total)


@inlined
def _outer(
    vectors: int, n: int, D: Any, d: int, S: Any, s: int, s_row: int, A: Any, a: int, a_row: int, depth: int
) -> None:
    """D[d + k*16*vectors + j] += sum over rows i of S[s + i*s_row + k] * A[a + i*a_row + j], for k < n."""
    products(n, vectors, D, d, vectors * 16, S, s, 1, s_row, A, a, a_row, depth)
