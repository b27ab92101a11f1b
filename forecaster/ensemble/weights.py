r"""Online aggregation of the ensemble, per series and tracked horizon, by past pinball loss with delayed feedback.

    weight_i  ~  odds_i (1 + x / 16)^-16,   x = sharpness * excess_i          (close to exp(-x); odds of experts: 1)
    excess_i  =  loss_i / best loss - 1,   half its own at this horizon, half the mean over the tracked horizons

Losses are exponentially weighted means over verified forecasts only: a forecast is scored when its target arrives,
never earlier. `sharpness` grows from 0 to its full value with the number of scored forecasts. A member that is accurate
at one horizon mostly is at the next, and a few hundred losses of a single horizon are noisy: hence the mean. A member
that needs a season is scored later than the others, so its loss rests on fewer forecasts and is more often low by
chance. It is increased by LATE times `lateness` times its own loss or that of the network, whichever is larger. At
equal losses the network is favoured: it has learnt from all series, and adapts.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.jit import inlined
from forecaster.kernels.simd import load, minimum, reduce_sum, select, splat, store

SHARPNESS = 20.0
HALF_SHARP = 30.0  # scored forecasts after which half of the sharpness is reached
NETWORK_ODDS = 3.0  # of the network against an expert with the same loss
POOLED = 0.5  # share of the mean over the tracked horizons in a member's excess
LOSS_RATE = 0.005
YOUNG = 128  # scored forecasts from which on a member is no longer late
LATE = 3.0
# The loss of newly adopted weights is set to at most the first share of the best member's loss, but no less than the
# second share of the loss of the previous weights: a member that was far more accurate keeps its weight.
NEW_NETWORK, OLD_NETWORK = 0.75, 0.5


def tracked_horizons(horizon: int) -> tuple[int, ...]:
    """Returns the horizons, in steps, at which forecasts are scored: 1, 2, 4, 8, ... and `horizon`, the last one."""
    steps, k = [], 1
    while k < horizon:
        steps.append(k)
        k *= 2
    return (*steps, horizon)


def interpolation(tracked: tuple[int, ...], width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the coefficients of linear interpolation between tracked horizons; zero beyond the last horizon.

    Returns:
        (tracked, width) the share of every tracked horizon in horizon h at index h - 1; (width,) the share of the later
        of its two neighbours.
    """
    h = np.arange(1.0, tracked[-1] + 1)
    shares, later = np.zeros((len(tracked), width)), np.zeros(width)
    shares[:, : len(h)] = [np.interp(h, tracked, one) for one in np.eye(len(tracked))]
    for low, high in itertools.pairwise(tracked):
        later[low - 1 : high - 1] = (np.arange(low, high) - low) / (high - low)
    return shares, later


@inlined
def lateness(steps: int, begin: float, k: int) -> float:
    """Returns 1/n of a member first scored at step `begin` minus 1/n of one first scored at step k, at step `steps`.

    n is the number of scored forecasts, `YOUNG` at most; 0 for a member that is not late.
    """
    if steps >= begin + YOUNG:
        return 0.0
    return 1.0 / max(steps - begin, 1.0) - 1.0 / min(max(steps - k, 1.0), YOUNG)


@inlined
def gather_losses(
    members: int, tracked: Any, steps: int, A: Any, losses: int, W: Any, begins: int, S: Any, out: int, counts: int
) -> None:
    """Copies the losses into the layout of `weigh`: all tracked horizons (sixteen at most) of a member side by side.

    Numbers that are written one by one can be loaded as vectors without a stall only after they have left the
    processor's store queue: the caller should do other work in between.

    Args:
        members: number of members. tracked: the tracked horizons.
        steps: steps of the row so far.
        A, losses: loss of member i at the tracked horizon number j at A[losses + j*members + i], nan: never scored.
        W, begins: the step at which it can first be scored at W[begins + j*members + i].
        S, out: loss of member i at the tracked horizon number j is written to S[out + i*16 + j]; nan beyond the last.
        counts: S[counts + j] is overwritten by the number of scored forecasts; 0 beyond the last.
    """
    store(S, counts, splat(S, 0.0))
    for j in range(len(tracked)):
        S[counts + j] = steps - tracked[j]
    for i in range(members):
        store(S, out + i * 16, splat(S, math.nan))
        for j in range(len(tracked)):
            loss, networks = np.float64(A[losses + j * members + i]), np.float64(A[losses + j * members])
            late = lateness(steps, W[begins + j * members + i], tracked[j])
            if late > 0.0:
                loss += LATE * late * (loss if math.isnan(networks) else max(loss, networks))
            S[out + i * 16 + j] = loss


@inlined
def weigh(members: int, S: Any, out: int, counts: int) -> None:
    """Computes the weights of all members at all tracked horizons, side by side.

    Args:
        members: number of members.
        S, out, counts: as written by `gather_losses`. S[out + i*16 + j] is overwritten by the weight of member i at the
            tracked horizon number j, 0 where it was never scored; S[counts + j] by a positive number where any member
            was scored, else by 0.
    """
    best = splat(S, 1e30)
    for i in range(members):
        best = minimum(best, load(S, out + i * 16))
    scored = load(S, counts)
    sharp = scored * SHARPNESS / (scored + HALF_SHARP)
    sum_of_all = splat(S, 0.0)
    for i in range(members):
        loss = load(S, out + i * 16)
        known = select(1e30 - loss, splat(S, 1.0), 0.0)
        excess = select(known, select(best, loss / best - 1.0, select(loss, 1e6, 0.0)), 0.0)
        x = excess * (1.0 - POOLED) + POOLED * reduce_sum(excess) / max(reduce_sum(known), 1.0)
        x = x * sharp * 0.0625 + 1.0
        x = x * x
        x = x * x
        x = x * x
        weight = select(known, (NETWORK_ODDS if i == 0 else 1.0) / (x * x), 0.0)
        store(S, out + i * 16, weight)
        sum_of_all = sum_of_all + weight
    share = select(sum_of_all, 1.0 / sum_of_all, 0.0)
    for i in range(members):
        store(S, out + i * 16, load(S, out + i * 16) * share)
    store(S, counts, sum_of_all)
