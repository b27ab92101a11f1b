r"""Online conformal quantile tracking (Gibbs and Candes 2021; Angelopoulos, Candes and Tibshirani 2023, section 2).

The quantile of level a of a pool member for horizon k is its own forecast plus an offset that follows

    offset += rate * error * (a - 1[y <= forecast])

where `error` is the recent mean absolute error of the member's median: the coverage of each quantile tends to its
level whatever the data do. Points of experts become quantiles by `error` times those of a normal distribution, and the
offset corrects the shape. Offsets are bounded by a few errors, so that a young series or a broken one cannot run away.
"""

from __future__ import annotations

from typing import Any

from forecaster._jit import inlined
from forecaster._simd import choose, largest, load, smallest, splat, store, total

NETWORK_RATE, EXPERT_RATE = 0.02, 0.05
ERROR_RATE = 0.02
BOUND = 8.0  # in errors
MAX_ERROR = 64.0  # in scales: an outlier says no more than that


@inlined
def track(
    QV: int, W: Any, levels: int, mask: int, normal: int, T: Any, t: int, spread: float, error: float, rate: float,
    A: Any, off: int,
) -> float:  # fmt: skip
    """Moves the offsets of one member and horizon by one matured forecast.

    Args:
        QV: literal, vectors of quantiles.
        W: constants; `levels`, `mask` (1 where there is a level) and `normal` (quantiles of a normal distribution with
            a mean absolute error of 1) are offsets in it.
        T, t: what the member forecast minus what came, by quantile, in units of scale.
        spread: experts: `error`, as their quantiles are point + error * normal + offset; 0 for the network.
        error: recent mean absolute error, in units of scale.
        rate: step in units of `error`.
        A, off: A[off:] holds the offsets, overwritten; what stands behind them in the last vector stays as it is.

    Returns:
        Pinball loss summed over the levels, in units of scale, with the offsets as they were before.
    """
    loss = 0.0
    for v in range(QV):
        level = load(W, levels + v * 16)
        offset = load(A, off + v * 16)
        used = load(W, mask + v * 16)
        above = load(T, t + v * 16) + load(W, normal + v * 16) * spread + offset  # forecast - outcome
        pinball = largest(above * (1.0 - level), above * (0.0 - level))
        loss += total(choose(used, pinball, splat(A, 0.0)))
        hit = choose(0.0 - above, splat(A, 0.0), splat(A, 1.0))  # 1 where outcome <= forecast
        moved = offset + (level - hit) * (rate * error)
        store(A, off + v * 16, choose(used, smallest(largest(moved, -BOUND * error), BOUND * error), offset))
    return loss
