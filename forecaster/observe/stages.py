"""The first stages of the observe kernel: the step of an event, and the update of the row by its value.

The functions stand in the order in which an event passes them; kernel.py calls them, forecast.py has the later stages.

A row of the table begins at `w` of the counters, `d` of the statistics and `at` of the hidden state.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.anomaly import score_anomaly
from forecaster.ensemble.combine import adopt_network, forget_points
from forecaster.ensemble.prior import learn_prior, young_unit
from forecaster.ensemble.trend import JUMP, NO_JUMP, REPLACED, trend_follow, trend_replace, trend_rescale
from forecaster.ensemble.update import recall_points, score_members
from forecaster.features.anchor import move_anchor, next_anchor
from forecaster.features.counters import ADOPTED, BEFORE_TS, INTERVAL, LAST_TS, MODEL, OBSERVED, STEP_TS, STEPS
from forecaster.features.first_values import screen_young
from forecaster.features.interval import DUPLICATE, NEW_INTERVAL, REOPENED, SAME, place_event, replace_value
from forecaster.features.known_future import follow_future
from forecaster.features.outliers import (
    YOUNG_VALUES,
    bounded_value,
    contradicts,
    count_extremes,
    is_extreme,
    recent_runs,
    replacement_of,
    screen,
    spread_of,
)
from forecaster.features.profile import close_bin
from forecaster.features.step_inputs import (
    LAST,
    LEVEL,
    SCALE,
    observe_value,
    scale_covariates,
    step_features,
)
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Block
from forecaster.kernels.simd import prefetch, splat, store
from forecaster.layout import WARM_STEPS
from forecaster.observe.buffers import EventOutputs, Events, ObserveLayout, TableRows, ring_of
from forecaster.observe.forecast import LARGEST

UNKNOWN = 5  # batch.Status, as a literal


@inlined
def prefetch_row(table: TableRows, row: int) -> None:
    """Prefetches a row that is needed soon."""
    for v in range(0, table.hidden_row, 16):
        prefetch(table.hidden, row * table.hidden_row + v)
    prefetch(table.counters, row * table.counters_row)
    prefetch(table.counters, (row + 1) * table.counters_row - 1)
    prefetch(table.stats, row * table.stats_row)


# ---- 2 time


@inlined
def determine_step(
    sizes: ObserveLayout, table: TableRows, events: Events, outputs: EventOutputs, i: int, row: int
) -> tuple[int, int, float, int]:
    """Determines the step of event `i`: docs/model.md, "Time", and features/interval.py.

    The outputs of a duplicate or late event are written here. Forecasts for steps that no longer apply are cleared.

    Returns:
        STEP, SAME, DUPLICATE or LATE; number of missing steps before the event; its time gap after these, in intervals;
        time of the newest step before it.
    """
    counters, hidden, ts = table.counters, table.hidden, events.ts
    w, at = row * table.counters_row, row * table.hidden_row
    kind = missing = note = other = 0
    steps = counters[w + STEPS]
    gap, step_ts = 1.0, counters[w + STEP_TS]
    length = counters[w + INTERVAL]
    if steps > 0:
        kind, missing, gap, note, other = place_event(sizes.learns, counters, w, ts[i])
    else:
        counters[w + STEP_TS] = counters[w + LAST_TS] = ts[i]
    interval = counters[w + INTERVAL]
    outputs.notes[i], outputs.noted[i] = note, other
    outputs.interval[i] = interval
    if kind >= DUPLICATE:  # or LATE; batch.Status has the same numbers
        numbers = sizes.head.horizon * sizes.head.n_q
        outputs.status[i] = kind
        outputs.noted[i] = counters[w + LAST_TS] - ts[i]  # 0 for a duplicate
        for j in range(i * numbers, (i + 1) * numbers):
            outputs.quantiles[j] = np.nan
        outputs.steps[i] = steps
        return kind, missing, gap, step_ts
    if note & (NEW_INTERVAL | REOPENED) != 0:  # earlier forecasts are for steps of another length or position
        if note & REOPENED != 0:
            step_ts = counters[w + BEFORE_TS]
        hidden[at + sizes.row.one_step] = np.nan
        if sizes.ensemble.members > 0:
            for k in range(sizes.head.horizon):
                forget_points(sizes.ensemble.tracked, hidden, at + sizes.row.ensemble, k)
            if length > 0:
                trend = at + sizes.row.ensemble + sizes.ensemble.trend
                trend_rescale(sizes.ensemble.tracked, hidden, trend, interval / length)
    if missing > 0:  # the 1-step-ahead forecast is for a missing step, not for this event
        hidden[at + sizes.row.one_step] = np.nan
    return kind, missing, gap, step_ts


@inlined
def clear_state(sizes: ObserveLayout, hidden: Any, at: int) -> None:
    """Resets the hidden state of a row."""
    for v in range(0, sizes.row.states, 16):
        store(hidden, at + v, splat(hidden, 0.0))


@inlined
def reset_if_stale(
    sizes: ObserveLayout, table: TableRows, row: int, kind: int, missing: int, model: int
) -> tuple[int, int, int]:
    """Resets the hidden state under new weights, and after a long gap, whose steps are skipped: docs/model.md, "Time".

    Returns:
        Number of steps of the row; missing steps still to process; steps to re-encode from the row's ring.
    """
    counters, hidden = table.counters, table.hidden
    w, at = row * table.counters_row, row * table.hidden_row
    y, cov_ring, covariates = at + sizes.row.ring, at + sizes.row.covariates, sizes.features.covariates
    steps, before = counters[w + STEPS], 0
    if counters[w + MODEL] != model:
        counters[w + MODEL] = model
        counters[w + ADOPTED] = steps - 1 if kind == SAME else steps
        if sizes.ensemble.members > 0 and steps > 0:
            adopt_network(sizes.ensemble, hidden, at + sizes.row.ensemble)
        clear_state(sizes, hidden, at)
        before = min(steps, WARM_STEPS)
    if missing > sizes.max_gap:
        clear_state(sizes, hidden, at)
        held = sizes.features.reach + sizes.features.width  # including the oldest bin as a whole
        for step in range(steps + missing - min(missing, held), steps + missing):
            close_bin(ring_of(sizes, table, row, step))
            hidden[y + step % sizes.row.length] = np.nan
        for k in range(min(missing, WARM_STEPS) * covariates):
            place = ((steps + missing - 1) % WARM_STEPS) * covariates + covariates - 1 - k
            hidden[cov_ring + place % (WARM_STEPS * covariates)] = np.nan
        if sizes.ensemble.members > 0:
            horizon = sizes.head.horizon
            for k in range(horizon):
                forget_points(
                    sizes.ensemble.tracked, hidden, at + sizes.row.ensemble, steps + missing - 1 - k + horizon
                )
        steps += missing
        missing = 0
        before = 0
    return steps, missing, before


@inlined
def record_missing_step(sizes: ObserveLayout, table: TableRows, row: int, step: int) -> None:
    """Records a step without a value and without a forecast."""
    hidden, at, covariates = table.hidden, row * table.hidden_row, sizes.features.covariates
    close_bin(ring_of(sizes, table, row, step))
    hidden[at + sizes.row.ring + step % sizes.row.length] = np.nan
    if sizes.ensemble.members > 0:
        forget_points(sizes.ensemble.tracked, hidden, at + sizes.row.ensemble, step)
    for v in range(covariates):
        hidden[at + sizes.row.covariates + (step % WARM_STEPS) * covariates + v] = np.nan


@inlined
def replace_newest(
    sizes: ObserveLayout, table: TableRows, outputs: EventOutputs, i: int, row: int, steps: int, value: float
) -> None:
    """Replaces the value of the newest step by that of a further event: docs/model.md, "Time". It may be missing."""
    counters, stats, hidden = table.counters, table.stats, table.hidden
    w, d, at = row * table.counters_row, row * table.stats_row, row * table.hidden_row
    y, trend, anchor = at + sizes.row.ring, at + sizes.row.ensemble + sizes.ensemble.trend, stats[d + sizes.row.anchor]
    place = y + (steps - 1) % sizes.row.length
    fresh, seen = np.float64(np.float32(value - anchor)), counters[w + OBSERVED]
    if abs(value) <= LARGEST and not contradicts(fresh, hidden[place], stats[d + SCALE], seen):
        if sizes.ensemble.members > 0 and math.isnan(hidden[place]):
            trend_follow(sizes.ensemble.tracked, sizes.row.length, hidden, trend, y, steps - 1, fresh, stats, d,
                         NO_JUMP, seen)  # fmt: skip
        elif sizes.ensemble.members > 0:
            more = fresh - np.float64(hidden[place])
            trend_replace(sizes.ensemble.tracked, hidden, trend, more, seen)
        replace_value(fresh, hidden, place, counters, w, stats, d, sizes.level_rate, sizes.scale_rate)
    outputs.robust[i] = stats[d + sizes.row.anchor] + np.float64(hidden[place])


# ---- 3 features


@inlined
def update_by_value(
    sizes: ObserveLayout, W: Any, S: Any, table: TableRows, outputs: EventOutputs, rule: Any, prior: Any,
    i: int, row: int, value: float, ts: int, steps: int,
) -> bool:  # fmt: skip
    """Updates anchor, statistics, ring and trend of the row by the value of a new step.

    Before that the value is scored (docs/model.md, "Anomaly score") and replaced if it is an outlier ("Outliers, level
    and scale"), and the members' forecasts for it are computed ("Ensemble and calibration").

    Returns:
        Whether the ensemble learns from the value.
    """
    counters, stats, hidden, ensemble = table.counters, table.stats, table.hidden, sizes.ensemble
    w, d, at = row * table.counters_row, row * table.stats_row, row * table.hidden_row
    y, one_step, slots, ensemble_at = (
        at + sizes.row.ring, at + sizes.row.one_step, at + sizes.row.slots, at + sizes.row.ensemble,
    )  # fmt: skip
    R, Q, anchor_at = sizes.row.length, sizes.head.n_q, d + sizes.row.anchor
    members, horizon = ensemble.members, sizes.head.horizon if ensemble.members > 0 else 0
    ring, statistics = ring_of(sizes, table, row, steps), Block(stats, d)
    seen = counters[w + OBSERVED]
    y_now: Any = np.float64(np.float32(value - stats[anchor_at]))
    # anomaly.py: score of the value under its forecast
    score_anomaly(Q, Block(W, ensemble.levels), Block(hidden, one_step), y_now, stats[d + SCALE], stats[anchor_at],
                  seen, ts, Block(rule, table.rules[row]), outputs, i)  # fmt: skip
    # outliers.py: whether it is extreme, and its replacement
    replaced, extreme = False, False
    center: Any = np.float64(hidden[one_step + ensemble.median])
    if seen >= YOUNG_VALUES:
        spread, level, scale = spread_of(Q, W, ensemble.normal), stats[d + LEVEL], stats[d + SCALE]
        center = replacement_of(center, level, scale, stats[d + LAST])
        extreme = is_extreme(Q, spread, hidden, one_step, y_now, center, scale)
        runs = recent_runs(hidden, slots, seen)
        usual = count_extremes(hidden, slots, y, R, steps, y_now, center, extreme, seen)
        if extreme:
            replaced = screen(sizes.features.seasons, ring, slots, y_now, center, usual, runs, stats, d)
    # anchor.py
    if not replaced:
        anchor = next_anchor(value, stats[anchor_at], stats[d + SCALE], seen)
        if anchor != stats[anchor_at]:
            at_level = stats[d + LEVEL] == y_now
            move_anchor(R + sizes.row.held, Q, horizon, hidden, y, one_step, slots, ensemble_at, stats, d,
                        anchor - stats[anchor_at])  # fmt: skip
            stats[anchor_at] = anchor
            y_now = np.float64(np.float32(value - anchor))
            if at_level:  # keep them equal in spite of rounding
                stats[d + LEVEL] = y_now
    learnt: Any = y_now
    if seen < YOUNG_VALUES:
        replaced = screen_young(horizon, ring, slots, ensemble_at, y_now, stats[anchor_at], statistics,
                                Block(S, sizes.scratch.young))  # fmt: skip
        y_now = np.float64(hidden[y + steps % R])
        learns_from = not replaced
    else:
        learns_from = not (replaced and math.isnan(hidden[one_step]))
        if replaced:
            if learns_from:
                learnt = bounded_value(Q, spread_of(Q, W, ensemble.normal), hidden, one_step, y_now, stats[d + SCALE])
            y_now = center
    # update.py: the members' forecasts for it, before it is written to the ring
    if members > 0 and learns_from:
        recall_points(
            ensemble, sizes.features.seasons, ring, ensemble_at, counters[w + ADOPTED], learnt, S, sizes.scratch.learn
        )
    if seen >= YOUNG_VALUES:
        hidden[y + steps % R] = y_now
    if members > 0:
        jump = REPLACED if replaced else (JUMP if extreme else NO_JUMP)
        trend_follow(ensemble.tracked, R, hidden, ensemble_at + ensemble.trend, y, steps, y_now, stats, d, jump, seen)
    # step_inputs.py: level, scale and last value
    if seen >= YOUNG_VALUES:
        observe_value(y_now, seen, stats, d, sizes.level_rate, sizes.scale_rate)
    outputs.robust[i] = stats[anchor_at] + y_now
    counters[w + OBSERVED] = seen + 1
    if seen + 1 == YOUNG_VALUES:
        learn_prior(prior, stats, d, stats[anchor_at])
    return learns_from


@inlined
def update_covariates(sizes: ObserveLayout, table: TableRows, events: Events, i: int, row: int, steps: int) -> None:
    """Updates level and scale of the covariates of a new step and of the event's known future values."""
    features, d = sizes.features, row * table.stats_row
    place = row * table.hidden_row + sizes.row.covariates + (steps % WARM_STEPS) * features.covariates
    scale_covariates(features.covariates, events.cov, i * features.covariates, table.stats, d, table.hidden, place,
                     steps + 1, sizes.level_rate)  # fmt: skip
    follow_future(features.futures, features.horizon, events.known, i * features.futures * features.horizon,
                  table.stats, d + sizes.row.future, max(1.0 / (steps + 1), sizes.level_rate))  # fmt: skip


@inlined
def write_step_inputs(
    sizes: ObserveLayout, S: Any, table: TableRows, calendar_table: Any, row: int, step: int, ts: int, gap: float,
    place: int,
) -> None:  # fmt: skip
    """Writes the inputs of a step of a row to a place of the tile: docs/model.md, "Inputs", and step_inputs.py."""
    features, at = sizes.features, row * table.hidden_row
    state, ring = sizes.row.state, ring_of(sizes, table, row, step)
    cov = at + sizes.row.covariates + (step % WARM_STEPS) * features.covariates
    step_features(features.seasons, features.calendar, features.covariates, ring,
                  Block(table.stats, row * table.stats_row), calendar_table, ts, gap, Block(table.hidden, cov),
                  Block(S, sizes.scratch.slab0 + place * (state + sizes.stack.n_x) + state))  # fmt: skip


@inlined
def update_members(sizes: ObserveLayout, W: Any, S: Any, table: TableRows, row: int, steps: int) -> None:
    """Scores the members by the value of a new step and updates their offsets.

    See docs/model.md, "Ensemble and calibration".
    """
    ensemble_at = row * table.hidden_row + sizes.row.ensemble
    scale = table.stats[row * table.stats_row + SCALE]
    score_members(sizes.ensemble, W, table.hidden, ensemble_at, steps, scale, S, sizes.scratch.learn)


@inlined
def store_prior_unit(
    sizes: ObserveLayout, table: TableRows, outputs: EventOutputs, prior: Any, units: Any, i: int, row: int, place: int
) -> None:
    """Stores the unit of the prior's forecast from event `i`, see prior.py; sets the status if none is possible."""
    d = row * table.stats_row
    anchor, observed = table.stats[d + sizes.row.anchor], table.counters[row * table.counters_row + OBSERVED]
    unit = young_unit(prior, table.stats, d, anchor, observed)
    units[place] = unit
    if math.isnan(unit):
        outputs.status[i] = UNKNOWN
