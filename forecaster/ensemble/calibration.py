r"""Online conformal quantile tracking (Gibbs and Candes 2021; Angelopoulos, Candes and Tibshirani 2023, section 2).

The calibrated quantile of level a of a member for horizon k is the member's own quantile plus an offset, updated by

    offset += rate / sqrt(k) * (a - 1[y <= forecast])

so that the coverage of each quantile tends to its level whatever the data do. An overconfident network mostly is
overconfident at every level and horizon. Forecasts verified at the same step therefore also widen or narrow the
intervals together: their mean is far less noisy than one forecast and allows a faster rate. With z the quantiles of a
normal distribution,

    offset_a += shared rate * z_a * (sum of z_b (b - 1[y <= forecast_b]), mean over the horizons) / (sum of z_b^2)

The unit of an offset depends on the member:

    experts    units of scale; the rate is multiplied by the recent mean absolute error of the member's median. Point
               forecasts become quantiles by that error times those of a normal distribution; the offset corrects the
               shape.
    network    units of the mean absolute error implied by the distance of the outer quantiles of the forecast itself:
               nights with narrow intervals stay narrow while the days are widened.

Offsets are bounded by a few errors, so that those of a young or broken series cannot diverge.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.jit import inlined
from forecaster.kernels.simd import load, maximum, minimum, select, splat, store

NETWORK_RATE, EXPERT_RATE = 0.015, 0.03
SHARED_RATE = 0.03  # of the step that all horizons of the network share
ERROR_RATE = 0.02
BOUND = 8.0  # in errors
LEAST_UNIT = 0.05  # of the recent error, so that the offsets of an overconfident network can still correct it
MAX_ERROR = 64.0  # in scales; limits the influence of an outlier


@inlined
def implied_errors(Q: int, W: Any, normal: int, width: Any, error: Any) -> Any:
    """Returns the mean absolute errors implied by outer quantiles `width` apart, of sixteen forecasts, in its units.

    They are those of a normal distribution with this width, and at least a share of the recent `error` (nan: not known
    yet). With only one quantile the recent error is returned.
    """
    if Q == 1:
        return select(error, error, 1.0)
    return maximum(width / (W[normal + Q - 1] - W[normal]), error * LEAST_UNIT)


@inlined
def known_offset(offset: Any) -> Any:
    """Returns sixteen offsets, 0 where there is none yet (nan)."""
    return select(offset + 2.0 * BOUND * MAX_ERROR, offset, 0.0)


@inlined
def coverage_error(level: Any, above: Any) -> Any:
    """Returns level - 1[actual <= forecast] of sixteen quantiles; `above` is forecast - actual."""
    return level - select(0.0 - above, splat(level, 0.0), splat(level, 1.0))


@inlined
def update_offsets(
    W: Any, levels: int, mask: int, normal: int, off: Any, spread: float, unit: float, bound: float, rate: float,
    shared: Any, A: Any, offsets: int,
) -> Any:  # fmt: skip
    """Updates sixteen offsets of one member and horizon by one verified forecast.

    Args:
        W: constants; `levels`, `mask` (1 where there is a level) and `normal` (quantiles of a normal distribution with
            a mean absolute error of 1) are offsets in it.
        off: forecast of the member minus the actual, by quantile, in units of scale.
        spread: experts: `error`, as their quantiles are point + error * normal + offset; 0 for the network.
        unit: unit of the offsets, in units of scale.
        bound: largest absolute value of an offset.
        rate: step size of the offsets for this forecast.
        shared: step that all horizons share.
        A, offsets: A[offsets:] holds the offsets, nan: none yet; overwritten, with arbitrary numbers where there is no
            level.

    Returns:
        Pinball losses, in units of scale, with the offsets before the update; 0 where there is no level.
    """
    level = load(W, levels)
    offset = known_offset(load(A, offsets))
    above = off + load(W, normal) * spread + offset * unit  # forecast - actual
    pinball = maximum(above * (1.0 - level), above * (0.0 - level))
    new_offset = offset + coverage_error(level, above) * rate + shared
    store(A, offsets, minimum(maximum(new_offset, -bound), bound))
    return select(load(W, mask), pinball, splat(A, 0.0))
