r"""Online conformal quantile tracking (Gibbs and Candes 2021; Angelopoulos, Candes and Tibshirani 2023, section 2).

The quantile of level a of a pool member for horizon k is its own forecast plus an offset that follows

    offset += rate * (a - 1[y <= forecast])

so that the coverage of each quantile tends to its level whatever the data do. What the offset is counted in differs:

    experts    units of scale, rate times the recent mean absolute error of the member's median. Their points become
               quantiles by that error times those of a normal distribution; the offset corrects the shape.
    network    units of the mean absolute error that the forecast itself implies by how far its outer quantiles lie
               apart: nights that it knows to be quiet stay narrow while the days are widened.

Offsets are bounded by a few errors, so that a young series or a broken one cannot run away.
"""

from __future__ import annotations

from typing import Any

from forecaster._jit import inlined
from forecaster._simd import choose, largest, load, smallest, splat, store, total

NETWORK_RATE, EXPERT_RATE = 0.06, 0.03
ERROR_RATE = 0.02
BOUND = 8.0  # in errors
LEAST_UNIT = 0.05  # of the recent error: a network that is sure of itself and wrong can still be corrected
MAX_ERROR = 64.0  # in scales: an outlier says no more than that


@inlined
def implied_error(Q: int, W: Any, normal: int, width: float, error: float) -> float:
    """The mean absolute error that outer quantiles `width` apart imply, in the units of `width`.

    It is that of a normal distribution with this width, at least a share of the recent `error` (nan: not known yet),
    which stands for it where there is only one quantile.
    """
    if Q == 1:
        return error if error > 0.0 else 1.0
    implied = width / (W[normal + Q - 1] - W[normal])
    least = LEAST_UNIT * error
    return max(implied, least)  # type: ignore[no-any-return]


@inlined
def implied_errors(Q: int, W: Any, normal: int, width: Any, error: Any) -> Any:
    """`implied_error` of sixteen forecasts."""
    if Q == 1:
        return choose(error, error, 1.0)
    return largest(width / (W[normal + Q - 1] - W[normal]), error * LEAST_UNIT)


@inlined
def track(
    QV: int, W: Any, levels: int, mask: int, normal: int, T: Any, t: int, spread: float, unit: float, bound: float,
    rate: float, A: Any, off: int,
) -> float:  # fmt: skip
    """Moves the offsets of one member and horizon by one matured forecast.

    Args:
        QV: literal, vectors of quantiles.
        W: constants; `levels`, `mask` (1 where there is a level) and `normal` (quantiles of a normal distribution with
            a mean absolute error of 1) are offsets in it.
        T, t: what the member forecast minus what came, by quantile, in units of scale.
        spread: experts: `error`, as their quantiles are point + error * normal + offset; 0 for the network.
        unit: what the offsets are counted in, in units of scale.
        bound: of the offsets.
        rate: step of the offsets.
        A, off: A[off:] holds the offsets, overwritten; what stands behind them in the last vector stays as it is.

    Returns:
        Pinball loss summed over the levels, in units of scale, with the offsets as they were before.
    """
    loss = 0.0
    for v in range(QV):
        level = load(W, levels + v * 16)
        offset = load(A, off + v * 16)
        used = load(W, mask + v * 16)
        above = load(T, t + v * 16) + load(W, normal + v * 16) * spread + offset * unit  # forecast - outcome
        pinball = largest(above * (1.0 - level), above * (0.0 - level))
        loss += total(choose(used, pinball, splat(A, 0.0)))
        hit = choose(0.0 - above, splat(A, 0.0), splat(A, 1.0))  # 1 where outcome <= forecast
        moved = offset + (level - hit) * rate
        store(A, off + v * 16, choose(used, smallest(largest(moved, -bound), bound), offset))
    return loss
