"""The stages of the observe kernel, in the order in which an event goes through them; observe.py is their loop.

A row of the table begins at `w` of the counters, `d` of the statistics and `at` of the hidden state.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.anomaly import N_RULES, judge
from forecaster.ensemble.combine import order, pool_adopt, pool_forget, pool_keep, pool_mix
from forecaster.ensemble.prior import learn_prior, young_unit
from forecaster.ensemble.trend import JUMP, NO_JUMP, REPLACED, trend_ahead, trend_follow, trend_replace, trend_rescale
from forecaster.ensemble.update import pool_learn, pool_recall
from forecaster.features.anchor import move_anchor, next_anchor
from forecaster.features.counters import ADOPTED, BEFORE_TS, INTERVAL, LAST_TS, MODEL, OBSERVED, STEP_TS, STEPS
from forecaster.features.head_inputs import horizon_features
from forecaster.features.interval import DUPLICATE, NEW_INTERVAL, REOPENED, SAME, place_event, replace_value
from forecaster.features.known_future import follow_future, future_features
from forecaster.features.outliers import (
    YOUNG_VALUES,
    bounded_value,
    contradicts,
    count_extremes,
    is_extreme,
    screen,
    screen_young,
    spread_of,
    stand_in,
)
from forecaster.features.step_inputs import (
    LAST,
    LEVEL,
    SCALE,
    inverse_scale,
    observe_value,
    scale_covariates,
    step_features,
)
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block, HeadInputs, Ring, Rows
from forecaster.kernels.simd import fma, load, maximum, minimum, prefetch, splat, store
from forecaster.layout import WARM_STEPS
from forecaster.network.decoder_head import decoder_forward
from forecaster.network.direct_head import direct_forward
from forecaster.network.layer import LayerWeights, Slab, Strips, layer_step
from forecaster.network.quantile_output import HeadLayout
from forecaster.observe_buffers import Answers, Events, ObserveLayout, TableRows

UNKNOWN = 5  # batch.Status, as a literal
LARGEST = 3.4028234663852886e38  # of float32


@inlined
def prefetch_row(table: TableRows, row: int) -> None:
    """Asks for a row that will be wanted soon."""
    for v in range(0, table.hidden_row, 16):
        prefetch(table.hidden, row * table.hidden_row + v)
    prefetch(table.counters, row * table.counters_row)
    prefetch(table.counters, (row + 1) * table.counters_row - 1)
    prefetch(table.stats, row * table.stats_row)


# ---- 2 time


@inlined
def take_time(
    sizes: ObserveLayout, table: TableRows, events: Events, answers: Answers, i: int, row: int
) -> tuple[int, int, float, int]:
    """What event `i` is: docs/model.md, "Time", and features/interval.py.

    A duplicate or late event is answered at once. What was forecast for other times is forgotten.

    Returns:
        STEP, SAME, DUPLICATE or LATE; missing steps before it; its time gap behind them, in intervals; the time of the
        newest step before it.
    """
    whole, hidden, ts = table.counters, table.hidden, events.ts
    w, at = row * table.counters_row, row * table.hidden_row
    kind = missing = note = other = 0
    steps = whole[w + STEPS]
    gap, step_ts = 1.0, whole[w + STEP_TS]
    length = whole[w + INTERVAL]
    if steps > 0:
        kind, missing, gap, note, other = place_event(sizes.learns, whole, w, ts[i])
    else:
        whole[w + STEP_TS] = whole[w + LAST_TS] = ts[i]
    interval = whole[w + INTERVAL]
    answers.notes[i], answers.noted[i] = note, other
    answers.interval[i] = interval
    if kind >= DUPLICATE:  # or late: in both lists of literals
        numbers = sizes.head.horizon * sizes.head.n_q
        answers.status[i] = kind
        for j in range(i * numbers, (i + 1) * numbers):
            answers.quantiles[j] = np.nan
        answers.steps[i] = steps
        return kind, missing, gap, step_ts
    if note & (NEW_INTERVAL | REOPENED) != 0:  # what was forecast for steps of another length, or elsewhere
        if note & REOPENED != 0:
            step_ts = whole[w + BEFORE_TS]
        hidden[at + sizes.row.judged] = np.nan
        if sizes.ensemble.members > 0:
            for k in range(sizes.head.horizon):
                pool_forget(sizes.ensemble.tracked, hidden, at + sizes.row.ensemble, k)
            if length > 0:
                trend = at + sizes.row.ensemble + sizes.ensemble.trend
                trend_rescale(sizes.ensemble.tracked, hidden, trend, interval / length)
    if missing > 0:  # what was forecast for the step before is not about this event
        hidden[at + sizes.row.judged] = np.nan
    return kind, missing, gap, step_ts


@inlined
def clear_state(sizes: ObserveLayout, hidden: Any, at: int) -> None:
    """The hidden state of a row starts anew."""
    for v in range(0, sizes.row.states, 16):
        store(hidden, at + v, splat(hidden, 0.0))


@inlined
def renew(
    sizes: ObserveLayout, table: TableRows, row: int, kind: int, missing: int, model: int
) -> tuple[int, int, int]:
    """New weights clear the hidden state, and so does a long gap, whose steps are skipped: docs/model.md, "Time".

    Returns:
        Steps that the row has; missing steps that are still to be taken; steps that are to be re-encoded from its ring.
    """
    whole, hidden = table.counters, table.hidden
    w, at = row * table.counters_row, row * table.hidden_row
    y, cov_ring, covariates = at + sizes.row.ring, at + sizes.row.covariates, sizes.features.covariates
    steps, before = whole[w + STEPS], 0
    if whole[w + MODEL] != model:
        whole[w + MODEL] = model
        whole[w + ADOPTED] = steps - 1 if kind == SAME else steps
        if sizes.ensemble.members > 0 and steps > 0:
            pool_adopt(sizes.ensemble, hidden, at + sizes.row.ensemble)
        clear_state(sizes, hidden, at)
        before = min(steps, WARM_STEPS)
    if missing > sizes.max_gap:
        clear_state(sizes, hidden, at)
        for k in range(min(missing, sizes.row.length)):
            hidden[y + (steps + missing - 1 - k) % sizes.row.length] = np.nan
        for k in range(min(missing, WARM_STEPS) * covariates):
            place = ((steps + missing - 1) % WARM_STEPS) * covariates + covariates - 1 - k
            hidden[cov_ring + place % (WARM_STEPS * covariates)] = np.nan
        if sizes.ensemble.members > 0:
            horizon = sizes.head.horizon
            for k in range(horizon):
                pool_forget(sizes.ensemble.tracked, hidden, at + sizes.row.ensemble, steps + missing - 1 - k + horizon)
        steps += missing
        missing = 0
        before = 0
    return steps, missing, before


@inlined
def miss_step(sizes: ObserveLayout, table: TableRows, row: int, step: int) -> None:
    """Takes in a step without a value and without a forecast."""
    hidden, at, covariates = table.hidden, row * table.hidden_row, sizes.features.covariates
    hidden[at + sizes.row.ring + step % sizes.row.length] = np.nan
    if sizes.ensemble.members > 0:
        pool_forget(sizes.ensemble.tracked, hidden, at + sizes.row.ensemble, step)
    for v in range(covariates):
        hidden[at + sizes.row.covariates + (step % WARM_STEPS) * covariates + v] = np.nan


@inlined
def replace_newest(
    sizes: ObserveLayout, table: TableRows, answers: Answers, i: int, row: int, steps: int, value: float
) -> None:
    """A further event of the newest step replaces its value: docs/model.md, "Time". `value` may be missing."""
    whole, stats, hidden = table.counters, table.stats, table.hidden
    w, d, at = row * table.counters_row, row * table.stats_row, row * table.hidden_row
    y, trend, anchor = at + sizes.row.ring, at + sizes.row.ensemble + sizes.ensemble.trend, stats[d + sizes.row.anchor]
    place = y + (steps - 1) % sizes.row.length
    fresh, seen = np.float64(np.float32(value - anchor)), whole[w + OBSERVED]
    if abs(value) <= LARGEST and not contradicts(fresh, hidden[place], stats[d + SCALE], seen):
        if sizes.ensemble.members > 0 and math.isnan(hidden[place]):
            trend_follow(sizes.ensemble.tracked, sizes.row.length, hidden, trend, y, steps - 1, fresh, stats, d,
                         NO_JUMP, seen)  # fmt: skip
        elif sizes.ensemble.members > 0:
            more = fresh - np.float64(hidden[place])
            trend_replace(sizes.ensemble.tracked, hidden, trend, more, seen)
        replace_value(fresh, hidden, place, whole, w, stats, d, sizes.level_rate, sizes.scale_rate)
    answers.robust[i] = stats[d + sizes.row.anchor] + np.float64(hidden[place])


# ---- 3 features


@inlined
def take_value(
    sizes: ObserveLayout, W: Any, S: Any, table: TableRows, answers: Answers, rule: Any, prior: Any,
    i: int, row: int, value: float, ts: int, steps: int,
) -> bool:  # fmt: skip
    """The value of a new step goes into anchor, statistics, ring and trend of the row.

    Before that it is scored (docs/model.md, "Judge") and replaced if it is an outlier ("Outliers"), and its ensemble
    recalls what its members had forecast for it ("Pool").

    Returns:
        Whether the ensemble learns from it.
    """
    whole, stats, hidden, ensemble = table.counters, table.stats, table.hidden, sizes.ensemble
    w, d, at = row * table.counters_row, row * table.stats_row, row * table.hidden_row
    y, judged, slots, pool = (
        at + sizes.row.ring, at + sizes.row.judged, at + sizes.row.slots, at + sizes.row.ensemble,
    )  # fmt: skip
    R, Q, anchor_at = sizes.row.length, sizes.head.n_q, d + sizes.row.anchor
    members, horizon = ensemble.members, sizes.head.horizon if ensemble.members > 0 else 0
    ring, statistics = Ring(hidden, y, R, steps), Block(stats, d)
    seen = whole[w + OBSERVED]
    y_now: Any = np.float64(np.float32(value - stats[anchor_at]))
    # anomaly.py: the level of the value in its forecast
    judge(Q, Block(W, ensemble.levels), Block(hidden, judged), y_now, stats[d + SCALE], seen, ts, rule, answers.anomaly,
          answers.flagged, i)  # fmt: skip
    # outliers.py: is it extreme, and what stands in for it
    replaced, extreme = False, False
    center: Any = np.float64(hidden[judged + ensemble.median])
    if seen >= YOUNG_VALUES:
        spread, level, scale = spread_of(Q, W, ensemble.normal), stats[d + LEVEL], stats[d + SCALE]
        center = stand_in(center, level, scale, stats[d + LAST])
        extreme = is_extreme(Q, spread, hidden, judged, y_now, level, scale)
        usual = count_extremes(hidden, slots, y, R, steps, y_now, center, extreme, seen)
        if extreme:
            replaced = screen(sizes.features.seasons, R, hidden, slots, y, steps, y_now, center, usual, stats, d)
    # anchor.py
    if not replaced:
        anchor = next_anchor(value, stats[anchor_at], stats[d + SCALE], seen)
        if anchor != stats[anchor_at]:
            at_level = stats[d + LEVEL] == y_now
            move_anchor(R, Q, horizon, hidden, y, judged, slots, pool, stats, d, anchor - stats[anchor_at])
            stats[anchor_at] = anchor
            y_now = np.float64(np.float32(value - anchor))
            if at_level:  # to the last digit
                stats[d + LEVEL] = y_now
    learnt: Any = y_now
    if seen < YOUNG_VALUES:
        replaced = screen_young(horizon, ring, slots, pool, y_now, stats[anchor_at], statistics,
                                Block(S, sizes.scratch.young))  # fmt: skip
        y_now = np.float64(hidden[y + steps % R])
        learns_from = not replaced
    else:
        learns_from = not (replaced and math.isnan(hidden[judged]))
        if replaced:
            if learns_from:
                learnt = bounded_value(Q, spread_of(Q, W, ensemble.normal), hidden, judged, y_now, stats[d + SCALE])
            y_now = center
    # update.py: what its members had forecast for it, before the ring takes it in
    if members > 0 and learns_from:
        pool_recall(ensemble, sizes.features.seasons, ring, pool, whole[w + ADOPTED], learnt, S, sizes.scratch.learn)
    if seen >= YOUNG_VALUES:
        hidden[y + steps % R] = y_now
    if members > 0:
        jump = REPLACED if replaced else (JUMP if extreme else NO_JUMP)
        trend_follow(ensemble.tracked, R, hidden, pool + ensemble.trend, y, steps, y_now, stats, d, jump, seen)
    # step_inputs.py: level, scale and last value
    if seen >= YOUNG_VALUES:
        observe_value(y_now, seen, stats, d, sizes.level_rate, sizes.scale_rate)
    answers.robust[i] = stats[anchor_at] + y_now
    whole[w + OBSERVED] = seen + 1
    if seen + 1 == YOUNG_VALUES:
        learn_prior(prior, stats, d, stats[anchor_at])
    return learns_from


@inlined
def take_covariates(sizes: ObserveLayout, table: TableRows, events: Events, i: int, row: int, steps: int) -> None:
    """Covariates of a new step, and what the event says of those ahead, follow their own level and scale."""
    features, d = sizes.features, row * table.stats_row
    place = row * table.hidden_row + sizes.row.covariates + (steps % WARM_STEPS) * features.covariates
    scale_covariates(features.covariates, events.cov, i * features.covariates, table.stats, d, table.hidden, place,
                     steps + 1, sizes.level_rate)  # fmt: skip
    follow_future(features.futures, features.horizon, events.known, i * features.futures * features.horizon,
                  table.stats, d + sizes.row.future, max(1.0 / (steps + 1), sizes.level_rate))  # fmt: skip


@inlined
def see_step(
    sizes: ObserveLayout, S: Any, table: TableRows, calendar_table: Any, row: int, step: int, ts: int, gap: float,
    place: int,
) -> None:  # fmt: skip
    """The inputs of a step of a row, to a place of the tile: docs/model.md, "Inputs", and step_inputs.py."""
    features, at = sizes.features, row * table.hidden_row
    state, ring = sizes.row.state, Ring(table.hidden, at + sizes.row.ring, sizes.row.length, step)
    cov = at + sizes.row.covariates + (step % WARM_STEPS) * features.covariates
    step_features(features.seasons, features.calendar, features.covariates, ring,
                  Block(table.stats, row * table.stats_row), calendar_table, ts, gap, Block(table.hidden, cov),
                  Block(S, sizes.scratch.slab0 + place * (state + sizes.stack.n_x) + state))  # fmt: skip


@inlined
def note_unit(
    sizes: ObserveLayout, table: TableRows, answers: Answers, prior: Any, units: Any, i: int, row: int, place: int
) -> None:
    """Whether a forecast from event `i` is possible, and whether it is the prior's: see prior.py."""
    d = row * table.stats_row
    anchor, observed = table.stats[d + sizes.row.anchor], table.counters[row * table.counters_row + OBSERVED]
    unit = young_unit(prior, table.stats, d, anchor, observed)
    units[place] = unit
    if math.isnan(unit):
        answers.status[i] = UNKNOWN


