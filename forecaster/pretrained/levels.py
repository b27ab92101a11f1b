r"""Maps the head of shipped weights from their quantile levels to those of a configuration.

The head computes the median and, outwards from it, positive increments s = squareplus(o) between neighbouring levels,
each from a linear o = O z + L f + d (quantile_output.py). An increment between two other levels is a sum over the
shipped ones that it overlaps,

    s  =  sum of w_i s_i,     w_i = share of increment i that lies in it, by the quantiles of a normal distribution

and beyond the outermost level a multiple of the outermost one, with w > 1 if necessary. o stays linear in the head's
inputs:

    o  =  alpha * mean of the o_i, weighted by w_i,  + beta

with alpha > 0 and beta such that squareplus(o) equals that sum both for narrow and for wide increments, measured on the
training series. An increment that equals a shipped one keeps its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from forecaster.network.quantile_output import slot_levels

ROUNDING = 1e-9


def increments(quantiles: tuple[float, ...]) -> list[tuple[float, float]]:
    """Returns both ends of the increment of every slot but the median's, as quantiles of a normal distribution."""
    normal = [NormalDist().inv_cdf(a) for a in quantiles]
    middle = quantiles.index(0.5)
    return [
        (normal[level - 1], normal[level]) if level > middle else (normal[level], normal[level + 1])
        for level in slot_levels(quantiles)[1:]
    ]


def shares(target: tuple[float, float], sources: Sequence[tuple[float, float]]) -> list[float]:
    """Returns the share of each of `sources` in an increment on the same side of the median."""
    low, high = target
    outermost = max(range(len(sources)), key=lambda i: abs(sources[i][0] + sources[i][1]))
    found = []
    for i, (a, b) in enumerate(sources):
        if i == outermost:  # extends as far as the target
            a, b = (a, max(b, high)) if a >= 0.0 else (min(a, low), b)
        share = max(0.0, min(high, b) - max(low, a)) / (sources[i][1] - sources[i][0])
        found.append(1.0 if abs(share - 1.0) < ROUNDING else share if share > ROUNDING else 0.0)
    return found


def before_squareplus(s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the o whose squareplus is s > 0."""
    return s - 1.0 / s


def slot_mixes(
    shipped: tuple[float, ...], wanted: tuple[float, ...], usual: NDArray[np.float64]
) -> list[tuple[list[float], float]]:
    """Returns for every slot of the wanted levels the factors of the shipped slots' o, and a constant.

    Args:
        shipped: levels of the weights; at least one on each side of 0.5.
        wanted: levels of the configuration.
        usual: (2, levels) narrow and wide increments by slot, positive, the first below the second; column 0 (the
            median) is not used.

    Returns:
        One (factors (levels of `shipped`,), constant) per slot of `wanted`, in the order of the slots.
    """
    sources = increments(shipped)
    mixes = [([1.0] + [0.0] * len(sources), 0.0)]
    for target in increments(wanted):
        side = [i for i, source in enumerate(sources) if (source[0] + source[1] > 0) == (target[0] + target[1] > 0)]
        part = shares(target, [sources[i] for i in side])
        used = [(i, share) for i, share in zip(side, part, strict=True) if share > 0.0]
        factors, constant = [0.0] * (1 + len(sources)), 0.0
        whole = sum(share for _, share in used)
        mixed, total = np.zeros(2), np.zeros(2)
        for i, share in used:
            mixed += share / whole * before_squareplus(usual[:, 1 + i])
            total += share * usual[:, 1 + i]
        ends = before_squareplus(total)
        slope = float((ends[1] - ends[0]) / (mixed[1] - mixed[0]))
        if len(used) == 1 and whole == 1.0:
            slope = 1.0
        else:
            constant = float(ends[0] - slope * mixed[0])
        for i, share in used:
            factors[1 + i] = slope * (share / whole)
        mixes.append((factors, constant))
    return mixes


def usual_increments(
    shipped: tuple[float, ...], wanted: tuple[float, ...], usual: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns narrow and wide increments between other levels, (2, levels of `wanted`); see `slot_mixes`."""
    sources, found = increments(shipped), np.ones((2, len(wanted)))
    for slot, target in enumerate(increments(wanted), 1):
        side = [i for i, source in enumerate(sources) if (source[0] + source[1] > 0) == (target[0] + target[1] > 0)]
        part = shares(target, [sources[i] for i in side])
        found[:, slot] = sum(share * usual[:, 1 + i] for i, share in zip(side, part, strict=True))
    return found


def combined(columns: NDArray[np.float32], factors: list[float]) -> NDArray[np.float64]:
    """Returns the sum of factors times columns (n, levels), added one by one: bit-identical on every machine."""
    total = np.zeros(columns.shape[0])
    for i, factor in enumerate(factors):
        if factor:
            total = total + columns[:, i].astype(np.float64) * factor
    return total
