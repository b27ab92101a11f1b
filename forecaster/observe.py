"""The fused per-event kernel: everything an event causes, one compiled call per batch.

    for every event, in order:
        1 rows      a second event of a series that is in the tile: first finish the tile
        2 time      which step it belongs to                           interval.py
                    duplicate or late: no step.  New weights: re-encode the row's own ring.
                    A gap: missing steps, or a restart of the hidden state.  Another event of the newest step: its
                    value replaces that of the step, and the state of the network stays as it is
        3 features  outliers are replaced, anchor, statistics, ring    outliers.py, anchor.py
                    inputs of the network                              step_inputs.py
        4 network   a tile of events at once, each of another series   cells/
        5 head      its inputs, quantiles of all horizons              head_inputs.py, heads/
        6 out       anchor + ref + scale * quantiles, finite           prior.py where there is no scale
        3 before: the value is judged by what was forecast for it      anomaly.py
        3 to 5 with the pool: forecasts that matured are scored (update.py), and the new one is mixed (combine.py)

The kernel allocates nothing: scratch and outputs are given. Its sizes are literals; each set of sizes is compiled
once and cached on disk.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.anomaly import N_JUDGE, N_RULES, judge, judge_floats
from forecaster.ensemble.combine import mix_floats, order, pool_adopt, pool_forget, pool_keep, pool_mix
from forecaster.ensemble.prior import learn_prior, young_unit
from forecaster.ensemble.trend import JUMP, NO_JUMP, REPLACED, trend_ahead, trend_follow, trend_replace, trend_rescale
from forecaster.ensemble.update import learn_floats, pool_learn, pool_recall
from forecaster.features.anchor import move_anchor, next_anchor
from forecaster.features.counters import ADOPTED, BEFORE_TS, EVENT, INTERVAL, LAST_TS, MODEL, OBSERVED, STEP_TS, STEPS
from forecaster.features.head_inputs import date_features, horizon_features
from forecaster.features.interval import DUPLICATE, NEW_INTERVAL, REOPENED, SAME, is_near, place_event, replace_value
from forecaster.features.known_future import follow_future, future_features
from forecaster.features.outliers import (
    YOUNG_FLOATS,
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
    N_STATISTICS,
    SCALE,
    inverse_scale,
    observe_value,
    scale_covariates,
    step_features,
)
from forecaster.kernels.buffers import buffer
from forecaster.kernels.jit import TILE, inlined, kernel
from forecaster.kernels.simd import fma, load, maximum, minimum, prefetch, splat, store
from forecaster.layout import (
    WARM_STEPS,
    Layout,
    calendar_code,
    cell_code,
    fading_offset,
    head_offsets,
    layer_offsets,
    layer_stride,
    pool_offsets,
)
from forecaster.network.decoder_head import decoder_forward
from forecaster.network.direct_head import direct_forward, direct_shared
from forecaster.network.layer import layer_step
from forecaster.network.quantile_output import give

OK, IS_MISSING, UNKNOWN = 0, 1, 5  # batch.Status, as literals
LARGEST = 3.4028234663852886e38  # of float32
MACRO_TILE = 4 * TILE  # events that go through the network together: its weights push all else out of the nearest cache


def rates(layout: Layout) -> tuple[float, float]:
    """Smallest learning rates of level and scale: they remember one and two of the longest seasons."""
    longest = max(layout.config.seasons, default=0)
    return 1.0 / max(32, longest), 1.0 / max(128, 2 * longest)


@inlined
def write_quantiles(
    QV: int, Q: int, horizon: int, S: Any, q: int, ref: float, scale: float, anchor: float, rule: Any, out: Any, at: int
) -> None:
    """Writes anchor + ref + scale * quantiles, within the limits, without the padding.

    Args:
        QV, Q, horizon: literals.
        S, q: quantiles (horizon, 16*QV) in units of scale, overwritten.
        ref, scale, anchor: of the series.
        rule: behind the rules of anomaly.py the limits, numbers that float32 holds.
        out, at: output (horizon, Q).
    """
    times = min(scale, LARGEST)
    low, high = rule[N_RULES], rule[N_RULES + 1]
    for h in range(horizon):
        for v in range(QV):
            place = q + (h * QV + v) * 16
            value = fma(load(S, place), splat(S, times), splat(S, ref))
            store(S, place, minimum(maximum(value, -LARGEST), LARGEST))
    for h in range(horizon):
        for j in range(Q):
            out[at + h * Q + j] = min(max(anchor + np.float64(S[q + h * QV * 16 + j]), low), high)


@inlined
def prior_quantiles(QV: int, Q: int, horizon: int, W: Any, normal: int, S: Any, q: int) -> None:
    """Overwrites quantiles (horizon, 16*QV) in S[q:] by those of a normal distribution that widens with sqrt(h)."""
    for h in range(horizon):
        for j in range(Q):
            S[q + h * QV * 16 + j] = W[normal + j] * math.sqrt(h + 1.0)


def scratch_floats(layout: Layout) -> int:
    """Length of the scratch buffer of the observe kernel."""
    return _scratch(layout)[-1]


def _scratch(layout: Layout) -> tuple[int, ...]:
    """Offsets in the scratch buffer, and its length.

    Slabs of layer 0 and 1, strips, new h, top, f, given, A t, z, s, q, mix, learn, first values of a row,
    what its trend says.
    """
    state = layout.states * layout.hidden
    q = 16 * layout.q_vectors
    horizon = layout.config.horizon
    sizes = [
        MACRO_TILE * (state + layout.n_x),
        MACRO_TILE * (state + layout.hidden),
        MACRO_TILE * layout.strip * 16,
        MACRO_TILE * layout.hidden,
        MACRO_TILE * max(layout.n_top, 1),
        layout.feature_floats,
        layout.given_floats,
        MACRO_TILE * layout.config.head_size,
        layout.z_floats,
        horizon * q,
        horizon * q,
        mix_floats(layout.pool, q),
        learn_floats(layout.pool, q),
        YOUNG_FLOATS,
        32,
    ]
    at, offsets = 0, []
    for size in sizes:
        offsets.append(at)
        at += -(-size // 16) * 16
    return (*offsets, at)


def observe_kernel(layout: Layout) -> Callable[..., None]:
    """The compiled kernel for a shape; see `observe` inside for its arguments. One per set of sizes."""
    c = layout.config
    return _build(
        cell_code(c), layout.layers, layout.hidden, layout.n_x, layout.head_columns, layout.moment_floats,
        layout.target_row, layout.n_top, layout.strip, layout.h_first, layout.h_vectors, layout.x_first,
        layout.x_vectors, layout.states,
        layout.z_vectors, layout.q_vectors, layout.n_q, layout.ring, layout.state_floats, c.horizon, c.seasons,
        calendar_code(c), len(c.covariates), c.max_gap, int(c.interval_ms == 0), rates(layout), _scratch(layout),
        head_offsets(layout), layer_offsets(layout), layer_stride(layout), layout.pool.members, layout.pool.tracked,
        layout.pool.places, pool_offsets(layout), fading_offset(layout), c.quantiles.index(0.5),
        len(c.future_covariates), c.head == "decoder",
    )  # fmt: skip


@functools.lru_cache(maxsize=32)
def _build(
    cell: int, layers: int, H: int, n_x: int, columns: tuple[int, int, int, int], moment_floats: int, target_row: int,
    n_top: int, strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, states: int,
    ZV: int, QV: int, Q: int, R: int, state_floats: int, horizon: int, seasons: tuple[int, ...], calendar: int,
    covariates: int, max_gap: int, learns: int, rate: tuple[float, float], scratch: tuple[int, ...],
    head: tuple[int, ...], layer_at: tuple[int, ...], stride: int, members: int, tracked: tuple[int, ...],
    pool_at: tuple[int, ...], consts: tuple[int, ...], fading: int, median: int, futures: int,
    decoder: bool,  # noqa: FBT001 - a literal like the others
) -> Callable[..., None]:  # fmt: skip
    (
        slab0,
        slab1,
        strips,
        new,
        tops,
        f_at,
        given_at,
        shared_at,
        z_at,
        s_at,
        q_at,
        mix_at,
        learn_at,
        young_at,
        ahead_at,
        _,
    ) = scratch
    head_forward = decoder_forward if decoder else direct_forward
    wh0, wx0, bias0, wh1, wx1, bias1 = layer_at
    target_at = f_at + moment_floats
    known_at = target_at + (columns[2] - 2 * futures) * target_row
    date_at = target_at + columns[2] * target_row
    past_at = date_at + columns[3] * target_row
    steps_ahead = fading + target_row
    level_rate, scale_rate = rate
    state = states * H
    ld0, ld1 = state + n_x, state + H
    Z, QP = ZV * 16, QV * 16
    ring_at, cov_ring = state_floats, state_floats + R
    judged = cov_ring + WARM_STEPS * covariates
    slots = judged + Q + N_JUDGE
    pool = judged + judge_floats(Q)
    trend = pool + pool_at[3]
    anchor_at = N_STATISTICS + 2 * (covariates + futures)
    pending = horizon if members > 0 else 0
    future_at = N_STATISTICS + 2 * covariates
    tile, near, direct = MACRO_TILE, TILE, 0 if decoder else 1

    @inlined
    def network(rows: int, W: Any, S: Any, hidden: Any, hidden_row: int, tile_rows: Any, first: int) -> None:
        """One step of the stack for `rows` tile entries from `first` on, whose inputs stand in the slab of layer 0."""
        for layer in range(layers):
            slab = slab0 + first * ld0 if layer == 0 else slab1 + first * ld1
            ld = ld0 if layer == 0 else ld1
            for r in range(rows):
                row = tile_rows[first + r] * hidden_row + layer * state
                for v in range(0, state, 16):
                    store(S, slab + r * ld + v, load(hidden, row + v))
            if layer == 0:
                layer_step(cell, rows, strip, h_first, h_vectors, x_first, x_vectors, H, n_x, W, wh0, wx0, bias0,
                           S, slab, ld0, state, S, strips, strip * 16, 0, S, new, H)  # fmt: skip
            else:
                at = (layer - 1) * stride
                layer_step(cell, rows, strip, h_first, h_vectors, x_first, x_vectors, H, H, W, wh1 + at, wx1 + at,
                           bias1 + at, S, slab, ld1, state, S, strips, strip * 16, 0, S, new, H)  # fmt: skip
            for r in range(rows):
                row = tile_rows[first + r] * hidden_row + layer * state
                for v in range(0, H, 16):
                    h = load(S, new + r * H + v)
                    store(hidden, row + v, h)
                    store(S, tops + (first + r) * H + v, h)
                    if layer + 1 < layers:
                        store(S, slab1 + (first + r) * ld1 + state + v, h)
                for v in range(H, state, 16):
                    store(hidden, row + v, load(S, slab + r * ld + v))
        if layers == 0:
            for r in range(rows):
                for v in range(n_x):
                    S[tops + (first + r) * n_x + v] = S[slab0 + (first + r) * ld0 + v]

    @kernel
    def observe(
        W: Any, S: Any, hidden: Any, stats: Any, whole: Any, hidden_row: int, stats_row: int, whole_row: int,
        rows: Any, ts: Any, value: Any, cov: Any, told: Any, tile_rows: Any, tile_events: Any, first_event: int,
        model: int, status: Any, interval_out: Any, steps_out: Any, quantiles: Any, rule: Any, anomaly: Any,
        flagged: Any, robust: Any, prior: Any, tile_units: Any, calendar_table: Any, notes: Any, noted: Any,
    ) -> None:  # fmt: skip
        """Advances every event's row and forecasts from it.

        Args:
            W: parameters and constants of the head.
            S: scratch, overwritten.
            hidden, stats, whole: the table, flat, overwritten; rows hidden_row, stats_row, whole_row numbers apart.
            rows, ts, value: (n,) row, epoch ms and value of every event; a value that float32 cannot hold is missing.
            cov: (n*C,) covariates, or one number where C = 0.
            told: (n*F*horizon,) what every event says of the steps ahead, or one number where F = 0.
            tile_rows, tile_events: (MACRO_TILE,) int64 scratch.
            first_event: number of the first event in the stream, from 1.
            model: tag of the weights; rows with another one are re-encoded.
            status, interval_out, steps_out: (n,) outputs.
            quantiles: (n*horizon*Q,) output; nan for duplicate and late events.
            rule: when to flag, see anomaly.py; behind it the least and the greatest quantile.
            anomaly, flagged: (n,) outputs, nan and 0 where there is no score and no flag.
            robust: (n,) output, what the state took in as the value; nan where it is missing.
            prior: (3,) of prior.py, overwritten.
            tile_units: (MACRO_TILE,) float64 scratch.
            calendar_table: local time and holidays.
            notes, noted: (n,) outputs, see `place_event`.
        """
        n = rows.shape[0]
        i = 0
        dated = False  # whether the tables of place and date are those of the time and interval below
        date_ts = date_interval = 0
        while i < n:
            filled, alone = 0, False
            while i < n and filled < tile:
                row = rows[i]
                if i + near < n:  # the rows that come next are on their way meanwhile
                    ahead = rows[i + near] * hidden_row
                    for v in range(0, hidden_row, 16):
                        prefetch(hidden, ahead + v)
                    prefetch(whole, rows[i + near] * whole_row)
                    prefetch(whole, (rows[i + near] + 1) * whole_row - 1)
                    prefetch(stats, rows[i + near] * stats_row)
                clash = False
                for t in range(filled):
                    clash = clash or tile_rows[t] == row
                if clash:
                    break
                w, d, y = row * whole_row, row * stats_row, row * hidden_row + ring_at
                steps = whole[w + STEPS]
                if filled > 0 and steps > 0 and is_near(whole, w, ts[i]):
                    break  # it may be of the newest step: then it takes no step with the others
                whole[w + EVENT] = first_event + i
                anomaly[i] = np.nan
                flagged[i] = 0

                # 2 time: what the event is, steps to re-encode, then missing steps up to this event
                kind = missing = note = other = 0
                gap, step_ts = 1.0, whole[w + STEP_TS]
                length = whole[w + INTERVAL]
                if steps > 0:
                    kind, missing, gap, note, other = place_event(learns, whole, w, ts[i])
                else:
                    whole[w + STEP_TS] = whole[w + LAST_TS] = ts[i]
                interval = whole[w + INTERVAL]
                notes[i], noted[i] = note, other
                interval_out[i] = interval
                if kind >= DUPLICATE:  # or late: in both lists of literals
                    status[i] = kind
                    for j in range(i * horizon * Q, (i + 1) * horizon * Q):
                        quantiles[j] = np.nan
                    steps_out[i] = steps
                    i += 1
                    continue
                if note & (NEW_INTERVAL | REOPENED) != 0:  # what was forecast for steps of another length, or elsewhere
                    if note & REOPENED != 0:
                        step_ts = whole[w + BEFORE_TS]
                    hidden[row * hidden_row + judged] = np.nan
                    if members > 0:
                        for k in range(horizon):
                            pool_forget(tracked, hidden, row * hidden_row + pool, k)
                        if length > 0:
                            trend_rescale(tracked, hidden, row * hidden_row + trend, interval / length)
                if missing > 0:  # what was forecast for the step before is not about this event
                    hidden[row * hidden_row + judged] = np.nan
                before = 0
                if whole[w + MODEL] != model:
                    whole[w + MODEL] = model
                    whole[w + ADOPTED] = steps - 1 if kind == SAME else steps
                    if members > 0 and steps > 0:
                        pool_adopt(members, tracked, pool_at[2], hidden, row * hidden_row + pool)
                    for v in range(0, state_floats, 16):
                        store(hidden, row * hidden_row + v, splat(hidden, 0.0))
                    before = min(steps, WARM_STEPS)
                if missing > max_gap:
                    for v in range(0, state_floats, 16):
                        store(hidden, row * hidden_row + v, splat(hidden, 0.0))
                    for k in range(min(missing, R)):
                        hidden[y + (steps + missing - 1 - k) % R] = np.nan
                    for k in range(min(missing, WARM_STEPS) * covariates):
                        place = ((steps + missing - 1) % WARM_STEPS) * covariates + covariates - 1 - k
                        hidden[row * hidden_row + cov_ring + place % (WARM_STEPS * covariates)] = np.nan
                    if members > 0:
                        for k in range(horizon):
                            pool_forget(tracked, hidden, row * hidden_row + pool, steps + missing - 1 - k + horizon)
                    steps += missing
                    missing = 0
                    before = 0
                tile_rows[filled] = row
                is_missing = not abs(value[i]) <= LARGEST  # nan, infinite, or more than float32 holds
                status[i] = IS_MISSING if is_missing else OK
                if kind == SAME:
                    place = y + (steps - 1) % R
                    fresh, seen = np.float64(np.float32(value[i] - stats[d + anchor_at])), whole[w + OBSERVED]
                    if not is_missing and not contradicts(fresh, hidden[place], stats[d + SCALE], seen):
                        if members > 0 and math.isnan(hidden[place]):
                            trend_follow(tracked, R, hidden, row * hidden_row + trend, y, steps - 1, fresh, stats, d,
                                         NO_JUMP, seen)  # fmt: skip
                        elif members > 0:
                            more = fresh - np.float64(hidden[place])
                            trend_replace(tracked, hidden, row * hidden_row + trend, more, seen)
                        replace_value(fresh, hidden, place, whole, w, stats, d, level_rate, scale_rate)
                    robust[i] = stats[d + anchor_at] + np.float64(hidden[place])
                for k in range(before + missing):
                    step = steps - before + k
                    if k >= before:
                        hidden[y + step % R] = np.nan
                        if members > 0:
                            pool_forget(tracked, hidden, row * hidden_row + pool, step)
                        for v in range(covariates):
                            hidden[row * hidden_row + cov_ring + (step % WARM_STEPS) * covariates + v] = np.nan
                    step_features(seasons, calendar, covariates, hidden, y, R, step, stats, d, calendar_table,
                                  step_ts + (step - steps + 1) * interval, 1.0,
                                  hidden, row * hidden_row + cov_ring + (step % WARM_STEPS) * covariates,
                                  S, slab0 + filled * ld0 + state)  # fmt: skip
                    network(1, W, S, hidden, hidden_row, tile_rows, filled)
                steps += missing
                if kind == SAME:  # the state of the network is that of the step already; the head reads it as it is
                    alone = True
                    if layers == 0:
                        place = row * hidden_row + cov_ring + ((steps - 1) % WARM_STEPS) * covariates
                        step_features(seasons, calendar, covariates, hidden, y, R, steps - 1, stats, d,
                                      calendar_table, ts[i], 1.0, hidden, place, S, slab0 + state)  # fmt: skip
                        network(1, W, S, hidden, hidden_row, tile_rows, 0)
                    else:
                        for v in range(0, H, 16):
                            store(S, tops + v, load(hidden, row * hidden_row + (layers - 1) * state + v))
                    unit = young_unit(prior, stats, d, stats[d + anchor_at], whole[w + OBSERVED])
                    tile_units[0] = unit
                    if math.isnan(unit):
                        status[i] = UNKNOWN
                    steps_out[i] = steps
                    tile_events[0] = i
                    filled = 1
                    i += 1
                    break

                # 3 features of the event's own step
                learns_from = False
                if is_missing:
                    hidden[y + steps % R] = np.nan
                    robust[i] = np.nan
                else:
                    seen, at = whole[w + OBSERVED], row * hidden_row
                    y_now: Any = np.float64(np.float32(value[i] - stats[d + anchor_at]))
                    judge(Q, W, consts[0], hidden, at + judged, y_now, stats[d + SCALE], seen, ts[i], rule, anomaly,
                          flagged, i)  # fmt: skip
                    replaced, extreme = False, False
                    center: Any = np.float64(hidden[at + judged + median])
                    if seen >= YOUNG_VALUES:
                        spread, level, scale = spread_of(Q, W, consts[2]), stats[d + LEVEL], stats[d + SCALE]
                        center = stand_in(center, level, scale, stats[d + LAST])
                        extreme = is_extreme(Q, spread, hidden, at + judged, y_now, level, scale)
                        usual = count_extremes(hidden, at + slots, y, R, steps, y_now, center, extreme, seen)
                        if extreme:
                            replaced = screen(seasons, R, hidden, at + slots, y, steps, y_now, center, usual, stats, d)
                    if not replaced:
                        anchor = next_anchor(value[i], stats[d + anchor_at], stats[d + SCALE], seen)
                        if anchor != stats[d + anchor_at]:
                            at_level = stats[d + LEVEL] == y_now
                            move_anchor(R, Q, pending, hidden, y, at + judged, at + slots, at + pool, stats, d,
                                        anchor - stats[d + anchor_at])  # fmt: skip
                            stats[d + anchor_at] = anchor
                            y_now = np.float64(np.float32(value[i] - anchor))
                            if at_level:  # to the last digit
                                stats[d + LEVEL] = y_now
                    learnt: Any = y_now
                    if seen < YOUNG_VALUES:
                        replaced = screen_young(R, pending, hidden, at + slots, y, at + pool, steps, y_now,
                                                stats[d + anchor_at], stats, d, S, young_at)  # fmt: skip
                        y_now = np.float64(hidden[y + steps % R])
                        learns_from = not replaced
                    else:
                        learns_from = not (replaced and math.isnan(hidden[at + judged]))
                        if replaced:
                            if learns_from:
                                learnt = bounded_value(Q, spread_of(Q, W, consts[2]), hidden, at + judged, y_now,
                                                       stats[d + SCALE])  # fmt: skip
                            y_now = center
                    if members > 0 and learns_from:
                        pool_recall(members, tracked, seasons, QV, Q, median, hidden, at + pool, at + trend, y, R,
                                    steps, whole[w + ADOPTED], learnt, S, learn_at)  # fmt: skip
                    if seen >= YOUNG_VALUES:
                        hidden[y + steps % R] = y_now
                    if members > 0:
                        trend_follow(
                            tracked,
                            R,
                            hidden,
                            at + trend,
                            y,
                            steps,
                            y_now,
                            stats,
                            d,
                            REPLACED if replaced else (JUMP if extreme else NO_JUMP),
                            seen,
                        )
                    if seen >= YOUNG_VALUES:
                        observe_value(y_now, seen, stats, d, level_rate, scale_rate)
                    robust[i] = stats[d + anchor_at] + y_now
                    whole[w + OBSERVED] = seen + 1
                    if seen + 1 == YOUNG_VALUES:
                        learn_prior(prior, stats, d, stats[d + anchor_at])
                place = row * hidden_row + cov_ring + (steps % WARM_STEPS) * covariates
                scale_covariates(covariates, cov, i * covariates, stats, d, hidden, place, steps + 1, level_rate)
                follow_future(futures, horizon, told, i * futures * horizon, stats, d + future_at,
                              max(1.0 / (steps + 1), level_rate))  # fmt: skip
                step_features(seasons, calendar, covariates, hidden, y, R, steps, stats, d, calendar_table, ts[i], gap,
                              hidden, place, S, slab0 + filled * ld0 + state)  # fmt: skip
                if members > 0 and learns_from:
                    pool_learn(members, tracked, QV, Q, pool_at, W, consts, hidden, row * hidden_row + pool, steps,
                               stats[d + SCALE], S, learn_at)  # fmt: skip
                whole[w + STEPS] = steps + 1
                unit = young_unit(prior, stats, d, stats[d + anchor_at], whole[w + OBSERVED])
                tile_units[filled] = unit
                if math.isnan(unit):
                    status[i] = UNKNOWN
                steps_out[i] = steps + 1
                tile_events[filled] = i
                filled += 1
                i += 1

            # 4 network
            if not alone:
                network(filled, W, S, hidden, hidden_row, tile_rows, 0)

            # 5 head, 6 out
            direct_shared(filled, ZV, n_top, W, head, S, tops, n_top, S, shared_at)
            for t in range(filled):
                event, row = tile_events[t], tile_rows[t]
                w, d, y = row * whole_row, row * stats_row, row * hidden_row + ring_at
                if not dated or (calendar > 0 and (ts[event] != date_ts or whole[w + INTERVAL] != date_interval)):
                    dated, date_ts, date_interval = True, ts[event], whole[w + INTERVAL]
                    date_features(calendar, calendar_table, date_ts, date_interval, horizon, W, steps_ahead,
                                  S, date_at, target_row)  # fmt: skip
                    give(ZV, QV, columns, horizon, W, head, S, given_at, S, date_at, target_row, direct)
                horizon_features(seasons, horizon, hidden, y, R, whole[w + STEPS] - 1, stats, d, W, fading,
                                 S, f_at, target_at, target_row, past_at)  # fmt: skip
                future_features(futures, horizon, told, event * futures * horizon, 0, stats, d + future_at,
                                S, known_at, target_row)  # fmt: skip
                head_forward(ZV, QV, Q, columns, horizon, W, head, S, given_at, S, shared_at + t * Z, S, f_at,
                             target_at, target_row, S, z_at + Z, S, s_at, S, q_at)  # fmt: skip
                ref, scale = stats[d + LAST], stats[d + SCALE]
                if members > 0:
                    steps = whole[w + STEPS]
                    trend_ahead(tracked, hidden, row * hidden_row + trend, inverse_scale(scale), S, ahead_at)
                    if whole[w + OBSERVED] > 0:
                        pool_keep(tracked, QP, Q, hidden, row * hidden_row + pool, steps - 1, S, q_at, ahead_at, ref,
                                  scale)  # fmt: skip
                    else:  # nothing was known yet, not even a level: not a forecast to be judged by
                        pool_forget(tracked, hidden, row * hidden_row + pool, steps - 1)
                    pool_mix(members, tracked, QV, Q, median, horizon, pool_at, W, consts, hidden,
                             row * hidden_row + pool, steps, S, q_at, ahead_at, f_at, target_at, target_row,
                             mix_at)  # fmt: skip
                    order(QV, Q, median, horizon, W, consts[1], S, q_at)
                out, unit, anchor = event * horizon * Q, tile_units[t], stats[d + anchor_at]
                if math.isnan(unit):
                    for j in range(out, out + horizon * Q):
                        quantiles[j] = np.nan
                else:
                    if unit > 0.0:
                        prior_quantiles(QV, Q, horizon, W, consts[2], S, q_at)
                        scale = unit
                    write_quantiles(QV, Q, horizon, S, q_at, ref, scale, anchor, rule, quantiles, out)
                for j in range(Q):
                    hidden[row * hidden_row + judged + j] = quantiles[out + j] - anchor

    return observe


def make_scratch(
    layout: Layout,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Scratch of the observe kernel: floats, rows of the tile, events of the tile, units of the tile."""
    rows, events = np.zeros(MACRO_TILE, np.int64), np.zeros(MACRO_TILE, np.int64)
    return buffer(scratch_floats(layout), np.float32), rows, events, np.zeros(MACRO_TILE)
