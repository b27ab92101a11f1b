r"""Online aggregation of the pool, per series and tracked horizon, by past pinball loss with delayed feedback.

    weight_i  ~  (1 + x / 16)^-16,   x = sharpness * (loss_i / best loss - 1)          (close to exp(-x))

Losses are exponentially weighted means over matured forecasts only: a forecast is scored when its target arrives,
never earlier. `sharpness` grows from 0 to its full value with the number of scored forecasts.
"""

from __future__ import annotations

from typing import Any

from forecaster._jit import inlined

SHARPNESS = 20.0
HALF_SHARP = 30.0  # scored forecasts after which half of the sharpness is reached
LOSS_RATE = 0.005
NEW_NETWORK = 0.75  # newly adopted weights are taken to lose at most that share of what the best member lost


def tracked_horizons(horizon: int) -> tuple[int, ...]:
    """1, 2, 4, 8, ... and the last one: where forecasts are scored; in between is interpolated."""
    steps, k = [], 1
    while k < horizon:
        steps.append(k)
        k *= 2
    return (*steps, horizon)


@inlined
def weigh(members: int, losses: Any, at: int, stride: int, n: int, out: Any, o: int, o_stride: int) -> None:
    """Overwrites out[o + i*o_stride] by the weights that follow from losses[at + i*stride]; `n` were scored.

    A member whose loss is nan (it never had a forecast) gets weight 0.
    """
    best = 1e30
    for i in range(members):
        best = min(best, losses[at + i * stride])
    sharp = SHARPNESS * n / (n + HALF_SHARP)
    whole = 0.0
    for i in range(members):
        loss = losses[at + i * stride]
        weight = 0.0
        if loss <= 1e30:
            x = sharp * (loss / best - 1.0) if best > 0.0 else (0.0 if loss <= 0.0 else 1e6)
            x = 1.0 + x * 0.0625
            x = x * x
            x = x * x
            x = x * x
            weight = 1.0 / (x * x)
        out[o + i * o_stride] = weight
        whole += weight
    for i in range(members):
        if whole > 0.0:
            out[o + i * o_stride] /= whole
        else:
            out[o + i * o_stride] = 1.0 if i == 0 else 0.0
