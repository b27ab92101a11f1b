"""One recurrent layer over time, forward and backward, for any size; compiled once per cell and float type.

Buffers are flat. A slab has rows (T + 1, B) of `[h | c (LSTM only) | x]`, `ld` numbers apart. Strips hold a step's
activations as in `network/layer.py`, block by block (H/16, T, B, 16*strip), so that the rows of a block are contiguous.
A step that does not exist for a sequence leaves its state unchanged: the forward pass copies the old state over the new
one, the backward pass propagates its gradient unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from forecaster.kernels.jit import kernel
from forecaster.kernels.operands import Block, Rows
from forecaster.kernels.reductions import column_sum
from forecaster.kernels.simd import load, splat, store
from forecaster.network.layer import (
    GROUP_ROWS,
    Gates,
    LayerWeights,
    Slab,
    Strips,
    gates_of,
    layer_inputs_backward,
    layer_step,
    layer_step_backward,
    layer_weight_gradients,
)
from forecaster.sequences.narrow_head import narrow_backward, narrow_forward, transpose_columns


class UnrollSizes(NamedTuple):
    """Sizes of a layer.

    Attributes:
        H: units.
        n_in: inputs of a slab row, with padding. n_x: number of inputs that are read and have a gradient.
    """

    H: int
    n_in: int
    n_x: int


class Unrolled(NamedTuple):
    """States, inputs and activations of a layer over time.

    Attributes:
        slab: ((T + 1) * B * ld,) floats.
        ld: distance between rows of the slab.
        strips: (H/16 * T * B * 16*strip,) floats.
        present: (T * B,) bool, which steps exist.
    """

    slab: Any
    ld: int
    strips: Any
    present: Any


class Span(NamedTuple):
    """The range of steps of a call.

    Attributes:
        start, stop: first step, and the one after the last.
        batch: sequences (B).
    """

    start: int
    stop: int
    batch: int


class LinearHead(NamedTuple):
    """A linear head of few outputs, applied while the states are in the cache; see narrow_head.py.

    Attributes:
        params: (n,) parameters.
        O: offset of the weights (H, 16). d: offset of the biases (16,).
        used: number of outputs; 0: no head.
        transposed: (used, H) transposed weights, written by forward for backward.
    """

    params: Any
    O: int  # noqa: E741 - the matrix of the equations
    d: int
    used: int
    transposed: Any


class LayerTransposed(NamedTuple):
    """Transposed weights of a layer, for the backward pass.

    Attributes:
        array: (n,) floats.
        wh: offset of (NB * 16*h_vectors, H). wx: offset of (NB * 16*x_vectors, n_in).
    """

    array: Any
    wh: int
    wx: int


class StateGradients(NamedTuple):
    """Gradients of a layer's state, (B, H) each.

    Attributes:
        G, C: of hidden and cell state after the last step, overwritten with those before the first one.
        keep: (2, B, H) scratch, overwritten.
    """

    G: Any
    C: Any
    keep: Any


@dataclass(frozen=True)
class Unroll:
    """The compiled kernels of a cell; `_build` documents their arguments."""

    forward: Callable[..., None]
    backward: Callable[..., None]


def unroll_kernels(cell: str) -> Unroll:
    """Returns the kernels of "elman", "gru" or "lstm"."""
    return _build(gates_of(cell))


@functools.lru_cache(maxsize=8)
def _build(gates: Gates) -> Unroll:
    states = gates.states
    a_row = gates.strip * 16
    old_cell = (gates.strip - 1) * 16  # offset of the LSTM's old cell state in a strip

    @kernel
    def forward(weights: Any, sizes: Any, unrolled: Any, span: Any, head: Any, Y: Any) -> None:
        """Runs steps start..stop-1: reads the slab's rows of step `start`, writes states up to row `stop`, and strips.

        Args:
            weights: `LayerWeights`.
            sizes: `UnrollSizes`.
            unrolled: `Unrolled`; states of the slab and strips are overwritten.
            span: `Span`.
            head: `LinearHead`.
            Y: (stop - start, B, 16), overwritten with the outputs of the head, if there is one.
        """
        layer, size, over, steps, out = (
            LayerWeights(*weights), UnrollSizes(*sizes), Unrolled(*unrolled), Span(*span), LinearHead(*head),
        )  # fmt: skip
        H, S, ld, A, present = size.H, over.slab, over.ld, over.strips, over.present
        start, stop, batch, used = steps.start, steps.stop, steps.batch, out.used
        transpose_columns(out.params, out.O, H, 16, used, out.transposed)
        a_block = A.shape[0] // (H // 16)
        for t in range(start, stop):
            row = t * batch
            layer_step(gates, batch, H, size.n_x, layer, Slab(S, row * ld, ld, states * H),
                       Strips(A, row * a_row, a_row, a_block), Rows(S, (row + batch) * ld, ld))  # fmt: skip
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
                narrow_forward(batch, used, H, out.transposed, Block(out.params, out.d),
                               Rows(S, (row + batch) * ld, ld), Rows(Y, (row - start * batch) * 16, 16))  # fmt: skip

    @kernel
    def backward(
        transposed: Any, sizes: Any, unrolled: Any, dtop: Any, gradients: Any, dx: Any, with_x: int, D: Any,
        span: Any, head: Any, dW: Any,
    ) -> None:  # fmt: skip
        """Propagates gradients back through steps stop-1..start.

        Args:
            transposed: `LayerTransposed`.
            sizes, span, head: as for forward; gradients of the head are added to `D`'s array as well.
            unrolled: from forward; the strips are overwritten with gradients of the pre-activations.
            dtop: (stop - start, B, H) gradient of the outputs, without that from the next step; with a head,
                (stop - start, B, 16) gradient of the head's outputs.
            gradients: `StateGradients`.
            dx: (stop - start, B, n_in) gradient of the inputs, added to if with_x is 1.
            D: `LayerWeights` of the gradient, added to.
            dW: (used, H) scratch, overwritten.
        """
        T, layer, size, over, state = (
            LayerTransposed(*transposed), LayerWeights(*D), UnrollSizes(*sizes), Unrolled(*unrolled),
            StateGradients(*gradients),
        )  # fmt: skip
        steps, out = Span(*span), LinearHead(*head)
        H, n_in, S, ld, A, present = size.H, size.n_in, over.slab, over.ld, over.strips, over.present
        G, C, keep = state.G, state.C, state.keep
        start, stop, batch, used = steps.start, steps.stop, steps.batch, out.used
        a_block = A.shape[0] // (H // 16)
        group = max(1, GROUP_ROWS // batch)
        dW[:] = 0.0
        for back in range(stop - start):
            t = stop - 1 - back
            row, own = t * batch, (t - start) * batch
            slab, strips = Slab(S, row * ld, ld, states * H), Strips(A, row * a_row, a_row, a_block)
            if used > 0:
                narrow_backward(batch, used, H, out.transposed, Rows(S, (row + batch) * ld, ld),
                                Rows(dtop, own * 16, 16), G, 0, dW)  # fmt: skip
                column_sum(layer.array, out.d, dtop, own * 16, 16, batch)
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
            layer_step_backward(gates, batch, H, Block(T.array, T.wh), slab, strips, G, 0, C)
            for b in range(batch):
                if not present[row + b]:
                    for v in range(b * H, (b + 1) * H, 16):
                        store(G, v, load(keep, v))
                        store(C, v, load(keep, batch * H + v))
            if (t - start) % group == 0:
                rows = min(group, stop - t) * batch
                layer_weight_gradients(gates, H, n_in, size.n_x, layer, slab, strips, rows)
                if with_x == 1:
                    layer_inputs_backward(gates, rows, H, n_in, Block(T.array, T.wx), strips, dx, own * n_in)
        for j in range(used):
            for k in range(H):
                layer.array[out.O + k * 16 + j] += dW[j * H + k]

    return Unroll(forward, backward)
