"""The ensemble of network and experts: its state in a row, and the calibrated mixture of a new forecast.

update.py has the learning from verified forecasts.

The ensemble state of a row, in float32, after its rings:

    origins   (horizon, 2)    last value and scale of the series at each of the last steps, by step modulo horizon;
                              nan: no forecast was made there
    pending   for each tracked horizon k the network's quantiles of the last k steps, in half precision, in units of
              the scale around the last value of their origin; after them the forecast changes of the trend's line, as
              one half each (trend.py)
    offsets   (tracked, members, levels)     calibration.py
    errors    (tracked, members)                    recent mean absolute error of each member's median
    losses    (tracked, members)                    recent mean pinball loss of each member
    trend     trend.py
    unit      scale of the series in which errors, losses and the experts' offsets are measured

Half precision has an error of at most 1/2048 of the distance between a quantile and the last value.
Levels are not padded: a vector may extend beyond its block into the next one; these lanes are read, not used, and
written back unchanged. The state is long enough for the last vector. Forecasts of the experts are recomputed from the
ring when their targets arrive, so only those of the network and the trend are pending. Between tracked horizons offsets
and weights are interpolated linearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.ensemble.calibration import EXPERT_RATE, NETWORK_RATE, SHARED_RATE, implied_errors
from forecaster.ensemble.experts import SEASONAL_FROM, TREND, expert_points, first_scored, member_count
from forecaster.ensemble.trend import trend_floats
from forecaster.ensemble.weights import (
    NEW_NETWORK,
    OLD_NETWORK,
    YOUNG,
    gather_losses,
    interpolation,
    lateness,
    tracked_horizons,
    weigh,
)
from forecaster.kernels.buffers import padded_width
from forecaster.kernels.half import store_halves
from forecaster.kernels.jit import inlined, products
from forecaster.kernels.operands import HeadInputs, Rows, Strided
from forecaster.kernels.simd import fma, load, minimum, reduce_sum, select, splat, store
from forecaster.kernels.sizes import sized

# A few events determine the errors to come only roughly, as with Student's t: quantiles of a young series are further
# from the median, by this share over the number of its steps.
WIDER = 3.0


@dataclass(frozen=True)
class EnsembleShape:
    """Offsets of a row's ensemble state, relative to its start.

    Attributes:
        members: size of the ensemble, 0 where the mixture is disabled.
        tracked: tracked horizons.
        offsets, errors, losses, trend, unit: starts of the blocks after origins and pending forecasts.
        floats: length of the state.
    """

    members: int
    tracked: tuple[int, ...]
    offsets: int
    errors: int
    losses: int
    trend: int
    unit: int
    floats: int


@sized("q_vectors", members=11, tracked=11)
class EnsembleLayout(NamedTuple):
    """Sizes of the ensemble, and the offsets of its state and constants.

    Attributes:
        members: size of the ensemble, 0 where the mixture is disabled.
        tracked: tracked horizons, the last of them is the horizon.
        q_vectors, n_q, median: sixteen-lane vectors of the padded quantiles, quantiles, index of the level 0.5.
        offsets, errors, losses, trend, unit: in a row, relative to the start of its ensemble, see `EnsembleShape`.
        levels, mask, normal: in W, in whole vectors: quantile levels, 1 where there is one, quantiles of a normal
            distribution whose mean absolute error is 1.
        shares, later, cells: in W, see `ensemble_constants`.
    """

    members: int
    tracked: tuple[int, ...]
    q_vectors: int
    n_q: int
    median: int
    offsets: int
    errors: int
    losses: int
    trend: int
    unit: int
    levels: int
    mask: int
    normal: int
    shares: int
    later: int
    cells: int


def ensemble_shape(horizon: int, seasons: int, levels: int, mixture: bool) -> EnsembleShape:  # noqa: FBT001 - a switch
    """Returns the layout for a horizon, a number of seasons and a number of quantile levels."""
    tracked = tracked_horizons(horizon)
    if not mixture:
        return EnsembleShape(0, tracked, 0, 0, 0, 0, 0, 0)
    members, cells = member_count(seasons), member_count(seasons) * len(tracked)
    offsets = 2 * horizon + -(-sum(tracked) * (levels + 1) // 2)
    errors = offsets + cells * levels
    trend = errors + 2 * cells
    unit = trend + trend_floats(tracked)
    floats = max(unit + 1, trend + 16)  # the last vector of losses may extend that far
    return EnsembleShape(members, tracked, offsets, errors, errors + cells, trend, unit, floats)


def mix_floats(layout: EnsembleShape, padded_levels: int) -> int:
    """Returns the length of the scratch of `combine_members`."""
    members, apart = layout.members, padded_width(layout.tracked[-1])
    return members * len(layout.tracked) * padded_levels + (members + 1) * 16 + (2 * members + 3) * apart


def ensemble_constants(layout: EnsembleShape, seasons: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    """Returns constants of `score_members` (update.py) and `combine_members`, in whole vectors: (shares, later, cells).

    Shares and later are those of `interpolation`; cells (4, padded tracked * members) are per member and tracked
    horizon the step at which it is first scored, the rate of its offsets, 1 for an expert and 0 for the network, and
    the rate of the step that all horizons share.
    """
    shares, later = interpolation(layout.tracked, padded_width(layout.tracked[-1]))
    cells = np.zeros((4, padded_width(layout.members * len(layout.tracked))))
    for index, k in enumerate(layout.tracked):
        for i in range(layout.members):
            rate, shared = (EXPERT_RATE, 0.0) if i else (NETWORK_RATE, SHARED_RATE)
            cells[:, index * layout.members + i] = (
                first_scored(i, k, seasons),
                rate / math.sqrt(k),
                float(i > 0),
                shared,
            )
    return shares, later, cells


@inlined
def forget_points(tracked: Any, A: Any, ensemble_at: int, step: int) -> None:
    """Marks the pending forecasts of `step` as never made (a missing step has none)."""
    A[ensemble_at + 2 * (step % tracked[len(tracked) - 1])] = math.nan


@inlined
def store_points(
    ensemble: EnsembleLayout, A: Any, ensemble_at: int, step: int, S: Any, q: int, ahead: int, ref: float, scale: float
) -> None:
    """Stores the network's quantiles S[q:] (horizon, 16*QV) of `step` at the tracked horizons, and their origin.

    The forecast changes of the trend's line, S[ahead:], are stored with them.
    """
    tracked, Q, QP = ensemble.tracked, ensemble.n_q, ensemble.q_vectors * 16
    horizon = tracked[len(tracked) - 1]
    origin = ensemble_at + 2 * (step % horizon)
    A[origin] = ref
    A[origin + 1] = scale
    at = 2 * (ensemble_at + 2 * horizon)
    for j in range(len(tracked)):
        k = tracked[j]
        for v in range(0, QP, 16):
            store_halves(A, at + (step % k) * Q + v, Q - v, load(S, q + (k - 1) * QP + v))
        at += k * Q
    for j in range(len(tracked)):
        store_halves(A, at + step % tracked[j], 1, splat(S, S[ahead + j]))
        at += tracked[j]


@inlined
def adopt_network(ensemble: EnsembleLayout, A: Any, ensemble_at: int) -> None:
    """Lowers the network's losses after new weights were adopted, which proved better on held-out events.

    The offsets are kept: the errors of new weights mostly resemble those of the old ones, and without the offsets the
    intervals would be uncalibrated.
    """
    members = ensemble.members
    for index in range(len(ensemble.tracked)):
        cell = ensemble_at + ensemble.losses + index * members
        best = math.inf
        for i in range(members):
            best = min(best, A[cell + i])
        if best < math.inf:
            good = NEW_NETWORK * best
            if not math.isnan(A[cell]):
                good = max(good, OLD_NETWORK * A[cell])
            if math.isnan(A[cell]) or A[cell] > good:
                A[cell] = good


@inlined
def combine_members(
    ensemble: EnsembleLayout, W: Any, A: Any, ensemble_at: int, steps: int, S: Any, q: int, ahead: int,
    inputs: HeadInputs, table: int,
) -> None:  # fmt: skip
    """Overwrites the network's quantiles by the calibrated mixture of the ensemble.

    With weights w and offsets o of the members, interpolated between two tracked horizons a and b, p the share of b:

        quantiles = w_0 network + sum of w_i point_i + sum of w_i (1 - p) u_i o_ia + w_i p u_i o_ib

    the last sum is a product; u is 1 for experts and the error implied by the forecast for the network.

    Args:
        ensemble: sizes.
        W: parameters and constants.
        A, ensemble_at: row; the ensemble starts at `ensemble_at`.
        steps: steps of the row, this one included.
        S: scratch; the network's quantiles (horizon, QP) at `q` are overwritten, in units of scale around ref.
        ahead: the trend's damped forecast changes of the tracked horizons are at S[ahead + 16:].
        inputs: those of the head, in S.
        table: S[table:] is scratch, `mix_floats`.
    """
    members, tracked, Q, QP = ensemble.members, ensemble.tracked, ensemble.n_q, ensemble.q_vectors * 16
    offsets, errors = ensemble.offsets, ensemble.errors
    normal, shares, later, begins = ensemble.normal, ensemble.shares, ensemble.later, ensemble.cells
    moment, target, apart = inputs.moment, inputs.target, inputs.row
    K = len(tracked)
    horizon = tracked[K - 1]
    weights = table + K * members * QP
    counts = weights + members * 16
    factors = counts + 16  # (2 * members, apart): of the offsets at the earlier, then at the later tracked horizon
    own = factors + 2 * members * apart
    unit, points = own + apart, own + 2 * apart
    # 1 numbers written one by one, which are read as vectors only further below: see `gather_losses`
    gather_losses(members, tracked, steps, A, ensemble_at + ensemble.losses, W, begins, S, weights, counts)
    for index in range(K):
        error = A[ensemble_at + errors + index * members]
        for h in range(tracked[index] - 1, tracked[index + 1] - 1 if index + 1 < K else horizon):
            S[unit + h] = S[q + h * QP + Q - 1] - S[q + h * QP]
            S[own + h] = error
    # 2 per tracked horizon: offsets and weight of every member; without a verified forecast those of the previous one
    for index in range(K):
        k = tracked[index]
        for i in range(members):
            cell = index * members + i
            to = table + cell * QP
            error = A[ensemble_at + errors + cell]
            if not math.isnan(error):
                spread = 0.0 if i == 0 else error
                for v in range(0, QP, 16):
                    store(
                        S,
                        to + v,
                        fma(load(W, normal + v), splat(S, spread), load(A, ensemble_at + offsets + cell * Q + v)),
                    )
                late = 0.0 if i < SEASONAL_FROM else lateness(steps, W[begins + cell], k)
                if late > 0.0:
                    for v in range(0, QP, 16):
                        store(S, to + v, load(S, to + v) * (1.0 + WIDER * late))
            elif index > 0:
                grown = math.sqrt(k / tracked[index - 1]) if i > 0 else 1.0
                for v in range(0, QP, 16):
                    store(S, to + v, load(S, to - members * QP + v) * grown)
            else:
                for v in range(0, QP, 16):
                    store(S, to + v, load(W, normal + v) * (0.0 if i == 0 else 1.0))
    weigh(members, S, weights, counts)
    for index in range(K):
        if not S[counts + index] > 0.0:
            for i in range(members):
                before = S[weights + i * 16 + index - 1] if index > 0 else (1.0 if i == 0 else 0.0)
                S[weights + i * 16 + index] = before
    # 3 every horizon's weights, points and units, sixteen horizons side by side
    for v in range(0, horizon, 16):
        for i in range(members):
            store(S, factors + i * apart + v, splat(S, 0.0))
        products(members, 1, Rows(S, factors + v, apart), Strided(S, weights, 16, 1), Rows(W, shares + v, apart), K)
        part = load(W, later + v)
        implied = implied_errors(Q, W, normal, load(S, unit + v), load(S, own + v))
        store(S, own + v, load(S, factors + v))
        point = splat(S, 0.0)
        for i in range(members):
            weight = load(S, factors + i * apart + v)
            if i == 0:
                weight = weight * implied
            elif i == TREND:
                drift = splat(S, 0.0)
                for index in range(K):
                    drift = fma(splat(S, S[ahead + 16 + index]), load(W, shares + index * apart + v), drift)
                point = fma(weight, drift, point)
            else:
                point = fma(weight, expert_points(i, S, moment, target + v, apart), point)
            after = weight * part
            store(S, factors + i * apart + v, weight - after)
            store(S, factors + (members + i) * apart + v, after)
        store(S, points + v, point)
    # 4 the mixture, with all horizons between two tracked ones at once
    for h in range(horizon):
        for v in range(0, QP, 16):
            place = q + h * QP + v
            store(S, place, fma(load(S, place), splat(S, S[own + h]), splat(S, S[points + h])))
    for index in range(K):
        first = tracked[index] - 1
        count = (tracked[index + 1] - 1 if index + 1 < K else horizon) - first
        products(count, ensemble.q_vectors, Rows(S, q + first * QP, QP), Strided(S, factors + first, 1, apart),
                 Rows(S, table + index * members * QP, QP), 2 * members if index + 1 < K else members)  # fmt: skip
    if steps < YOUNG:
        wider = 1.0 + WIDER * (1.0 / steps - 1.0 / YOUNG)
        for h in range(horizon):
            middle = splat(S, S[q + h * QP + ensemble.median])
            for v in range(0, QP, 16):
                place = q + h * QP + v
                store(S, place, fma(load(S, place) - middle, splat(S, wider), middle))


@inlined
def order(ensemble: EnsembleLayout, W: Any, S: Any, q: int) -> None:
    """Makes the quantiles of every horizon non-decreasing, outwards from the median: offsets can make them cross.

    Args:
        ensemble: sizes.
        W: parameters and constants.
        S, q: quantiles (horizon, 16*QV), overwritten.
    """
    Q, QP, median, mask = ensemble.n_q, ensemble.q_vectors * 16, ensemble.median, ensemble.mask
    horizon = ensemble.tracked[len(ensemble.tracked) - 1]
    fall = splat(S, 0.0)  # crossings are rare: one vectorised test is cheaper than a pass over each quantile
    for h in range(horizon):
        for v in range(0, QP, 16):
            step = load(S, q + h * QP + v + 1) - load(S, q + h * QP + v)
            fall = minimum(fall, select(load(W, mask + v + 1), step, splat(S, 0.0)))
    if reduce_sum(fall) < 0.0:
        for h in range(horizon):
            row = q + h * QP
            for j in range(median + 1, Q):
                S[row + j] = max(S[row + j], S[row + j - 1])
            for back in range(median):
                j = median - 1 - back
                S[row + j] = min(S[row + j], S[row + j + 1])
