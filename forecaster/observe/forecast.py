"""The stages of the observe kernel after the features of a row: network, head, ensemble, and output.

A row of the table begins at `w` of the counters, `d` of the statistics and `at` of the hidden state.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.anomaly import N_RULES
from forecaster.ensemble.combine import combine_members, forget_points, order, store_points
from forecaster.ensemble.trend import trend_ahead
from forecaster.features.counters import OBSERVED, STEPS
from forecaster.features.head_inputs import horizon_features
from forecaster.features.known_future import future_features
from forecaster.features.step_inputs import (
    LAST,
    SCALE,
    inverse_scale,
)
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block, HeadInputs, Rows
from forecaster.kernels.simd import fma, load, maximum, minimum, splat, store
from forecaster.network.decoder_head import decoder_forward
from forecaster.network.direct_head import direct_forward
from forecaster.network.layer import LayerWeights, Slab, Strips, layer_step
from forecaster.network.quantile_output import HeadLayout
from forecaster.observe.buffers import Events, ObserveLayout, TableRows, ring_of

LARGEST = 3.4028234663852886e38  # of float32


# ---- 4 network


@inlined
def network(sizes: ObserveLayout, rows: int, W: Any, S: Any, table: TableRows, tile_rows: Any, first: int) -> None:
    """Computes one step of the stack for `rows` places of the tile from `first` on; slab 0 holds their inputs.

    docs/model.md, "Network", and the cell's file have the equations.
    """
    stack, scratch, hidden, hidden_row = sizes.stack, sizes.scratch, table.hidden, table.hidden_row
    layers, H, n_x, state = stack.layers, stack.H, stack.n_x, sizes.row.state
    ld0, ld1 = state + n_x, state + H
    strips, new = Strips(S, scratch.strips, stack.gates.strip * 16, 0), Rows(S, scratch.new, H)
    for layer in range(layers):
        slab = scratch.slab0 + first * ld0 if layer == 0 else scratch.slab1 + first * ld1
        ld = ld0 if layer == 0 else ld1
        for r in range(rows):
            row = tile_rows[first + r] * hidden_row + layer * state
            for v in range(0, state, 16):
                store(S, slab + r * ld + v, load(hidden, row + v))
        if layer == 0:
            layer_step(stack.gates, rows, H, n_x, LayerWeights(W, stack.wh0, stack.wx0, stack.bias0),
                       Slab(S, slab, ld0, state), strips, new)  # fmt: skip
        else:
            at = (layer - 1) * stack.stride
            layer_step(stack.gates, rows, H, H, LayerWeights(W, stack.wh1 + at, stack.wx1 + at, stack.bias1 + at),
                       Slab(S, slab, ld1, state), strips, new)  # fmt: skip
        for r in range(rows):
            row = tile_rows[first + r] * hidden_row + layer * state
            for v in range(0, H, 16):
                h = load(S, scratch.new + r * H + v)
                store(hidden, row + v, h)
                store(S, scratch.top + (first + r) * H + v, h)
                if layer + 1 < layers:
                    store(S, scratch.slab1 + (first + r) * ld1 + state + v, h)
            for v in range(H, state, 16):
                store(hidden, row + v, load(S, slab + r * ld + v))
    if layers == 0:
        for r in range(rows):
            for v in range(n_x):
                S[scratch.top + (first + r) * n_x + v] = S[scratch.slab0 + (first + r) * ld0 + v]


# ---- 5 head


@inlined
def head_forward(
    decoder: int, head: HeadLayout, W: Any, given: Block, shared: Block, inputs: HeadInputs, z: Block, s: Block,
    q: Block,
) -> None:  # fmt: skip
    """Computes the head of the layout; `decoder` is a literal, so that the unused head is not compiled."""
    if decoder == 1:
        decoder_forward(head, W, given, shared, inputs, z, s, q)
    else:
        direct_forward(head, W, given, shared, inputs, z, s, q)


@inlined
def forecast(
    sizes: ObserveLayout, W: Any, S: Any, table: TableRows, events: Events, event: int, row: int, place: int
) -> None:
    """Computes the network's quantiles of every horizon, in units of scale around ref: docs/model.md, "Head"."""
    features, scratch, head = sizes.features, sizes.scratch, sizes.head
    w, d = row * table.counters_row, row * table.stats_row
    inputs = HeadInputs(S, scratch.f, scratch.f + features.target, features.row)
    ring = ring_of(sizes, table, row, table.counters[w + STEPS] - 1)
    horizon_features(features.seasons, features.horizon, ring, Block(table.stats, d), Block(W, features.fading), inputs,
                     scratch.f + features.past)  # fmt: skip
    future_features(features.futures, features.horizon, events.known, event * features.futures * features.horizon, 0,
                    table.stats, d + sizes.row.future, S, scratch.f + features.known, features.row)  # fmt: skip
    Z = head.z_vectors * 16
    head_forward(head.decoder, head, W, Block(S, scratch.given), Block(S, scratch.shared + place * Z), inputs,
                 Block(S, scratch.z + Z), Block(S, scratch.s), Block(S, scratch.q))  # fmt: skip


