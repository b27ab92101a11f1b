"""Network and experts as one pool: learning from forecasts that matured, and the calibrated mixture of a new one.

A row keeps for it, in float32, behind its rings:

    origins   (horizon, 2)    last value and scale of the series at each of the last steps, by step modulo horizon;
                              nan: nothing was forecast there
    pending   for each tracked horizon k the network's quantiles of the last k steps, in half precision, in units of
              the scale around the last value of their origin
    offsets   (tracked, members, levels)     calibration.py
    errors    (tracked, members)                    recent mean absolute error of each member's median
    losses    (tracked, members)                    recent mean pinball loss of each member

Half precision is an error of at most one in 2048 of how far a quantile lies from the last value.
Levels are not padded: a vector of offsets reaches into what follows it, which is read, not used, and written back as
it was; a spare vector ends the state. Experts are recomputed from the ring when their forecasts mature, so nothing of
theirs is pending. Between tracked horizons offsets and weights are interpolated linearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecaster._half import load_halves, store_halves
from forecaster._jit import inlined
from forecaster._simd import choose, fma, largest, load, smallest, splat, store, total
from forecaster.calibration import BOUND, ERROR_RATE, EXPERT_RATE, MAX_ERROR, NETWORK_RATE, implied_error, track
from forecaster.experts import PER_SEASON, expert_past, expert_point, pool_size
from forecaster.features import inverse_scale
from forecaster.mixture import LOSS_RATE, NEW_NETWORK, tracked_horizons, weigh

# What a few events say of the errors to come is too little, as with Student's t: quantiles of a young series stand
# further from the median, by this share over the number of its steps.
YOUNG, WIDER = 128, 3.0
_FAR = 1e30  # in scales; float32 holds its product with any half


@dataclass(frozen=True)
class PoolLayout:
    """Where a row's pool state lies, counted from its start.

    Attributes:
        members: size of the pool, 0 where the mixture is switched off.
        tracked: tracked horizons.
        offsets, errors, losses: where the three blocks behind origins and pending forecasts start.
        floats: length of the state.
    """

    members: int
    tracked: tuple[int, ...]
    offsets: int
    errors: int
    losses: int
    floats: int


def pool_layout(horizon: int, seasons: int, levels: int, mixture: bool) -> PoolLayout:  # noqa: FBT001 - a switch
    """The layout for a horizon, a number of seasons and a number of quantile levels."""
    tracked = tracked_horizons(horizon)
    if not mixture:
        return PoolLayout(0, tracked, 0, 0, 0, 0)
    members, cells = pool_size(seasons), pool_size(seasons) * len(tracked)
    offsets = 2 * horizon + -(-sum(tracked) * levels // 2)
    errors = offsets + cells * levels
    spare = 16
    return PoolLayout(members, tracked, offsets, errors, errors + cells, errors + 2 * cells + spare)


@inlined
def pool_forget(tracked: Any, A: Any, pool: int, step: int) -> None:
    """Marks the pending forecasts of `step` as never made (a missing step has none)."""
    A[pool + 2 * (step % tracked[len(tracked) - 1])] = math.nan


@inlined
def pool_keep(
    tracked: Any, QP: int, Q: int, A: Any, pool: int, step: int, S: Any, q: int, ref: float, scale: float
) -> None:
    """Keeps the network's quantiles S[q:] (horizon, QP) of `step` at the tracked horizons, and their origin."""
    horizon = tracked[len(tracked) - 1]
    origin = pool + 2 * (step % horizon)
    A[origin] = ref
    A[origin + 1] = scale
    at = 2 * (pool + 2 * horizon)
    for k in tracked:
        for v in range(0, QP, 16):
            store_halves(A, at + (step % k) * Q + v, Q - v, load(S, q + (k - 1) * QP + v))
        at += k * Q


@inlined
def pool_recall(QV: int, Q: int, A: Any, origin: int, made: int, value: float, u: float, S: Any, t: int) -> float:
    """What the network once forecast minus what came, in units of scale, at most `MAX_ERROR` from 0.

    Args:
        QV, Q: literals.
        A, origin, made: the row, where the origin's last value stands and where (in halves) the quantiles start.
        value, u: what came; 1 / scale of now.
        S, t: output, S[t:] (padded levels) overwritten.

    Returns:
        How far its outer quantiles lie apart, in units of scale.
    """
    ratio = min(np.float64(A[origin + 1]) * u, _FAR)
    gone = min(max((np.float64(A[origin]) - value) * u, -_FAR), _FAR)
    for v in range(QV):
        store(S, t + v * 16, load_halves(A, made + v * 16))
    width = (S[t + Q - 1] - S[t]) * ratio
    for v in range(QV):
        error = fma(load(S, t + v * 16), ratio, splat(S, gone))
        store(S, t + v * 16, smallest(largest(error, -MAX_ERROR), MAX_ERROR))
    return width  # type: ignore[no-any-return]


