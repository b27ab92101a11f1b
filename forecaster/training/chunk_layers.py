"""The recurrent layers over the steps of a chunk, forward and backward: stages 1, 2 and 5 of chunk_kernel.py.

Row t*B + b of a slab holds state and inputs of stream b before step t; `slab0` is the slab of layer 0, `slab1` holds
those of the layers above.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block, Rows
from forecaster.kernels.simd import load, store
from forecaster.layout import StackLayout
from forecaster.network.layer import (
    GROUP_ROWS,
    LayerWeights,
    Slab,
    Strips,
    layer_inputs_backward,
    layer_step,
    layer_step_backward,
    layer_weight_gradients,
)


class ChunkSpan(NamedTuple):
    """Sizes of a chunk.

    Attributes:
        streams, length: of this chunk, in streams and steps; at most batch and room.
        k1: the state after k1 steps is carried on (after the last step, if there are fewer).
        learn: 0 = losses only.
        batch, room: sizes of the buffers.
        numbers: sizes and offsets of the network, see kernels/sizes.py.
    """

    streams: int
    length: int
    k1: int
    learn: int
    batch: int
    room: int
    numbers: Any


class ChunkWindows(NamedTuple):
    """The windows of the streams, (B,) int64 each and read-only; see `Windows`."""

    first: Any
    steps: Any
    loss_from: Any
    limit: Any


class LayerBuffers(NamedTuple):
    """Scratch of the layers, for T steps of B streams; all overwritten.

    Attributes:
        slab0: ((T + 1) * B * ld0,) states and inputs of layer 0, ld0 = states * H + n_x, padded.
        slab1: (L - 1) times ((T + 1) * B * ld1,), ld1 = states * H + H.
        strips: (L, H/16, T, B, 16 * strip) activations, backward gradients of the pre-activations.
        dtop: (L, T, B, H) gradients with respect to the outputs of the layers, through all but their next step.
        G, C: (B, H) gradients with respect to hidden and cell state.
    """

    slab0: Any
    slab1: Any
    strips: Any
    dtop: Any
    G: Any
    C: Any


@inlined
def slab_rows(stack: StackLayout) -> tuple[int, int]:
    """Returns (ld0, ld1), see `LayerBuffers`."""
    state = stack.gates.states * stack.H
    return state + (stack.n_x + 15) // 16 * 16, state + stack.H


@inlined
def begin(
    stack: StackLayout, span: ChunkSpan, x: Any, windows: ChunkWindows, carried: Any, layers: LayerBuffers
) -> None:
    """Stage 1: copies the initial hidden state of the chunk and the inputs of every step into the slabs."""
    slab0, slab1, batch, streams, n_x = layers.slab0, layers.slab1, span.batch, span.streams, stack.n_x
    ld0, ld1 = slab_rows(stack)
    state, slab1_size = stack.gates.states * stack.H, (span.room + 1) * batch * ld1
    first, steps = windows.first, windows.steps
    for layer in range(stack.layers):
        for b in range(streams):
            to = b * ld0 if layer == 0 else (layer - 1) * slab1_size + b * ld1
            for v in range(0, state, 16):
                h = load(carried, (layer * batch + b) * state + v)
                if layer == 0:
                    store(slab0, to + v, h)
                else:
                    store(slab1, to + v, h)
    for t in range(span.length):
        for b in range(streams):
            to = (t * batch + b) * ld0 + state
            at = (first[b] + t) * n_x
            for v in range(n_x):
                slab0[to + v] = x[at + v] if t < steps[b] else 0.0


@inlined
def carry_on(stack: StackLayout, span: ChunkSpan, layer: int, step: int, carried: Any, layers: LayerBuffers) -> None:
    """Copies the state of a layer before a step to `carried`, for the next chunk."""
    slab0, slab1, batch = layers.slab0, layers.slab1, span.batch
    ld0, ld1 = slab_rows(stack)
    state, slab1_size, row = stack.gates.states * stack.H, (span.room + 1) * batch * ld1, step * batch
    for b in range(span.streams):
        to = (layer * batch + b) * state
        for v in range(0, state, 16):
            if layer == 0:
                store(carried, to + v, load(slab0, (row + b) * ld0 + v))
            else:
                at = (layer - 1) * slab1_size + (row + b) * ld1 + v
                store(carried, to + v, load(slab1, at))


@inlined
def forward(stack: StackLayout, W: Any, span: ChunkSpan, carried: Any, layers: LayerBuffers) -> None:
    """Stage 2: computes h_t of every layer, see the cell's file; the output of a layer is the input of the next."""
    slab0, slab1, strips = layers.slab0, layers.slab1, layers.strips
    batch, streams, length, k1, H = span.batch, span.streams, span.length, span.k1, stack.H
    ld0, ld1 = slab_rows(stack)
    state, slab1_size, a_row = stack.gates.states * H, (span.room + 1) * batch * ld1, stack.gates.strip * 16
    a_block, wide = span.room * batch * a_row, H // 16 * a_row
    for t in range(length):
        row = t * batch
        for layer in range(stack.layers):
            if t == k1:
                carry_on(stack, span, layer, t, carried, layers)
            activations = Strips(strips, layer * span.room * batch * wide + row * a_row, a_row, a_block)
            if layer == 0:
                layer_step(stack.gates, streams, H, stack.n_x, LayerWeights(W, stack.wh0, stack.wx0, stack.bias0),
                           Slab(slab0, row * ld0, ld0, state), activations,
                           Rows(slab0, (row + batch) * ld0, ld0))  # fmt: skip
            else:
                w, slab = (layer - 1) * stack.stride, (layer - 1) * slab1_size
                layer_step(stack.gates, streams, H, H, LayerWeights(W, stack.wh1 + w, stack.wx1 + w, stack.bias1 + w),
                           Slab(slab1, slab + row * ld1, ld1, state), activations,
                           Rows(slab1, slab + (row + batch) * ld1, ld1))  # fmt: skip
            for b in range(streams):
                for v in range(0, H, 16):
                    if layer == 0:
                        h = load(slab0, (row + batch + b) * ld0 + v)
                    else:
                        h = load(slab1, (layer - 1) * slab1_size + (row + batch + b) * ld1 + v)
                    if layer + 1 < stack.layers:
                        store(slab1, layer * slab1_size + (row + b) * ld1 + state + v, h)
                for v in range(H, state, 16):
                    if layer == 0:
                        store(slab0, (row + batch + b) * ld0 + v, load(slab0, (row + b) * ld0 + v))
                    else:
                        at = (layer - 1) * slab1_size + (row + b) * ld1 + v
                        store(slab1, at + batch * ld1, load(slab1, at))
    if k1 >= length:  # the chunk ends before step k1: the state after its last step is carried on
        for layer in range(stack.layers):
            carry_on(stack, span, layer, length, carried, layers)