# ---- 6 ensemble


@inlined
def mix(sizes: ObserveLayout, W: Any, S: Any, table: TableRows, row: int) -> None:
    """Replaces the network's quantiles by the calibrated mixture of network and experts.

    See docs/model.md, "Ensemble and calibration". Forecasts of the network and of the trend are stored until their
    targets arrive.
    """
    ensemble, scratch, features, hidden = sizes.ensemble, sizes.scratch, sizes.features, table.hidden
    w, d = row * table.counters_row, row * table.stats_row
    ensemble_at = row * table.hidden_row + sizes.row.ensemble
    ref, scale = table.stats[d + LAST], table.stats[d + SCALE]
    steps = table.counters[w + STEPS]
    trend_ahead(ensemble.tracked, hidden, ensemble_at + ensemble.trend, inverse_scale(scale), S, scratch.ahead)
    if table.counters[w + OBSERVED] > 0:
        store_points(ensemble, hidden, ensemble_at, steps - 1, S, scratch.q, scratch.ahead, ref, scale)
    else:  # the series has no level yet, so there is no forecast to score
        forget_points(ensemble.tracked, hidden, ensemble_at, steps - 1)
    inputs = HeadInputs(S, scratch.f, scratch.f + features.target, features.row)
    combine_members(ensemble, W, hidden, ensemble_at, steps, S, scratch.q, scratch.ahead, inputs, scratch.mix)
    order(ensemble, W, S, scratch.q)


# ---- 7 out


@inlined
def prior_quantiles(head: HeadLayout, W: Any, normal: int, S: Any, q: int) -> None:
    """Overwrites quantiles (horizon, 16*QV) in S[q:] by those of a normal distribution that widens with sqrt(h)."""
    for h in range(head.horizon):
        for j in range(head.n_q):
            S[q + h * head.q_vectors * 16 + j] = W[normal + j] * math.sqrt(h + 1.0)


@inlined
def write_quantiles(
    head: HeadLayout, S: Any, q: int, ref: float, scale: float, anchor: float, rule: Any, out: Any, at: int
) -> None:
    """Writes anchor + ref + scale * quantiles, within the limits, without the padding: docs/model.md, "Limits".

    Args:
        head: sizes.
        S, q: quantiles (horizon, 16*QV) in units of scale, overwritten.
        ref, scale, anchor: of the series.
        rule: the rules of anomaly.py, followed by the lower and the upper limit, which float32 can hold.
        out, at: output (horizon, Q).
    """
    QV, Q = head.q_vectors, head.n_q
    times = min(scale, LARGEST)
    low, high = rule[N_RULES], rule[N_RULES + 1]
    for h in range(head.horizon):
        for v in range(QV):
            place = q + (h * QV + v) * 16
            value = fma(load(S, place), splat(S, times), splat(S, ref))
            store(S, place, minimum(maximum(value, -LARGEST), LARGEST))
    for h in range(head.horizon):
        for j in range(Q):
            out[at + h * Q + j] = min(max(anchor + np.float64(S[q + h * QV * 16 + j]), low), high)


@inlined
def write_forecast(
    sizes: ObserveLayout, W: Any, S: Any, table: TableRows, quantiles: Any, rule: Any, event: int, row: int, unit: float
) -> None:
    """Writes the quantiles in the units of the data, and stores those of the next step for its anomaly score."""
    head, q = sizes.head, sizes.scratch.q
    d, one_step = row * table.stats_row, row * table.hidden_row + sizes.row.one_step
    ref, scale, anchor = table.stats[d + LAST], table.stats[d + SCALE], table.stats[d + sizes.row.anchor]
    out = event * head.horizon * head.n_q
    if math.isnan(unit):
        for j in range(out, out + head.horizon * head.n_q):
            quantiles[j] = np.nan
    else:
        if unit > 0.0:
            prior_quantiles(head, W, sizes.ensemble.normal, S, q)
            scale = unit
        write_quantiles(head, S, q, ref, scale, anchor, rule, quantiles, out)
    for j in range(head.n_q):
        table.hidden[one_step + j] = quantiles[out + j] - anchor
