r"""Truncated back-propagation through time (Williams and Peng 1990), one chunk of a batch of streams at a time.

A chunk is k2 steps: forward with the carried hidden state, the loss of its last k1 steps (of all but the first few,
where the stream just started), gradients back through all k2 steps, the state after k1 steps carried on. Scaling,
lags and references are constants. Loss of a step: for every horizon whose target was observed,

    mean over quantile levels a of  max(a e, (a - 1) e),   e = (y - ref) / scale - q_a       (pinball loss)

averaged over all (stream, step, horizon) of the chunk that have a target. The kernel works in the float type of its
buffers: float32 to train, float64 to be checked against finite differences.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.features.calendar import calendar_table
from forecaster.features.head_inputs import date_features, horizon_features
from forecaster.features.known_future import future_features
from forecaster.features.step_inputs import LAST, N_STATISTICS, SCALE, TINY, inverse_scale
from forecaster.kernels.buffers import buffer, padded_width
from forecaster.kernels.jit import kernel, products
from forecaster.kernels.simd import load, splat, store
from forecaster.layout import (
    Layout,
    calendar_code,
    cell_code,
    fading_offset,
    head_offsets,
    kernel_weights,
    layer_offsets,
    layer_stride,
)
from forecaster.network.decoder_head import decoder_backward, decoder_forward
from forecaster.network.direct_head import direct_backward, direct_forward, direct_shared
from forecaster.network.layer import (
    GROUP_ROWS,
    layer_inputs_backward,
    layer_step,
    layer_step_backward,
    layer_weight_gradients,
)
from forecaster.network.quantile_output import give
from forecaster.training.dataset import Dataset, Windows

TARGET_LIMIT = 64.0  # a target further away than 64 scales says no more than 64


def transposed(layout: Layout, params: NDArray[Any]) -> NDArray[Any]:
    """Transposed weights for the way back: of every layer Wh and (from layer 1 on) Wx, then A, O, Wh of the head."""
    view, parts = layout.views(params), []
    for i in range(layout.layers):
        parts.append(view[f"layer{i}.wh"].transpose(0, 2, 1).ravel())
        if i:
            parts.append(view[f"layer{i}.wx"].transpose(0, 2, 1).ravel())
    parts += [view["head.A"].T.ravel(), view["head.O"].T.ravel()]
    if layout.config.head == "decoder":
        parts.append(view["head.wh"].transpose(0, 2, 1).ravel())
    return np.concatenate(parts)


class Chunk:
    """Buffers and kernel for chunks of up to `steps` steps of up to `batch` streams, allocated once.

    Attributes:
        gradient: (n_params,) gradient of the last `run` that learnt.
        carried: (layers, batch, states*H) hidden state that the next chunk starts from.
        slots: (horizon * 16*QV,) of the step forecast from last, see heads/output.py.
    """

    def __init__(self, layout: Layout, batch: int, steps: int, dtype: type = np.float32) -> None:
        self.layout, self.batch, self.steps, self.dtype = layout, batch, steps, dtype
        state, H = layout.states * layout.hidden, layout.hidden
        rows, layers = batch * steps, max(1, layout.layers)
        blocks = H // 16
        self._strip_floats = blocks * layout.strip * 16

        def floats(n: int) -> NDArray[Any]:
            return buffer(max(16, n), dtype)

        self._slab0 = floats((rows + batch) * (state + padded_width(layout.n_x)))
        self._slab1 = floats(max(0, layers - 1) * (rows + batch) * (state + H))
        self._strips = floats(layers * rows * self._strip_floats)
        self._dtop = floats(layers * rows * H)
        self._G, self._C = floats(batch * H), floats(batch * H)
        horizon, z, q = layout.config.horizon, 16 * layout.z_vectors, 16 * layout.q_vectors
        sizes = (layout.feature_floats, layout.given_floats, layout.z_floats, horizon * q, horizon * q)
        self._head = [floats(size) for size in sizes]
        self.slots = self._head[3]
        self._ds, self._dz, self._dt = floats(horizon * q), floats(horizon * z), floats(rows * z)
        self._levels: NDArray[Any] = np.array(layout.config.quantiles, dtype)
        self.gradient: NDArray[Any] = buffer(layout.n_params, dtype)
        self.carried: NDArray[Any] = np.zeros((layers, batch, max(1, state)), dtype)
        self._totals = np.zeros(3)
        self._kernel = chunk_kernel(layout)
        self._nothing: NDArray[Any] = np.zeros(1, dtype)

    def run(
        self, params: NDArray[Any], data: Dataset, windows: Windows, k1: int, *, learn: bool
    ) -> tuple[float, float, int]:
        """Runs a chunk from `carried`.

        Args:
            params: (n_params,) in the type of the buffers.
            data: the data set that the windows point into.
            windows: one per stream, at most `batch`.
            k1: state after that many steps is carried on.
            learn: whether to go back and leave the gradient in `gradient`.

        Returns:
            Mean loss, mean loss of the forecast "the last value stays" under the same pinball loss, and the number
            of (stream, step, horizon) that had a target; both losses are 0 where there was none.
        """
        layout = self.layout
        streams = len(windows.first)
        weights = kernel_weights(layout, params)
        back = transposed(layout, params) if learn else self._nothing
        if learn:
            self.gradient[...] = 0
        self._kernel(
            weights, back, self.gradient, data.x.reshape(-1), data.y, data.lags, data.ts, data.stats.reshape(-1),
            data.start, data.interval, windows.first, windows.steps, windows.loss_from, windows.limit, streams,
            int(windows.steps.max(initial=0)), k1, int(learn), self.batch, self.steps, self.carried.reshape(-1),
            self._slab0, self._slab1, self._strips, self._dtop, self._G, self._C, *self._head,
            self._ds, self._dz, self._dt, self._levels, self._totals,
            calendar_table(layout.config.timezone, layout.config.holidays), data.told, data.told_at, data.since,
            data.future_stats.reshape(-1),
        )  # fmt: skip
        loss, naive, count = self._totals
        return float(loss), float(naive), int(count)


def chunk_kernel(layout: Layout) -> Callable[..., None]:
    """The compiled chunk for a shape; see `chunk` inside for its arguments."""
    c = layout.config
    return _build(
        cell_code(c), layout.layers, layout.hidden, layout.n_x, layout.head_columns, layout.moment_floats,
        layout.target_row, layout.n_top, layout.strip, layout.h_first, layout.h_vectors, layout.x_first,
        layout.x_vectors, layout.states,
        layout.z_vectors, layout.q_vectors, layout.n_q,
        c.horizon, c.seasons, calendar_code(c), head_offsets(layout), layer_offsets(layout), layer_stride(layout),
        fading_offset(layout), len(c.future_covariates), c.head == "decoder",
    )  # fmt: skip


@functools.lru_cache(maxsize=32)
def _build(
    cell: int, layers: int, H: int, n_x: int, columns: tuple[int, int, int, int], target_at: int, apart: int,
    n_top: int, strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, states: int,
    ZV: int, QV: int, Q: int, horizon: int, seasons: tuple[int, ...], calendar: int, head: tuple[int, ...],
    layer_at: tuple[int, ...], stride: int, fading: int, futures: int,
    decoder: bool,  # noqa: FBT001 - a literal like the others
) -> Callable[..., None]:  # fmt: skip
    head_forward = decoder_forward if decoder else direct_forward
    head_backward = decoder_backward if decoder else direct_backward
    wh0, wx0, bias0, wh1, wx1, bias1 = layer_at
    known_at = target_at + (columns[2] - 2 * futures) * apart
    date_at = target_at + columns[2] * apart
    past_at = date_at + columns[3] * apart
    direct = 0 if decoder else 1
    state = states * H
    ld0, ld1 = state + padded_width(n_x), state + H
    blocks = H // 16
    a_row = strip * 16
    wide = blocks * a_row
    Z, QP = ZV * 16, QV * 16
    # transposed weights: layer 0 has Wh only, the others Wh and Wx, then those of the head
    whT = blocks * h_vectors * 16 * H
    wxT = blocks * x_vectors * 16 * H
    aT = whT + (layers - 1) * (whT + wxT) if layers else 0
    oT = aT + Z * n_top
    head_T = (aT, oT, oT + QP * Z)

    @kernel
    def chunk(
        W: Any, T: Any, D: Any, x: Any, y: Any, lags: Any, ts: Any, stats: Any, start: Any, interval: Any,
        first: Any, steps: Any, loss_from: Any, limit: Any, streams: int, length: int, k1: int, learn: int,
        batch: int, room: int, carried: Any, slab0: Any, slab1: Any, strips: Any, dtop: Any, G: Any, C: Any,
        f: Any, given: Any, z: Any, s: Any, q: Any, ds: Any, dz: Any, dt: Any, levels: Any, totals: Any,
        calendar_table: Any, told: Any, told_at: Any, since: Any, future_stats: Any,
    ) -> None:  # fmt: skip
        """One chunk of `streams` streams, `length` steps; all arrays flat.

        Args:
            W, T: weights and constants, transposed weights. D: gradient, added to.
            x, y, lags, ts, stats, start, interval: the data set.
            first, steps, loss_from, limit: the windows.
            streams, length: sizes of this chunk, at most batch and room, the sizes of the buffers.
            k1: the state behind k1 steps is carried on (behind the last step, if there are no more).
            learn: 0 = losses only.
            carried: hidden states, read first, overwritten.
            slab0, slab1, strips, dtop, G, C, f, given, z, s, q, ds, dz, dt: scratch, overwritten.
            levels: quantile levels.
            calendar_table: local time and holidays.
            told, told_at, since, future_stats: of the data set.
            totals: (3,) overwritten by mean loss, mean loss of "the last value stays", number of targets.
        """
        slab1_size = (room + 1) * batch * ld1
        a_block, group = room * batch * a_row, max(1, GROUP_ROWS // batch)
        # 1 the hidden state that the chunk starts from, and the inputs of every step
        for layer in range(layers):
            for b in range(streams):
                to = b * ld0 if layer == 0 else (layer - 1) * slab1_size + b * ld1
                for v in range(0, state, 16):
                    h = load(carried, (layer * batch + b) * state + v)
                    if layer == 0:
                        store(slab0, to + v, h)
                    else:
                        store(slab1, to + v, h)
        for t in range(length):
            for b in range(streams):
                to = (t * batch + b) * ld0 + state
                at = (first[b] + t) * n_x
                for v in range(n_x):
                    slab0[to + v] = x[at + v] if t < steps[b] else 0.0

        # 2 forward
        for t in range(length):
            row = t * batch
            for layer in range(layers):
                if t == k1:
                    for b in range(streams):
                        to = (layer * batch + b) * state
                        for v in range(0, state, 16):
                            if layer == 0:
                                store(carried, to + v, load(slab0, (row + b) * ld0 + v))
                            else:
                                at = (layer - 1) * slab1_size + (row + b) * ld1 + v
                                store(carried, to + v, load(slab1, at))
                at = layer * room * batch * wide + row * a_row
                if layer == 0:
                    layer_step(cell, streams, strip, h_first, h_vectors, x_first, x_vectors, H, n_x, W, wh0, wx0, bias0,
                               slab0, row * ld0, ld0, state, strips, at, a_row, a_block,
                               slab0, (row + batch) * ld0, ld0)  # fmt: skip
                else:
                    w = (layer - 1) * stride
                    slab = (layer - 1) * slab1_size
                    layer_step(cell, streams, strip, h_first, h_vectors, x_first, x_vectors, H, H, W, wh1 + w, wx1 + w,
                               bias1 + w, slab1, slab + row * ld1, ld1, state, strips, at, a_row, a_block,
                               slab1, slab + (row + batch) * ld1, ld1)  # fmt: skip
                for b in range(streams):
                    for v in range(0, H, 16):
                        if layer == 0:
                            h = load(slab0, (row + batch + b) * ld0 + v)
                        else:
                            h = load(slab1, (layer - 1) * slab1_size + (row + batch + b) * ld1 + v)
                        if layer + 1 < layers:
                            store(slab1, layer * slab1_size + (row + b) * ld1 + state + v, h)
                    for v in range(H, state, 16):
                        if layer == 0:
                            store(slab0, (row + batch + b) * ld0 + v, load(slab0, (row + b) * ld0 + v))
                        else:
                            at = (layer - 1) * slab1_size + (row + b) * ld1 + v
                            store(slab1, at + batch * ld1, load(slab1, at))

        if k1 >= length:  # the window ends before step k1: the state behind its last step is carried on
            for layer in range(layers):
                for b in range(streams):
                    to = (layer * batch + b) * state
                    for v in range(0, state, 16):
                        if layer == 0:
                            store(carried, to + v, load(slab0, (length * batch + b) * ld0 + v))
                        else:
                            at = (layer - 1) * slab1_size + (length * batch + b) * ld1 + v
                            store(carried, to + v, load(slab1, at))

        # 3 how many targets there are, as the loss is their mean
        count = 0
        for b in range(streams):
            for t in range(loss_from[b], steps[b]):
                at = first[b] + t
                if stats[at * N_STATISTICS + SCALE] > TINY:
                    for h in range(1, min(horizon, limit[b] - 1 - at) + 1):
                        if not np.isnan(y[at + h]):
                            count += 1
        totals[0] = 0.0
        totals[1] = 0.0
        totals[2] = count
        if count == 0:
            return
        share = 1.0 / (count * Q)

        # 4 head, loss, and back through the head
        if learn == 1:
            for i in range(dt.shape[0]):
                dt[i] = 0.0
            for i in range(dtop.shape[0]):
                dtop[i] = 0.0
        loss = 0.0
        naive = 0.0
        dated = False  # see observe.py
        date_ts = date_interval = 0
        for b in range(streams):
            for t in range(loss_from[b], steps[b]):
                at = first[b] + t
                d = at * N_STATISTICS
                if not stats[d + SCALE] > TINY:
                    continue
                row = t * batch + b
                base = start[at]
                if not dated or (calendar > 0 and (ts[at] != date_ts or interval[at] != date_interval)):
                    dated, date_ts, date_interval = True, ts[at], interval[at]
                    date_features(calendar, calendar_table, date_ts, date_interval, horizon, W, fading + apart,
                                  f, date_at, apart)  # fmt: skip
                    give(ZV, QV, columns, horizon, W, head, given, 0, f, date_at, apart, direct)
                horizon_features(seasons, horizon, lags, base, limit[b] - base + 1, at - base, stats, d, W, fading,
                                 f, 0, target_at, apart, past_at)  # fmt: skip
                if futures > 0:
                    future_features(futures, horizon, told, told_at[at], since[at], future_stats, at * 2 * futures,
                                    f, known_at, apart)  # fmt: skip
                if layers == 0:
                    direct_shared(1, ZV, n_top, W, head, slab0, row * ld0, 0, z, 0)
                elif layers == 1:
                    direct_shared(1, ZV, n_top, W, head, slab0, (row + batch) * ld0, 0, z, 0)
                else:
                    top = (layers - 2) * slab1_size + (row + batch) * ld1
                    direct_shared(1, ZV, n_top, W, head, slab1, top, 0, z, 0)
                head_forward(ZV, QV, Q, columns, horizon, W, head, given, 0, z, 0, f, 0, target_at, apart,
                             z, Z, s, 0, q, 0)  # fmt: skip
                u = inverse_scale(stats[d + SCALE])
                for h in range(horizon):
                    there = at + h + 1 < limit[b] and not np.isnan(y[min(at + h + 1, y.shape[0] - 1)])
                    if there:
                        target = (y[at + h + 1] - stats[d + LAST]) * u
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
                if learn == 1:
                    to = ((layers - 1) * room * batch + row) * H if layers > 0 else -1
                    head_backward(ZV, QV, Q, columns, n_top, horizon, W, head, T, head_T, D, f, 0, target_at, apart,
                                  z, Z, s, 0, q, 0, ds, dz, dt, row * Z, dtop, to)  # fmt: skip
        totals[0] = loss * share
        totals[1] = naive * share
        if learn == 0:
            return
        A, c = head[0], head[2]
        depth = length * batch
        if layers == 0:
            products(n_top, ZV, D, A, Z, slab0, 0, 1, ld0, dt, 0, Z, depth)
        elif layers == 1:
            products(n_top, ZV, D, A, Z, slab0, batch * ld0, 1, ld0, dt, 0, Z, depth)
        else:
            at = (layers - 2) * slab1_size + batch * ld1
            products(n_top, ZV, D, A, Z, slab1, at, 1, ld1, dt, 0, Z, depth)
        for v in range(ZV):
            total = splat(D, 0.0)
            for i in range(depth):
                total = total + load(dt, i * Z + v * 16)
            store(D, c + v * 16, load(D, c + v * 16) + total)

        # 5 back through time, layer by layer, and the weight gradients as tall products
        for back in range(layers):
            layer = layers - 1 - back
            for i in range(streams * H):
                G[i] = 0.0
                C[i] = 0.0
            for back_t in range(length):
                t = length - 1 - back_t
                row = t * batch
                for v in range(0, streams * H, 16):
                    store(G, v, load(G, v) + load(dtop, (layer * room * batch + row) * H + v))
                at = layer * room * batch * wide + row * a_row
                rows = min(group, length - t) * batch  # of a group whose weight gradients are summed at once
                if layer == 0:
                    layer_step_backward(cell, streams, h_first, h_vectors, H, T, 0, slab0, row * ld0, ld0,
                                        strips, at, a_row, a_block, G, 0, C)  # fmt: skip
                    if t % group == 0:
                        layer_weight_gradients(strip, h_first, h_vectors, x_first, x_vectors, H, n_x, n_x,
                                               D, wh0, wx0, bias0, slab0, row * ld0, ld0, state,
                                               strips, at, a_row, a_block, rows)  # fmt: skip
                else:
                    w, i = whT + (layer - 1) * (whT + wxT), (layer - 1) * stride
                    slab = (layer - 1) * slab1_size + row * ld1
                    layer_step_backward(cell, streams, h_first, h_vectors, H, T, w, slab1, slab, ld1,
                                        strips, at, a_row, a_block, G, 0, C)  # fmt: skip
                    if t % group == 0:
                        layer_weight_gradients(strip, h_first, h_vectors, x_first, x_vectors, H, H, H,
                                               D, wh1 + i, wx1 + i, bias1 + i, slab1, slab, ld1, state,
                                               strips, at, a_row, a_block, rows)  # fmt: skip
                        layer_inputs_backward(rows, x_first, x_vectors, H, H, T, w + whT, strips, at, a_row, a_block,
                                              dtop, ((layer - 1) * room * batch + row) * H)  # fmt: skip

    return chunk
