r"""The compiled part of tbptt.py: forward pass, loss and backward pass of one chunk of a batch of streams.

    1 begin      copies carried states and inputs into the slabs
    2 forward    every step of every layer                          docs/model.md, "Network"
    3 targets    counts them, as the loss is a mean over them      docs/model.md, "Training"
    4 head       quantiles, loss, backward through the head         docs/model.md, "Head" and "Training"
    5 backward   back through time, layer by layer                  docs/model.md, "Training"

Stages 1, 2 and 5 are in chunk_layers.py. The kernel works in the float type of its buffers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.features.head_inputs import date_features, horizon_features
from forecaster.features.known_future import future_features
from forecaster.features.step_inputs import LAST, N_STATISTICS, SCALE, TINY, inverse_scale
from forecaster.kernels.jit import inlined, kernel, products
from forecaster.kernels.operands import Block, HeadInputs, Rows, Strided
from forecaster.kernels.simd import load, splat, store
from forecaster.kernels.sizes import bind, sized, split
from forecaster.layout import FeatureLayout, Layout, StackLayout, feature_layout, head_layout, stack_layout
from forecaster.network.decoder_head import decoder_backward, decoder_forward
from forecaster.network.direct_head import direct_backward, direct_forward, direct_shared
from forecaster.network.quantile_output import HeadLayout, HeadTransposed, write_date_terms
from forecaster.training.chunk_layers import (
    ChunkSpan,
    ChunkWindows,
    LayerBuffers,
    backward,
    begin,
    forward,
    top_rows,
)
from forecaster.training.prepare_kernel import steps_ring

TARGET_LIMIT = 64.0  # targets are clipped to 64 scales from the last value


@sized()
class ChunkLayout(NamedTuple):
    """Sizes of a chunk kernel.

    Attributes:
        stack: recurrent layers. head: the head. features: inputs of both.
    """

    stack: StackLayout
    head: HeadLayout
    features: FeatureLayout


class ChunkData(NamedTuple):
    """The data set, flat and read-only; see `Dataset`.

    Attributes:
        x: (N * n_x,) float32. y: (N,) float64 values. ts: (N,) int64.
        lags: (N + `bin_floats`,) float64, the values that lags read, then bins, see `steps_ring`.
        stats: (N * 3,) float64. start, interval: (N,) int64.
        known, known_at, since, future_stats: known future values: `future`, `future_at`, `since`, `future_stats`.
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
def count_targets(horizon: int, streams: int, data: ChunkData, windows: ChunkWindows) -> int:
    """Stage 3: returns how many (stream, step, horizon) have a target."""
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
def add_pinball(
    head: HeadLayout, y: Any, at: int, limit: int, last: float, u: float, levels: Any, share: float, q: Any,
    loss: float, naive: float,
) -> tuple[float, float]:  # fmt: skip
    """Adds the losses of one step, the network's and that of the naive forecast, summed over horizons and levels.

    With e = (y - ref) / scale - q_a: max(a e, (a - 1) e). The naive forecast repeats the last value, q_a = 0.

    Args:
        head: sizes.
        y, at, limit: values, the step, and the first step after it that is no target.
        last, u: ref, the last value, and 1 / scale.
        levels: (Q,) quantile levels.
        share, q: quantiles (horizon, 16*QV), overwritten by the gradient of `share` times the loss.
        loss, naive: sums so far.

    Returns:
        Both sums, including this step.
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


def chunk_kernel(layout: Layout) -> tuple[Callable[..., None], NDArray[np.int64]]:
    """Returns the compiled chunk kernel for a layout and the `numbers` of its span; see `chunk` inside.

    Layouts share a kernel as they share the general form of the observe kernel. A literal form would save 2 % of the
    instructions of a training, whose time goes into products.
    """
    variant, numbers = split(ChunkLayout(stack_layout(layout), head_layout(layout), feature_layout(layout)))
    return _build(variant), numbers


@functools.lru_cache(maxsize=32)
def _build(variant: ChunkLayout) -> Callable[..., None]:
    head_forward = decoder_forward if variant.head.decoder else direct_forward
    head_backward = decoder_backward if variant.head.decoder else direct_backward

    @kernel
    def chunk(
        W: Any, T: Any, D: Any, data: ChunkData, windows: ChunkWindows, span: ChunkSpan, carried: Any,
        layers: LayerBuffers, heads: HeadBuffers, levels: Any, totals: Any, calendar_table: Any,
    ) -> None:  # fmt: skip
        """Runs one chunk of `span.streams` streams and `span.length` steps; all arrays are flat.

        Args:
            W, T: weights and constants, transposed weights. D: gradient, added to.
            data, windows, span: data set, windows of the streams, sizes.
            carried: (L, B, states * H) hidden states, read, then overwritten.
            layers, heads: scratch, overwritten.
            levels: (Q,) quantile levels.
            totals: (3,) overwritten by mean loss, mean loss of the naive forecast, number of targets.
            calendar_table: local time and holidays.
        """
        sizes = bind(variant, span.numbers)
        stack, head, features = sizes.stack, sizes.head, sizes.features
        Z, horizon, futures, calendar = head.z_vectors * 16, features.horizon, features.futures, features.calendar
        # transposed weights: layer 0 has Wh only, the others Wh and Wx, then those of the head
        square = stack.H // 16 * 16 * stack.H
        whT, wxT = square * stack.gates.h_vectors, square * stack.gates.x_vectors
        aT = whT + (stack.layers - 1) * (whT + wxT) if stack.layers > 0 else 0
        oT = aT + Z * head.n_top
        gruT = oT + head.q_vectors * 16 * Z
        begin(stack, span, data.x, windows, carried, layers)
        forward(stack, W, span, carried, layers)
        count = count_targets(horizon, span.streams, data, windows)
        totals[0] = 0.0
        totals[1] = 0.0
        totals[2] = count
        if count == 0:
            return
        share = 1.0 / (count * head.n_q)

        # 4 head, loss, backward through the head
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
        dated = False  # see observe/kernel.py
        date_ts = date_interval = 0
        for b in range(span.streams):
            limit = windows.limit[b]
            for t in range(windows.loss_from[b], windows.steps[b]):
                at = windows.first[b] + t
                d = at * N_STATISTICS
                if not stats[d + SCALE] > TINY:
                    continue
                row, base = t * batch + b, start[at]
                # inputs of the head: dates, seasons, known future values
                if not dated or (calendar > 0 and (ts[at] != date_ts or interval[at] != date_interval)):
                    dated, date_ts, date_interval = True, ts[at], interval[at]
                    date_features(calendar, calendar_table, date_ts, date_interval, horizon, W, features.steps,
                                  f, features.date, features.row)  # fmt: skip
                    write_date_terms(head, W, Block(given, 0), f, features.date, features.row)
                ring = steps_ring(features, data.lags, ts.shape[0], base, limit, at)
                horizon_features(features.seasons, horizon, ring,
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
