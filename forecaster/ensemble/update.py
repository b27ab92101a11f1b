"""Learning from verified forecasts: errors, offsets and losses of every member of the ensemble.

The value of step `newest` verifies one forecast of every tracked horizon k, that of step `newest - k`. Per member and
tracked horizon ("cell"), side by side in vectors:

    error    of its median, in units of scale; its mean size is the unit of the offsets of experts
    offsets  of its quantiles, updated by the actual (calibration.py)
    loss     pinball loss, which determines its weight (weights.py)

All are stored relative to the scale, and converted when the scale changes. Otherwise the intervals of a series whose
scale grows, such as any rising series, would be too wide during the growth, be narrowed for it, and be too narrow
afterwards.

combine.py describes the state of a row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.ensemble.calibration import (
    BOUND,
    ERROR_RATE,
    MAX_ERROR,
    coverage_error,
    implied_errors,
    known_offset,
    update_offsets,
)
from forecaster.ensemble.combine import EnsembleLayout, EnsembleShape
from forecaster.ensemble.experts import PER_SEASON, SEASONAL_FROM, TREND, season_past
from forecaster.ensemble.trend import damping, trend_learn
from forecaster.ensemble.weights import LOSS_RATE
from forecaster.features.profile import lag_value
from forecaster.features.step_inputs import TINY, inverse_scale
from forecaster.kernels.buffers import padded_width
from forecaster.kernels.half import load_halves
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Ring
from forecaster.kernels.simd import fma, load, maximum, minimum, reduce_sum, select, splat, store

_FAR = 1e30  # in scales; its product with any half is finite in float32
_MOST = 3e38  # finite in float32


def learn_floats(layout: EnsembleShape, padded_levels: int) -> int:
    """Returns the length of the scratch of `score_members`."""
    horizons = len(layout.tracked)
    cells = layout.members * horizons
    return 6 * padded_width(cells) + (cells + horizons) * padded_levels + padded_width(2 * horizons) + 16


@inlined
def bounded(error: Any) -> Any:
    """Returns sixteen errors, in scales, within [-MAX_ERROR, MAX_ERROR]."""
    return minimum(maximum(error, -MAX_ERROR), MAX_ERROR)


@inlined
def recall_points(
    ensemble: EnsembleLayout, seasons: Any, row: Ring, ensemble_at: int, adopted: int, value: float, S: Any,
    errors_at: int,
) -> None:  # fmt: skip
    """Computes every member's forecasts for the newest step, minus its actual: the first half of `score_members`.

    It needs nothing of the step but its value. `score_members` reads as vectors what this function writes one by one;
    the caller should do other work in between, see `gather_losses`.

    Args:
        ensemble: sizes. seasons: steps of each.
        row: the ring of the row and its newest step.
        ensemble_at: where the ensemble starts in row.array; the damping of the trend in it is updated.
        value: of the step.
        adopted: step at which the row adopted the current weights; older forecasts of the network are not theirs.
        S, errors_at: scratch of `learn_floats`, overwritten; nan where there was no forecast.
    """
    members, tracked, Q, QV = ensemble.members, ensemble.tracked, ensemble.n_q, ensemble.q_vectors
    A, newest, trend = row.array, row.newest, ensemble_at + ensemble.trend
    K, QP = len(tracked), QV * 16
    padded = -(-members * K // 16) * 16
    widths, recalled = errors_at + padded, errors_at + 6 * padded + members * K * QP
    origins = recalled + K * QP
    line = origins + -(-2 * K // 16) * 16
    store(S, errors_at + padded - 16, splat(S, math.nan))
    horizon = tracked[K - 1]
    pending = 2 * (ensemble_at + 2 * horizon)
    changes = pending
    for index in range(K):
        changes += tracked[index] * Q
    for index in range(K):
        k = tracked[index]
        cell = errors_at + index * members
        made = ensemble_at + 2 * ((newest - k) % horizon)
        ref, unit = np.float64(A[made]), np.float64(A[made + 1])
        if newest - k < adopted or math.isnan(ref):
            S[cell] = math.nan
        else:
            place, half = recalled + index * QP, pending + (newest % k) * Q
            for v in range(QV):
                store(S, place + v * 16, load_halves(A, half + v * 16))
            S[cell] = ref - value + unit * S[place + ensemble.median]
            S[cell - errors_at + widths] = min(unit * (S[place + Q - 1] - S[place]), _MOST)
            S[origins + 2 * index] = ref - value
            S[origins + 2 * index + 1] = unit
        S[cell + TREND] = math.nan
        if not math.isnan(ref):
            store(S, line, load_halves(A, changes + newest % k))
            above = np.float64(S[line])
            S[cell + TREND] = ref - value + unit * above * damping(A, trend, K, index)
            if unit > TINY:
                trend_learn(A, trend, K, index, k, above, (value - ref) / unit, newest + 1 - k)
        changes += k
        if len(seasons) > 0:  # numba prunes the branch of literals; it cannot index an empty tuple
            origin = lag_value(row, k)
            cell += SEASONAL_FROM
            for i in range(len(seasons)):
                season_past(seasons[i], k, origin, row, value, S, cell)
                cell += PER_SEASON
        pending += k * Q


@inlined
def width_deficit(
    ensemble: EnsembleLayout, W: Any, u: float, S: Any, errors_at: int, unit: int, table: int, recalled: int,
    origins: int,
) -> Any:  # fmt: skip
    """Returns by how much all verified quantiles of the network should have been wider, see calibration.py.

    Args:
        ensemble, W: as in `score_members`.
        u: 1 / scale of the series.
        S: scratch of `score_members`, with these offsets: errors of medians and units by cell, offsets by cell, the
            network's quantiles by horizon, overwritten by forecast - actual, and their origins.
    """
    members, K, QP = ensemble.members, len(ensemble.tracked), ensemble.q_vectors * 16
    levels, normal = ensemble.levels, ensemble.normal
    coverage_errors, size, verified = splat(S, 0.0), splat(S, 0.0), 0.0
    for v in range(0, QP, 16):
        z = load(W, normal + v)
        size = size + z * z
    for index in range(K):
        cell = index * members
        if math.isnan(S[errors_at + cell]):
            continue
        verified += 1.0
        ratio = min(np.float64(S[origins + 2 * index + 1]) * u, _FAR)
        shift = min(max(np.float64(S[origins + 2 * index]) * u, -_FAR), _FAR)
        for v in range(0, QP, 16):
            place = recalled + index * QP + v
            off = bounded(fma(load(S, place), splat(S, ratio), splat(S, shift)))
            above = fma(known_offset(load(S, table + cell * QP + v)), splat(S, S[unit + cell]), off)
            store(S, place, off)
            coverage_errors = coverage_errors + coverage_error(load(W, levels + v), above) * load(W, normal + v)
    return reduce_sum(coverage_errors) / max(reduce_sum(size) * verified, TINY)


@inlined
def score_members(
    ensemble: EnsembleLayout, W: Any, A: Any, ensemble_at: int, newest: int, scale: float, S: Any, errors_at: int
) -> None:
    """Scores every member on the forecasts whose target is step `newest`, and updates their offsets.

    Args:
        ensemble: sizes.
        W: parameters and constants.
        A, ensemble_at: row, overwritten; its ensemble starts at `ensemble_at`.
        newest: step.
        scale: of the series.
        S, errors_at: as written by `recall_points`; overwritten.
    """
    u = inverse_scale(scale)
    if u == 0.0:
        return
    members, tracked, Q = ensemble.members, ensemble.tracked, ensemble.n_q
    offsets, errors, losses, scales = ensemble.offsets, ensemble.errors, ensemble.losses, ensemble.unit
    levels, mask, normal, horizons = ensemble.levels, ensemble.mask, ensemble.normal, ensemble.cells
    K = len(tracked)
    padded = -(-members * K // 16) * 16
    rates, experts, shares = horizons + padded, horizons + 2 * padded, horizons + 3 * padded
    unit, error, bound = errors_at + padded, errors_at + 2 * padded, errors_at + 3 * padded
    rate, lost = errors_at + 4 * padded, errors_at + 5 * padded
    table, QP, cells = errors_at + 6 * padded, ensemble.q_vectors * 16, members * K
    recalled = table + cells * QP
    origins = recalled + K * QP
    # numbers in units of scale are converted to the new scale, as errors persist in the units of the data
    counted = np.float64(A[ensemble_at + scales])
    ratio = counted * u if counted > TINY else 1.0
    ratio = min(max(ratio, 1.0 / _FAR), _FAR)
    A[ensemble_at + scales] = min(scale, _MOST)
    # 1 errors, units of the offsets and step sizes: all members and horizons side by side
    for v in range(0, padded, 16):
        ratios = select(load(W, rates + v), splat(S, ratio), 1.0)  # lanes beyond the last cell are other data
        off, before, expert = (
            bounded(load(S, errors_at + v) * u),
            load(A, ensemble_at + errors + v) * ratios,
            load(W, experts + v),
        )
        mean = select(before + 1.0, before, maximum(off, 0.0 - off))  # the first error serves as the mean
        implied = implied_errors(Q, W, normal, minimum(load(S, unit + v) * u, _FAR), mean)
        step = select(expert, mean, 1.0)
        store(S, errors_at + v, off)
        store(S, unit + v, select(expert, splat(S, 1.0), implied))
        store(S, error + v, select(expert, mean, 0.0))
        store(S, bound + v, step * BOUND)
        store(S, rate + v, step * load(W, rates + v))
    # 2 the offsets, one member and horizon after the other, copied to whole vectors: a store into the row that extends
    # into the next member's offsets would stall their load
    for cell in range(cells):
        for v in range(0, QP, 16):
            factor = 1.0 if cell % members == 0 else ratio
            store(S, table + cell * QP + v, load(A, ensemble_at + offsets + cell * Q + v) * factor)
    deficit = width_deficit(ensemble, W, u, S, errors_at, unit, table, recalled, origins)
    for index in range(K):
        for i in range(members):
            cell = index * members + i
            if math.isnan(S[errors_at + cell]):
                continue
            losses_of, shared_step = splat(S, 0.0), deficit * W[shares + cell]
            for v in range(0, QP, 16):
                off = load(S, recalled + index * QP + v) if i == 0 else splat(S, S[errors_at + cell])
                losses_of = losses_of + update_offsets(
                    W, levels + v, mask + v, normal + v, off, S[error + cell], S[unit + cell], S[bound + cell],
                    S[rate + cell], load(W, normal + v) * shared_step, S, table + cell * QP + v,
                )  # fmt: skip
            S[lost + cell] = reduce_sum(losses_of)
    for cell in range(cells):  # in rising order: each overwrites the surplus lanes of the one before
        for v in range(0, QP, 16):
            to, place = cell * Q + v, table + cell * QP + v
            if to + 16 <= cells * Q:
                store(A, ensemble_at + offsets + to, load(S, place))
            else:
                for j in range(min(16, Q - v)):
                    A[ensemble_at + offsets + to + j] = S[place + j]
    # 3 errors and losses, side by side again
    for v in range(0, padded, 16):
        off, loss = load(S, errors_at + v), load(S, lost + v) * (1.0 / Q)
        ratios = select(load(W, rates + v), splat(S, ratio), 1.0)
        error_before = load(A, ensemble_at + errors + v) * ratios
        loss_before = load(A, ensemble_at + losses + v) * ratios
        share = 1.0 / maximum(newest + 1.0 - load(W, horizons + v), 1.0)  # 1 / number of steps that can be scored
        new_error = error_before + (maximum(off, 0.0 - off) - error_before) * maximum(share, ERROR_RATE)
        new_loss = loss_before + (loss - loss_before) * maximum(share, LOSS_RATE)
        known, old = off + 2.0 * MAX_ERROR, error_before + 1.0  # positive unless nan
        store(S, error + v, select(known, select(old, new_error, maximum(off, 0.0 - off)), error_before))
        store(S, lost + v, select(known, select(old, new_loss, loss), loss_before))
    for v in range(0, padded, 16):
        store(A, ensemble_at + errors + v, load(S, error + v))
    for v in range(0, padded, 16):  # after the errors, as their last vector extends into the losses
        store(A, ensemble_at + losses + v, load(S, lost + v))
