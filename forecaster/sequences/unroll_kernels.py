"""One recurrent layer over time, forward and backward, for any size; compiled once per cell and float type.

Buffers are flat. A slab has rows (T + 1, B) of `[h | c (LSTM only) | x]`, `ld` numbers apart. Strips hold a step's
activations as in `cells/layer.py`, block by block (H/16, T, B, 16*strip), so that the rows of a block lie one behind
the other. A step that does not exist for a sequence leaves its state as it is: forward the old state is copied over the
new one, backward its gradient passes by.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forecaster.kernels.jit import kernel
from forecaster.kernels.reductions import column_sum
from forecaster.kernels.simd import load, splat, store
from forecaster.network.layer import (
    CELLS,
    CODES,
    GROUP_ROWS,
    layer_inputs_backward,
    layer_step,
    layer_step_backward,
    layer_weight_gradients,
)
from forecaster.sequences.narrow_head import few_outputs, few_outputs_backward, turned


@dataclass(frozen=True)
class Unroll:
    """The compiled kernels of a cell; their arguments stand in `_build`."""

    forward: Callable[..., None]
    backward: Callable[..., None]


def unroll_kernels(cell: str) -> Unroll:
    """The kernels of "elman", "gru" or "lstm"."""
    c: Any = CELLS[cell]
    return _build(CODES[cell], c.STRIP, c.H_FIRST, c.H_VECTORS, c.X_FIRST, c.X_VECTORS, c.STATES)


@functools.lru_cache(maxsize=8)
def _build(cell: int, strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, states: int) -> Unroll:
    a_row = strip * 16
    old_cell = (strip - 1) * 16  # where the LSTM keeps the old cell state in a strip

    @kernel
    def forward(
        P: Any, wh: int, wx: int, bias: int, H: int, n_x: int, S: Any, ld: int, A: Any, present: Any,
        start: int, stop: int, batch: int, params: Any, head: int, head_bias: int, used: int, W: Any, Y: Any,
    ) -> None:  # fmt: skip
        """Steps start..stop-1: reads the slab's rows of step `start`, writes states up to row `stop`, and strips.

        n_x inputs of a slab row are read; the rest of it is padding. Where `used` is not 0, Y (stop - start, B, 16) is
        overwritten by as many outputs of a linear head, whose weights (H, 16) and biases start at `head` and
        `head_bias` of `params`, while the states are near; W (used, H) is scratch that `backward` needs.
        """
        turned(params, head, H, 16, used, W)
        a_block = A.shape[0] // (H // 16)
        for t in range(start, stop):
            row = t * batch
            layer_step(cell, batch, strip, h_first, h_vectors, x_first, x_vectors, H, n_x, P, wh, wx, bias,
                       S, row * ld, ld, states * H, A, row * a_row, a_row, a_block,
                       S, (row + batch) * ld, ld)  # fmt: skip
            for b in range(row, row + batch):
                old, new = b * ld, (b + batch) * ld
                if not present[b]:
                    for v in range(0, H, 16):
                        store(S, new + v, load(S, old + v))
                if states == 2:
                    for v in range(0, H, 16):
                        if present[b]:
                            store(S, new + H + v, load(S, old + H + v))
                        else:
                            store(S, new + H + v, load(A, b * a_row + v // 16 * a_block + old_cell))
            if used > 0:
                few_outputs(batch, used, H, W, params, head_bias, S, (row + batch) * ld, ld,
                            Y, (row - start * batch) * 16, 16)  # fmt: skip

    @kernel
    def backward(
        T: Any, whT: int, wxT: int, H: int, n_in: int, n_x: int, S: Any, ld: int, A: Any, present: Any, dtop: Any,
        G: Any, C: Any, keep: Any, dx: Any, with_x: int, D: Any, wh: int, wx: int, bias: int,
        start: int, stop: int, batch: int, head: int, head_bias: int, used: int, W: Any, dW: Any,
    ) -> None:  # fmt: skip
        """Steps stop-1..start.

        Args:
            T, whT, wxT: transposed weights and where they start.
            H, n_x, S, ld, present, start, stop, batch: as forward. n_in: inputs with the padding.
            A: strips, overwritten by gradients of the pre-activations.
            dtop: (stop - start, B, H) gradient of the outputs by everything but the next step; where `used` is not 0,
                (stop - start, B, 16) that of the head's outputs.
            G, C: (B, H) gradients of hidden and cell state behind step stop-1, overwritten by those before `start`.
            keep: (2, B, H) scratch, overwritten.
            dx: (stop - start, B, n_in) gradient of the inputs, added to where with_x is 1.
            D, wh, wx, bias: weight gradients and where they start, added to.
            head, head_bias, used, W: as forward; gradients of the head are added to D as well. dW: (used, H) scratch.
        """
        a_block = A.shape[0] // (H // 16)
        group = max(1, GROUP_ROWS // batch)
        dW[:] = 0.0
        for back in range(stop - start):
            t = stop - 1 - back
            row, own = t * batch, (t - start) * batch
            if used > 0:
                few_outputs_backward(batch, used, H, W, S, (row + batch) * ld, ld, dtop, own * 16, 16, G, 0, dW)
                column_sum(D, head_bias, dtop, own * 16, 16, batch)
            else:
                for v in range(0, batch * H, 16):
                    store(G, v, load(G, v) + load(dtop, own * H + v))
            for b in range(batch):
                if not present[row + b]:
                    for v in range(b * H, (b + 1) * H, 16):
                        store(keep, v, load(G, v))
                        store(keep, batch * H + v, load(C, v))
                        store(G, v, splat(G, 0.0))
                        store(C, v, splat(C, 0.0))
            layer_step_backward(cell, batch, h_first, h_vectors, H, T, whT, S, row * ld, ld,
                                A, row * a_row, a_row, a_block, G, 0, C)  # fmt: skip
            for b in range(batch):
                if not present[row + b]:
                    for v in range(b * H, (b + 1) * H, 16):
                        store(G, v, load(keep, v))
                        store(C, v, load(keep, batch * H + v))
            if (t - start) % group == 0:
                rows = min(group, stop - t) * batch
                layer_weight_gradients(strip, h_first, h_vectors, x_first, x_vectors, H, n_in, n_x, D, wh, wx, bias,
                                       S, row * ld, ld, states * H, A, row * a_row, a_row, a_block, rows)  # fmt: skip
                if with_x == 1:
                    layer_inputs_backward(rows, x_first, x_vectors, H, n_in, T, wxT, A, row * a_row, a_row, a_block,
                                          dx, own * n_in)  # fmt: skip
        for j in range(used):
            for k in range(H):
                D[head + k * 16 + j] += dW[j * H + k]

    return Unroll(forward, backward)