@inlined
def pool_adopt(members: int, tracked: Any, losses: int, A: Any, pool: int) -> None:
    """New weights proved better on held-out events: they start with a good name, or with the better one of the old.

    The offsets go on: the new weights mostly err as the old ones did, and a fresh start would be without calibration.
    """
    for index in range(len(tracked)):
        cell = pool + losses + index * members
        best = math.inf
        for i in range(members):
            best = min(best, A[cell + i])
        if best < math.inf:
            good = NEW_NETWORK * best
            if math.isnan(A[cell]) or A[cell] > good:
                A[cell] = good


@inlined
def pool_learn(
    members: int, tracked: Any, seasons: Any, QV: int, Q: int, median: int, at: Any, W: Any, consts: Any,
    A: Any, pool: int, y: int, R: int, newest: int, adopted: int, value: float, scale: float, S: Any, t: int,
) -> None:  # fmt: skip
    """Scores every member on the forecasts that mature with the value of step `newest`, and moves their offsets.

    Args:
        members, QV, Q, median: literals; `median` is the index of level 0.5.
        tracked, seasons: tuples of literals.
        at: (offsets, errors, losses) of the layout.
        W, consts: constants and the offsets (levels, mask, normal) in them.
        A: row; the pool starts at `pool`, the ring at `y` (R values).
        newest, value: the step and its value, already in the ring.
        adopted: step at which the row took over the weights in force; older forecasts of the network are not theirs.
        scale: of the series.
        S, t: scratch (padded levels).
    """
    u = inverse_scale(scale)
    if u == 0.0:
        return
    offsets, errors, losses = at
    levels, mask, normal = consts
    K = len(tracked)
    horizon = tracked[K - 1]
    pending = 2 * (pool + 2 * horizon)
    for index in range(K):
        k = tracked[index]
        n = newest - k + 1  # steps from which a forecast can have matured by now, this one included
        if n < 1:
            break
        for i in range(members):
            cell = index * members + i
            if i == 0:
                origin = pool + 2 * ((newest - k) % horizon)
                if math.isnan(A[origin]) or newest - k < adopted:
                    continue
                width = pool_recall(QV, Q, A, origin, pending + (newest % k) * Q, value, u, S, t)
                if math.isnan(width):
                    continue
            else:
                season = 1
                if i > 1:
                    season = seasons[(i - 2) // PER_SEASON] if len(seasons) > 0 else 1
                past = expert_past(i, season, k, A, y, R, newest)
                if math.isnan(past):
                    continue
                gone = min(max((past - value) * u, -MAX_ERROR), MAX_ERROR)
                for v in range(QV):
                    store(S, t + v * 16, splat(S, gone))
            miss = abs(S[t + median])
            error = A[pool + errors + cell]
            fresh = math.isnan(error)
            if fresh:
                error = miss
                for j in range(Q):
                    A[pool + offsets + cell * Q + j] = 0.0
            spread, unit, bound, rate = error, 1.0, BOUND * error, EXPERT_RATE * error
            if i == 0:
                spread, unit, bound, rate = 0.0, implied_error(Q, W, normal, width, error), BOUND, NETWORK_RATE
            rate /= math.sqrt(k)
            loss = track(QV, W, levels, mask, normal, S, t, spread, unit, bound, rate, A, pool + offsets + cell * Q)
            loss /= Q
            if fresh:
                A[pool + losses + cell] = loss
                A[pool + errors + cell] = miss
            else:
                A[pool + losses + cell] += (loss - A[pool + losses + cell]) * max(1.0 / n, LOSS_RATE)
                A[pool + errors + cell] += (miss - error) * max(1.0 / n, ERROR_RATE)
        pending += k * Q


@inlined
def pool_mix(
    members: int, tracked: Any, QV: int, Q: int, median: int, horizon: int, at: Any, W: Any, consts: Any,
    A: Any, pool: int, steps: int, S: Any, q: int, moment: int, target: int, apart: int, table: int,
) -> None:  # fmt: skip
    """Overwrites the network's quantiles by the calibrated mixture of the pool.

    Args:
        members, tracked, QV, Q, median, horizon, at, W, consts, A, pool: as in `pool_learn`.
        steps: steps the row has seen, this one included.
        S: scratch; the network's quantiles (horizon, QP) at `q` are overwritten, in units of scale around ref.
        moment, target, apart: the inputs of the head in S, see `horizon_features`.
        table: S[table:] is scratch for offsets (tracked, members, QP) and weights (tracked, members).
    """
    offsets, errors, losses = at
    _, _, normal = consts
    QP, K = QV * 16, len(tracked)
    weights = table + K * members * QP
    # 1 per tracked horizon: every member's offsets and weight; what has not matured yet is led on from the one before
    for index in range(K):
        k = tracked[index]
        n = steps - k
        scored = False
        for i in range(members):
            scored = scored or not math.isnan(A[pool + losses + index * members + i])
        for i in range(members):
            cell = index * members + i
            to = table + cell * QP
            error = A[pool + errors + cell]
            if not math.isnan(error):
                spread = 0.0 if i == 0 else error
                for v in range(QV):
                    offset = load(A, pool + offsets + cell * Q + v * 16)
                    store(S, to + v * 16, load(W, normal + v * 16) * spread + offset)
            elif index > 0:
                grown = math.sqrt(k / tracked[index - 1]) if i > 0 else 1.0
                for v in range(QV):
                    store(S, to + v * 16, load(S, to - members * QP + v * 16) * grown)
            else:
                for v in range(QV):
                    store(S, to + v * 16, load(W, normal + v * 16) * (0.0 if i == 0 else 1.0))
        if scored:
            weigh(members, A, pool + losses + index * members, 1, n, S, weights + index * members, 1)
        else:
            for i in range(members):
                before = S[weights + (index - 1) * members + i] if index > 0 else 0.0
                S[weights + index * members + i] = before if index > 0 else (1.0 if i == 0 else 0.0)
    # 2 every horizon, between its two tracked neighbours
    index = 0
    for h in range(horizon):
        while tracked[index + 1 if index + 1 < K else K - 1] < h + 1:
            index += 1
        after = index + 1 if index + 1 < K else index
        low, high = tracked[index], tracked[after]
        part = (h + 1 - low) / (high - low) if high > low and h + 1 > low else 0.0
        row = q + h * QP
        unit = implied_error(Q, W, normal, S[row + Q - 1] - S[row], A[pool + errors + index * members])
        for v in range(QV):
            mixed = splat(S, 0.0)
            for i in range(members):
                a, b = index * members + i, after * members + i
                w = S[weights + a] + (S[weights + b] - S[weights + a]) * part
                start = load(S, table + a * QP + v * 16)
                offset = fma(load(S, table + b * QP + v * 16) - start, part, start)
                if i == 0:
                    own = fma(offset, unit, load(S, row + v * 16))
                else:
                    own = offset + expert_point(i, S, moment, target + h, apart)
                mixed = fma(own, w, mixed)
            store(S, row + v * 16, mixed)
        if steps < YOUNG:
            middle, wider = S[row + median], 1.0 + WIDER * (1.0 / steps - 1.0 / YOUNG)
            for j in range(Q):
                S[row + j] = middle + (S[row + j] - middle) * wider


@inlined
def order(QV: int, Q: int, median: int, horizon: int, W: Any, mask: int, S: Any, q: int) -> None:
    """Makes the quantiles of every horizon non-decreasing, outwards from the median: offsets can make them cross.

    Args:
        QV, Q, median, horizon: literals.
        W, mask: constants; W[mask:] is 1 where there is a level.
        S, q: quantiles (horizon, 16*QV), overwritten.
    """
    QP = QV * 16
    fall = splat(S, 0.0)  # mostly there is none, and a look at all of them is cheaper than going through each
    for h in range(horizon):
        for v in range(0, QP, 16):
            step = load(S, q + h * QP + v + 1) - load(S, q + h * QP + v)
            fall = smallest(fall, choose(load(W, mask + v + 1), step, splat(S, 0.0)))
    if total(fall) < 0.0:
        for h in range(horizon):
            row = q + h * QP
            for j in range(median + 1, Q):
                S[row + j] = max(S[row + j], S[row + j - 1])
            for back in range(median):
                j = median - 1 - back
                S[row + j] = min(S[row + j], S[row + j + 1])
