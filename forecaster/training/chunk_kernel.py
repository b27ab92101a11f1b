r"""The compiled part of tbptt.py: one chunk of a batch of streams, forward, loss, and back through time.

    1 begin      carried states and inputs into the slabs
    2 forward    every step of every layer                          docs/model.md, "Network"
    3 targets    how many there are, as the loss is their mean      docs/model.md, "Training"
    4 head       quantiles, loss, and back through the head         docs/model.md, "Head" and "Training"
    5 backward   through time, layer by layer                       docs/model.md, "Training"

Row t*B + b of a slab is step t of stream b, before the step; `slab0` is that of layer 0, `slab1` holds those of the
layers above. The kernel works in the float type of its buffers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from forecaster.features.head_inputs import date_features, horizon_features
from forecaster.features.known_future import future_features
from forecaster.features.step_inputs import LAST, N_STATISTICS, SCALE, TINY, inverse_scale
from forecaster.kernels.jit import inlined, kernel, products
from forecaster.kernels.operands import Block, HeadInputs, Ring, Rows, Strided, literals
from forecaster.kernels.simd import load, splat, store
from forecaster.layout import FeatureLayout, Layout, StackLayout, feature_layout, head_layout, stack_layout
from forecaster.network.decoder_head import decoder_backward, decoder_forward
from forecaster.network.direct_head import direct_backward, direct_forward, direct_shared
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
from forecaster.network.quantile_output import HeadLayout, HeadTransposed, give

TARGET_LIMIT = 64.0  # a target further away than 64 scales says no more than 64


@literals
class ChunkLayout(NamedTuple):
    """What a chunk is compiled for.

    Attributes:
        stack: recurrent layers. head: the head. features: what both see.
    """

    stack: StackLayout
    head: HeadLayout
    features: FeatureLayout


class ChunkSpan(NamedTuple):
    """Sizes of a chunk.

    Attributes:
        streams, length: of this chunk, in streams and steps; at most batch and room.
        k1: the state behind k1 steps is carried on (behind the last step, if there are no more).
        learn: 0 = losses only.
        batch, room: sizes of the buffers.
    """

    streams: int
    length: int
    k1: int
    learn: int
    batch: int
    room: int


class ChunkData(NamedTuple):
    """The data set, flat and only read; see `Dataset`.

    Attributes:
        x: (N * n_x,) float32. y, lags: (N,) float64 values. ts: (N,) int64.
        stats: (N * 3,) float64. start, interval: (N,) int64.
        known, known_at, since, future_stats: what events said of the steps ahead: `told`, `told_at` and so on.
    """

    x: Any
    y: Any
    lags: Any
    ts: Any
    stats: Any
    start: Any
    interval: Any
    known: Any
    known_at: Any
    since: Any
    future_stats: Any


class ChunkWindows(NamedTuple):
    """The windows of the streams, (B,) int64 each and only read; see `Windows`."""

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
        dtop: (L, T, B, H) gradients of the outputs of the layers by everything but their next step.
        G, C: (B, H) gradients of hidden and cell state.
    """

    slab0: Any
    slab1: Any
    strips: Any
    dtop: Any
    G: Any
    C: Any


class HeadBuffers(NamedTuple):
    """Scratch of the head; all overwritten.

    Attributes:
        f: `feature_floats`. given: `given_floats`. z: `z_floats`.
        s, q, ds: (horizon, 16*QV) slots, quantiles, gradient of the slots. dz: (horizon, Z).
        dt: (T, B, Z) gradients of A t + B m + c.
    """

    f: Any
    given: Any
    z: Any
    s: Any
    q: Any
    ds: Any
    dz: Any
    dt: Any


@inlined
def slab_rows(stack: StackLayout) -> tuple[int, int]:
    """(ld0, ld1), see `LayerBuffers`."""
    state = stack.gates.states * stack.H
    return state + (stack.n_x + 15) // 16 * 16, state + stack.H


@inlined
def begin(
    stack: StackLayout, span: ChunkSpan, x: Any, windows: ChunkWindows, carried: Any, layers: LayerBuffers
) -> None:
    """Stage 1: the hidden state that the chunk starts from, and the inputs of every step."""
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
    """Keeps the state of a layer before a step for the next chunk."""
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
    """Stage 2: h_t of every layer, the equations of the cell's file; the output of a layer is the input of the next."""
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
    if k1 >= length:  # the window ends before step k1: the state behind its last step is carried on
        for layer in range(stack.layers):
            carry_on(stack, span, layer, length, carried, layers)


