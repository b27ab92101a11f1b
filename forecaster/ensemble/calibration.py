r"""Online conformal quantile tracking (Gibbs and Candes 2021; Angelopoulos, Candes and Tibshirani 2023, section 2).

The quantile of level a of a member of the ensemble for horizon k is its own forecast plus an offset that follows

    offset += rate / sqrt(k) * (a - 1[y <= forecast])

so that the coverage of each quantile tends to its level whatever the data do. A network that is too sure of itself
mostly is so at every level and horizon. Forecasts verified at the same step widen or narrow the intervals together, a
far steadier sign than one of them alone, which can be followed faster: with z the quantiles of a normal distribution,

    offset_a += shared rate * z_a * (sum of z_b (b - 1[y <= forecast_b]), mean over the horizons) / (sum of z_b^2)

What the offset is counted in differs:

    experts    units of scale, rate times the recent mean absolute error of the member's median. Their points become
               quantiles by that error times those of a normal distribution; the offset corrects the shape.
    network    units of the mean absolute error that the forecast itself implies by how far its outer quantiles lie
               apart: nights that it knows to be quiet stay narrow while the days are widened.

Offsets are bounded by a few errors, so that a young series or a broken one cannot run away.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.jit import inlined
from forecaster.kernels.simd import load, maximum, minimum, select, splat, store

NETWORK_RATE, EXPERT_RATE = 0.015, 0.03
SHARED_RATE = 0.03  # of the network's offsets together
ERROR_RATE = 0.02
BOUND = 8.0  # in errors
LEAST_UNIT = 0.05  # of the recent error: a network that is sure of itself and wrong can still be corrected
MAX_ERROR = 64.0  # in scales: an outlier says no more than that


@inlined
def implied_errors(Q: int, W: Any, normal: int, width: Any, error: Any) -> Any:
    """The mean absolute errors that outer quantiles `width` apart imply, of sixteen forecasts, in the units of `width`.

    They are those of a normal distribution with this width, at least a share of the recent `error` (nan: not known
    yet), which stands for it where there is only one quantile.
    """
    if Q == 1:
        return select(error, error, 1.0)
    return maximum(width / (W[normal + Q - 1] - W[normal]), error * LEAST_UNIT)


@inlined
def known_offset(offset: Any) -> Any:
    """Sixteen offsets, 0 where there is none yet (nan)."""
    return select(offset + 2.0 * BOUND * MAX_ERROR, offset, 0.0)


@inlined
def missed(level: Any, above: Any) -> Any:
    """level - 1[outcome <= forecast] of sixteen quantiles; `above` is how far they lie above the outcome."""
    return level - select(0.0 - above, splat(level, 0.0), splat(level, 1.0))


@inlined
def track(
    W: Any, levels: int, mask: int, normal: int, off: Any, spread: float, unit: float, bound: float, rate: float,
    shared: Any, A: Any, offsets: int,
) -> Any:  # fmt: skip
    """Moves sixteen offsets of one member and horizon by one verified forecast.

    Args:
        W: constants; `levels`, `mask` (1 where there is a level) and `normal` (quantiles of a normal distribution with
            a mean absolute error of 1) are offsets in it.
        off: what the member forecast minus the actual, by quantile, in units of scale.
        spread: experts: `error`, as their quantiles are point + error * normal + offset; 0 for the network.
        unit: what the offsets are counted in, in units of scale.
        bound: of the offsets.
        rate: step of the offsets by this forecast.
        shared: what all horizons together move them by.
        A, offsets: A[offsets:] holds them, nan: none yet; overwritten, and where there is no level by anything.

    Returns:
        Pinball losses, in units of scale, with the offsets as they were before; 0 where there is no level.
    """
    level = load(W, levels)
    offset = known_offset(load(A, offsets))
    above = off + load(W, normal) * spread + offset * unit  # forecast - outcome
    pinball = maximum(above * (1.0 - level), above * (0.0 - level))
    moved = offset + missed(level, above) * rate + shared
    store(A, offsets, minimum(maximum(moved, -bound), bound))
    return select(load(W, mask), pinball, splat(A, 0.0))