# ---- 4 network


@inlined
def network(sizes: ObserveLayout, rows: int, W: Any, S: Any, table: TableRows, tile_rows: Any, first: int) -> None:
    """One step of the stack for `rows` places of the tile from `first` on, whose inputs stand in the slab of layer 0.

    docs/model.md, "Network", and the equations of the cell's file.
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
    """The head of the layout; `decoder` is a literal, so that the other one is not compiled."""
    if decoder == 1:
        decoder_forward(head, W, given, shared, inputs, z, s, q)
    else:
        direct_forward(head, W, given, shared, inputs, z, s, q)


@inlined
def forecast(
    sizes: ObserveLayout, W: Any, S: Any, table: TableRows, events: Events, event: int, row: int, place: int
) -> None:
    """The network's quantiles of every horizon, in units of scale around the last value: docs/model.md, "Head"."""
    features, scratch, head = sizes.features, sizes.scratch, sizes.head
    w, d, at = row * table.counters_row, row * table.stats_row, row * table.hidden_row
    inputs = HeadInputs(S, scratch.f, scratch.f + features.target, features.row)
    ring = Ring(table.hidden, at + sizes.row.ring, sizes.row.length, table.counters[w + STEPS] - 1)
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
    """The calibrated mixture of network and experts takes the place of the network's quantiles: docs/model.md, "Pool".

    Forecasts of the network and of the trend are kept until their targets arrive.
    """
    ensemble, scratch, features, hidden = sizes.ensemble, sizes.scratch, sizes.features, table.hidden
    w, d = row * table.counters_row, row * table.stats_row
    pool = row * table.hidden_row + sizes.row.ensemble
    ref, scale = table.stats[d + LAST], table.stats[d + SCALE]
    steps = table.counters[w + STEPS]
    trend_ahead(ensemble.tracked, hidden, pool + ensemble.trend, inverse_scale(scale), S, scratch.ahead)
    if table.counters[w + OBSERVED] > 0:
        pool_keep(ensemble, hidden, pool, steps - 1, S, scratch.q, scratch.ahead, ref, scale)
    else:  # nothing was known yet, not even a level: not a forecast to be judged by
        pool_forget(ensemble.tracked, hidden, pool, steps - 1)
    inputs = HeadInputs(S, scratch.f, scratch.f + features.target, features.row)
    pool_mix(ensemble, W, hidden, pool, steps, S, scratch.q, scratch.ahead, inputs, scratch.mix)
    order(ensemble, W, S, scratch.q)


@inlined
def learn(sizes: ObserveLayout, W: Any, S: Any, table: TableRows, row: int, steps: int) -> None:
    """The members are scored by the value of a new step, and their offsets move: docs/model.md, "Pool"."""
    pool = row * table.hidden_row + sizes.row.ensemble
    scale = table.stats[row * table.stats_row + SCALE]
    pool_learn(sizes.ensemble, W, table.hidden, pool, steps, scale, S, sizes.scratch.learn)


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
        head: literals.
        S, q: quantiles (horizon, 16*QV) in units of scale, overwritten.
        ref, scale, anchor: of the series.
        rule: behind the rules of anomaly.py the limits, numbers that float32 holds.
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
def answer(
    sizes: ObserveLayout, W: Any, S: Any, table: TableRows, quantiles: Any, rule: Any, event: int, row: int, unit: float
) -> None:
    """The quantiles in the units of the data, and those of the next step where the row is judged by them."""
    head, q = sizes.head, sizes.scratch.q
    d, judged = row * table.stats_row, row * table.hidden_row + sizes.row.judged
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
        table.hidden[judged + j] = quantiles[out + j] - anchor