@inlined
def count_targets(horizon: int, streams: int, data: ChunkData, windows: ChunkWindows) -> int:
    """Stage 3: how many (stream, step, horizon) have a target."""
    y, stats, count = data.y, data.stats, 0
    first, steps, loss_from, limit = windows.first, windows.steps, windows.loss_from, windows.limit
    for b in range(streams):
        for t in range(loss_from[b], steps[b]):
            at = first[b] + t
            if stats[at * N_STATISTICS + SCALE] > TINY:
                for h in range(1, min(horizon, limit[b] - 1 - at) + 1):
                    if not np.isnan(y[at + h]):
                        count += 1
    return count


@inlined
def top_rows(stack: StackLayout, span: ChunkSpan, layers: LayerBuffers, row: int) -> Rows:
    """What the head sees behind the step of slab row `row`: the states of the top layer, or the inputs themselves."""
    ld0, ld1 = slab_rows(stack)
    if stack.layers == 0:
        return Rows(layers.slab0, row * ld0, ld0)
    if stack.layers == 1:
        return Rows(layers.slab0, (row + span.batch) * ld0, ld0)
    at = (stack.layers - 2) * (span.room + 1) * span.batch * ld1
    return Rows(layers.slab1, at + (row + span.batch) * ld1, ld1)


@inlined
def add_pinball(
    head: HeadLayout, y: Any, at: int, limit: int, last: float, u: float, levels: Any, share: float, q: Any,
    loss: float, naive: float,
) -> tuple[float, float]:  # fmt: skip
    """Adds the losses of one step, its own and that of "the last value stays", summed over horizons and levels.

    With e = (y - ref) / scale - q_a: max(a e, (a - 1) e).

    Args:
        head: literals.
        y, at, limit: values, the step, and the first step behind it that is no target.
        last, u: ref, the last value, and 1 / scale.
        levels: (Q,) quantile levels.
        share, q: quantiles (horizon, 16*QV), overwritten by the gradient of `share` times the loss by them.
        loss, naive: sums so far.

    Returns:
        Both sums, with this step.
    """
    Q, QP = head.n_q, head.q_vectors * 16
    for h in range(head.horizon):
        there = at + h + 1 < limit and not np.isnan(y[min(at + h + 1, y.shape[0] - 1)])
        if there:
            target = (y[at + h + 1] - last) * u
            target = min(max(target, -TARGET_LIMIT), TARGET_LIMIT)
            for j in range(Q):
                error = target - q[h * QP + j]
                loss += max(levels[j] * error, (levels[j] - 1.0) * error)
                naive += max(levels[j] * target, (levels[j] - 1.0) * target)
                q[h * QP + j] = (1.0 - levels[j] if error < 0.0 else -levels[j]) * share
        else:
            for j in range(Q):
                q[h * QP + j] = 0.0
        for j in range(Q, QP):
            q[h * QP + j] = 0.0
    return loss, naive


