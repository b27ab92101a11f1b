"""Adam with decoupled weight decay, gradient clipping, learning rate schedules, an average of the weights."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.jit import kernel
from forecaster.kernels.reductions import sum_of_squares

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015, algorithm 1


class Parameters(Protocol):
    """Layout of a flat parameter buffer as the optimiser needs it: length and names of its parts."""

    @property
    def n_params(self) -> int:
        """Length of the buffer."""

    def views(self, flat: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Returns named views of the buffer."""


def global_norm(gradient: NDArray[Any]) -> float:
    """Returns the Euclidean norm of a gradient, summed in float64 in one fixed order; nan and inf propagate."""
    return math.sqrt(float(_squares(gradient)))


@kernel
def _squares(gradient: Any) -> Any:
    return sum_of_squares(gradient)


@kernel
def _adam_step(
    params: Any, gradient: Any, m: Any, v: Any, decay: Any, scale: float, rate: float, c1: float, c2: float
) -> None:
    along, spread = rate / c1, math.sqrt(1.0 / c2)  # one division per step instead of one per number
    for i in range(params.shape[0]):
        g = gradient[i] * scale
        m[i] = BETA1 * m[i] + (1.0 - BETA1) * g
        v[i] = BETA2 * v[i] + (1.0 - BETA2) * g * g
        params[i] -= along * m[i] / (math.sqrt(v[i]) * spread + EPSILON) + rate * decay[i] * params[i]


class Adam:
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

        m = b1 m + (1-b1) g        v = b2 v + (1-b2) g^2
        p = p - rate (m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + decay p)

    Args:
        layout: names of the parameters (a `Layout` or a `SequenceLayout`); decay applies to matrices, not to biases nor
            to the skip path of the head.
        weight_decay: per unit of learning rate.
    """

    def __init__(self, layout: Parameters, weight_decay: float) -> None:
        self._m, self._v = np.zeros(layout.n_params), np.zeros(layout.n_params)
        self._decay = np.zeros(layout.n_params)
        for name, view in layout.views(self._decay).items():
            if name.rsplit(".", 1)[-1] in {"wh", "wx", "A", "B", "O"}:
                view[...] = weight_decay
        self.steps = 0

    def step(self, params: NDArray[Any], gradient: NDArray[Any], rate: float, scale: float = 1.0) -> None:
        """Updates `params` in place; `scale` multiplies the gradient first (clipping)."""
        self.steps += 1
        c1, c2 = 1.0 - BETA1**self.steps, 1.0 - BETA2**self.steps
        _adam_step(params, gradient, self._m, self._v, self._decay, scale, rate, c1, c2)


def clip_scale(norm: float, limit: float) -> float:
    """Returns the factor that reduces a gradient of that norm to at most `limit` (Pascanu et al. 2013, alg. 1)."""
    return limit / norm if norm > limit else 1.0


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Returns a rate rising linearly to `peak` over `warmup` steps, then falling by half a cosine to a tenth."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


def scheduled_rate(schedule: str, step: int, steps: int, peak: float, warmup: int) -> float:
    """Returns the learning rate of step 0, 1, ... of `steps`: linear warm-up to `peak`, then the named schedule.

    "constant"; "cosine": as in `learning_rate`; "exponential": falls to a hundredth by a constant factor per step;
    "steps": a tenth after half of the steps, a hundredth after three quarters.
    """
    if step < warmup or schedule == "cosine":
        return learning_rate(step, steps, peak, warmup)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "exponential":
        return float(peak * 0.01**progress)
    if schedule == "steps":
        return peak * (0.01 if progress >= 0.75 else 0.1 if progress >= 0.5 else 1.0)
    return peak


def clip_values(gradient: NDArray[Any], limit: float) -> None:
    """Clips every number of a gradient to [-limit, limit], in place; nan stays nan."""
    np.clip(gradient, -limit, limit, out=gradient)


class Average:
    """Exponential average of weights (Polyak and Juditsky 1992; the exponential form is that of TensorFlow).

        a = d a + (1 - d) p,    d = min(decay, (1 + n) / (10 + n)) at the n-th update: early weights are forgotten fast

    Attributes:
        params: the average.
    """

    def __init__(self, params: NDArray[Any], decay: float) -> None:
        self.params = params.copy()
        self._decay, self._updates = decay, 0

    def update(self, params: NDArray[Any]) -> None:
        """Adds the weights of another step to the average."""
        self._updates += 1
        d = np.asarray(min(self._decay, (1 + self._updates) / (10 + self._updates)), params.dtype)
        self.params += (1 - d) * (params - self.params)