@inlined
def top_rows(stack: StackLayout, span: ChunkSpan, layers: LayerBuffers, row: int) -> Rows:
    """Returns the head's input after the step of slab row `row`: states of the top layer, or the inputs if none."""
    ld0, ld1 = slab_rows(stack)
    if stack.layers == 0:
        return Rows(layers.slab0, row * ld0, ld0)
    if stack.layers == 1:
        return Rows(layers.slab0, (row + span.batch) * ld0, ld0)
    at = (stack.layers - 2) * (span.room + 1) * span.batch * ld1
    return Rows(layers.slab1, at + (row + span.batch) * ld1, ld1)


@inlined
def step_backward(
    stack: StackLayout, T: Any, D: Any, span: ChunkSpan, layer: int, t: int, layers: LayerBuffers
) -> None:
    """Stage 5, one step of one layer: backward through the cell; every few steps gradients of weights and inputs."""
    slab0, slab1, strips, dtop = layers.slab0, layers.slab1, layers.strips, layers.dtop
    batch, streams, H, n_x, gates = span.batch, span.streams, stack.H, stack.n_x, stack.gates
    ld0, ld1 = slab_rows(stack)
    state, a_row = stack.gates.states * H, stack.gates.strip * 16
    wide, row = H // 16 * a_row, t * batch
    whT, wxT = H // 16 * stack.gates.h_vectors * 16 * H, H // 16 * stack.gates.x_vectors * 16 * H
    group = max(1, GROUP_ROWS // batch)
    rows = min(group, span.length - t) * batch  # of a group of steps whose weight gradients are summed at once
    activations = Strips(strips, layer * span.room * batch * wide + row * a_row, a_row, span.room * batch * a_row)
    if layer == 0:
        slab = Slab(slab0, row * ld0, ld0, state)
        layer_step_backward(gates, streams, H, Block(T, 0), slab, activations, layers.G, 0, layers.C)
        if t % group == 0:
            layer_weight_gradients(gates, H, n_x, n_x, LayerWeights(D, stack.wh0, stack.wx0, stack.bias0), slab,
                                   activations, rows)  # fmt: skip
    else:
        w, i = whT + (layer - 1) * (whT + wxT), (layer - 1) * stack.stride
        above = Slab(slab1, (layer - 1) * (span.room + 1) * batch * ld1 + row * ld1, ld1, state)
        layer_step_backward(gates, streams, H, Block(T, w), above, activations, layers.G, 0, layers.C)
        if t % group == 0:
            layer_weight_gradients(gates, H, H, H, LayerWeights(D, stack.wh1 + i, stack.wx1 + i, stack.bias1 + i),
                                   above, activations, rows)  # fmt: skip
            layer_inputs_backward(gates, rows, H, H, Block(T, w + whT), activations, dtop,
                                  ((layer - 1) * span.room * batch + row) * H)  # fmt: skip


@inlined
def backward(stack: StackLayout, T: Any, D: Any, span: ChunkSpan, layers: LayerBuffers) -> None:
    """Stage 5: goes back through time, layer by layer from the top; weight gradients are tall products."""
    G, C, dtop, batch, streams, H = layers.G, layers.C, layers.dtop, span.batch, span.streams, stack.H
    for back in range(stack.layers):
        layer = stack.layers - 1 - back
        for i in range(streams * H):
            G[i] = 0.0
            C[i] = 0.0
        for back_t in range(span.length):
            t = span.length - 1 - back_t
            for v in range(0, streams * H, 16):
                store(G, v, load(G, v) + load(dtop, (layer * span.room * batch + t * batch) * H + v))
            step_backward(stack, T, D, span, layer, t, layers)