@inlined
def step_backward(
    stack: StackLayout, T: Any, D: Any, span: ChunkSpan, layer: int, t: int, layers: LayerBuffers
) -> None:
    """Stage 5 of one step of one layer: through the cell, and every few steps the gradients of weights and inputs."""
    slab0, slab1, strips, dtop = layers.slab0, layers.slab1, layers.strips, layers.dtop
    batch, streams, H, n_x, gates = span.batch, span.streams, stack.H, stack.n_x, stack.gates
    ld0, ld1 = slab_rows(stack)
    state, a_row = stack.gates.states * H, stack.gates.strip * 16
    wide, row = H // 16 * a_row, t * batch
    whT, wxT = H // 16 * stack.gates.h_vectors * 16 * H, H // 16 * stack.gates.x_vectors * 16 * H
    group = max(1, GROUP_ROWS // batch)
    rows = min(group, span.length - t) * batch  # of a group whose weight gradients are summed at once
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
    """Stage 5: back through time, layer by layer from the top, and the weight gradients as tall products."""
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


def chunk_kernel(layout: Layout) -> Callable[..., None]:
    """The compiled chunk for a layout; see `chunk` inside for its arguments."""
    return _build(ChunkLayout(stack_layout(layout), head_layout(layout), feature_layout(layout)))


@functools.lru_cache(maxsize=32)
def _build(sizes: ChunkLayout) -> Callable[..., None]:
    stack, head, features = sizes.stack, sizes.head, sizes.features
    head_forward = decoder_forward if head.decoder else direct_forward
    head_backward = decoder_backward if head.decoder else direct_backward
    Z, horizon, futures, calendar = head.z_vectors * 16, features.horizon, features.futures, features.calendar
    # transposed weights: layer 0 has Wh only, the others Wh and Wx, then those of the head
    whT, wxT = (stack.H // 16 * n * 16 * stack.H for n in (stack.gates.h_vectors, stack.gates.x_vectors))
    aT = whT + (stack.layers - 1) * (whT + wxT) if stack.layers else 0
    oT = aT + Z * head.n_top
    gruT = oT + head.q_vectors * 16 * Z

    @kernel
    def chunk(
        W: Any, T: Any, D: Any, data: ChunkData, windows: ChunkWindows, span: ChunkSpan, carried: Any,
        layers: LayerBuffers, heads: HeadBuffers, levels: Any, totals: Any, calendar_table: Any,
    ) -> None:  # fmt: skip
        """One chunk of `span.streams` streams, `span.length` steps; all arrays flat.

        Args:
            W, T: weights and constants, transposed weights. D: gradient, added to.
            data, windows, span: what is learnt from.
            carried: (L, B, states * H) hidden states, read first, overwritten.
            layers, heads: scratch, overwritten.
            levels: (Q,) quantile levels.
            totals: (3,) overwritten by mean loss, mean loss of "the last value stays", number of targets.
            calendar_table: local time and holidays.
        """
        begin(stack, span, data.x, windows, carried, layers)
        forward(stack, W, span, carried, layers)
        count = count_targets(horizon, span.streams, data, windows)
        totals[0] = 0.0
        totals[1] = 0.0
        totals[2] = count
        if count == 0:
            return
        share = 1.0 / (count * head.n_q)

        # 4 head, loss, and back through the head
        f, given, z, s, q, dt, dtop = heads.f, heads.given, heads.z, heads.s, heads.q, heads.dt, layers.dtop
        y, ts, stats, interval, start, since = data.y, data.ts, data.stats, data.interval, data.start, data.since
        batch, learn = span.batch, span.learn
        if learn == 1:
            for i in range(dt.shape[0]):
                dt[i] = 0.0
            for i in range(dtop.shape[0]):
                dtop[i] = 0.0
        transposed = HeadTransposed(T, aT, oT, gruT)
        inputs = HeadInputs(f, 0, features.target, features.row)
        loss = 0.0
        naive = 0.0
        dated = False  # see observe.py
        date_ts = date_interval = 0
        for b in range(span.streams):
            limit = windows.limit[b]
            for t in range(windows.loss_from[b], windows.steps[b]):
                at = windows.first[b] + t
                d = at * N_STATISTICS
                if not stats[d + SCALE] > TINY:
                    continue
                row, base = t * batch + b, start[at]
                # inputs of the head: dates, seasons, what is known ahead
                if not dated or (calendar > 0 and (ts[at] != date_ts or interval[at] != date_interval)):
                    dated, date_ts, date_interval = True, ts[at], interval[at]
                    date_features(calendar, calendar_table, date_ts, date_interval, horizon, W, features.steps,
                                  f, features.date, features.row)  # fmt: skip
                    give(head, W, Block(given, 0), f, features.date, features.row)
                horizon_features(features.seasons, horizon, Ring(data.lags, base, limit - base + 1, at - base),
                                 Block(stats, d), Block(W, features.fading), inputs, features.past)  # fmt: skip
                if futures > 0:
                    future_features(futures, horizon, data.known, data.known_at[at], since[at], data.future_stats,
                                    at * 2 * futures, f, features.known, features.row)  # fmt: skip
                # quantiles, loss, gradients
                direct_shared(head, 1, W, top_rows(stack, span, layers, row), Block(z, 0))
                head_forward(head, W, Block(given, 0), Block(z, 0), inputs, Block(z, Z), Block(s, 0), Block(q, 0))
                u = inverse_scale(stats[d + SCALE])
                loss, naive = add_pinball(head, y, at, limit, stats[d + LAST], u, levels, share, q, loss, naive)
                if learn == 1:
                    to = ((stack.layers - 1) * span.room * batch + row) * stack.H if stack.layers > 0 else -1
                    head_backward(head, W, transposed, D, inputs, Block(z, Z), Block(s, 0), Block(q, 0), heads.ds,
                                  heads.dz, Block(dt, row * Z), Block(dtop, to))  # fmt: skip
        totals[0] = loss * share
        totals[1] = naive * share
        if learn == 0:
            return
        # the gradients of A and c
        depth, top = span.length * batch, top_rows(stack, span, layers, 0)
        products(head.n_top, head.z_vectors, Rows(D, head.A, Z), Strided(top.array, top.at, 1, top.row),
                 Rows(dt, 0, Z), depth)  # fmt: skip
        for v in range(head.z_vectors):
            total = splat(D, 0.0)
            for i in range(depth):
                total = total + load(dt, i * Z + v * 16)
            store(D, head.c + v * 16, load(D, head.c + v * 16) + total)

        backward(stack, T, D, span, layers)

    return chunk
