r"""Online aggregation of the ensemble, per series and tracked horizon, by past pinball loss with delayed feedback.

    weight_i  ~  odds_i (1 + x / 16)^-16,   x = sharpness * excess_i          (close to exp(-x); odds of experts: 1)
    excess_i  =  loss_i / best loss - 1,   half its own at this horizon, half the mean over the tracked horizons

Losses are exponentially weighted means over verified forecasts only: a forecast is scored when its target arrives,
never earlier. `sharpness` grows from 0 to its full value with the number of scored forecasts. A member that is good
at one horizon mostly is at the next, and what a few hundred losses say of one horizon alone is noise for a good part:
hence the mean. A member whose forecasts could be scored only later than the others', as it needs a season, is good by
chance more easily: its loss is taken for larger, by LATE times what `lateness` says, counted in its own loss or that of
the network, whichever is larger. Where losses are alike the network is favoured: it has learnt from all series, and
adapts.
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
NETWORK_ODDS = 3.0  # of the network against an expert that loses as much
POOLED = 0.5  # share of the mean over the tracked horizons in a member's excess
LOSS_RATE = 0.005
YOUNG = 128  # scored forecasts from which on a record is as good as any
LATE = 3.0
# Newly adopted weights are taken to lose at most the first share of what the best member lost, but no less than the
# second share of what the weights before them did: where another member was right by far, it keeps its weight.
NEW_NETWORK, OLD_NETWORK = 0.75, 0.5


def tracked_horizons(horizon: int) -> tuple[int, ...]:
    """1, 2, 4, 8, ... and the last one: where forecasts are scored; in between is interpolated."""
    steps, k = [], 1
    while k < horizon:
        steps.append(k)
        k *= 2
    return (*steps, horizon)


def between(tracked: tuple[int, ...], width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How a horizon lies between the tracked ones, for linear interpolation; zero behind the last horizon.

    Returns:
        (tracked, width) the share of every tracked horizon in the h-th at place h - 1; (width,) the share of the later
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
    """How much less is known of a member scored from step `begin` on than of one scored from step k on, at `steps`.

    1/n less that of the other one, with n scored forecasts, `YOUNG` at most; 0 for a member that is not late.
    """
    if steps >= begin + YOUNG:
        return 0.0
    return 1.0 / max(steps - begin, 1.0) - 1.0 / min(max(steps - k, 1.0), YOUNG)


@inlined
def gather_losses(
    members: int, tracked: Any, steps: int, A: Any, losses: int, W: Any, begins: int, S: Any, out: int, whole: int
) -> None:
    """Lays the losses out for `weigh`, all tracked horizons (sixteen at most) of a member side by side.

    Numbers that were written one by one are read as vectors only after they have left the processor's store queue:
    let something else be done in between.

    Args:
        members: their number. tracked: the tracked horizons.
        steps: steps that the row has seen.
        A, losses: loss of member i at the tracked horizon number j at A[losses + j*members + i], nan: never scored.
        W, begins: the step for which that was scored at first at W[begins + j*members + i].
        S, out: that of member i at the tracked horizon number j is written to S[out + i*16 + j]; nan behind the last.
        whole: S[whole + j] is overwritten by how many forecasts were scored; 0 behind the last.
    """
    store(S, whole, splat(S, 0.0))
    for j in range(len(tracked)):
        S[whole + j] = steps - tracked[j]
    for i in range(members):
        store(S, out + i * 16, splat(S, math.nan))
        for j in range(len(tracked)):
            loss, networks = np.float64(A[losses + j * members + i]), np.float64(A[losses + j * members])
            late = lateness(steps, W[begins + j * members + i], tracked[j])
            if late > 0.0:
                loss += LATE * late * (loss if math.isnan(networks) else max(loss, networks))
            S[out + i * 16 + j] = loss


@inlined
def weigh(members: int, S: Any, out: int, whole: int) -> None:
    """Weights of all members at all tracked horizons, side by side.

    Args:
        members: their number.
        S, out, whole: as `gather_losses` left them. S[out + i*16 + j] is overwritten by the weight of member i at the
            tracked horizon number j, 0 where it was never scored; S[whole + j] by a positive number where any member
            was scored, else by 0.
    """
    best = splat(S, 1e30)
    for i in range(members):
        best = minimum(best, load(S, out + i * 16))
    scored = load(S, whole)
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
    store(S, whole, sum_of_all)
