"""One optimiser step of either network: clip the gradient, move the parameters by Adam, renew their average."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecaster.training.optim import Adam, Average, Parameters, clip_scale, clip_values, global_norm


class StepSettings(Protocol):
    """What `TrainConfig` and `SequenceTrain` say of a step."""

    @property
    def clip_value(self) -> float:
        """Each number of a gradient is cut to plus and minus this; 0: never."""

    @property
    def clip_norm(self) -> float:
        """Gradients of a larger global norm are scaled down to it; 0: never."""

    @property
    def weight_decay(self) -> float:
        """Decoupled, on weight matrices only."""

    @property
    def average(self) -> float:
        """Decay of the average of the parameters; 0: none."""


class OptimiserStep:
    """Moves parameters along gradients.

    Args:
        layout: of the parameters.
        params: (n_params,) to begin with; copied.
        settings: clipping, decay, average.

    Attributes:
        params: (n_params,) as they are now.
        norm: global norm of the last gradient, before it was scaled down.
        taken, clipped, skipped: steps; those whose gradient was scaled down; those without a finite gradient.
    """

    def __init__(self, layout: Parameters, params: NDArray[np.float32], settings: StepSettings) -> None:
        self._settings, self._adam = settings, Adam(layout, settings.weight_decay)
        self.params = params.copy()
        self._average = Average(self.params, settings.average) if settings.average else None
        self.norm, self.clipped, self.skipped = 0.0, 0, 0

    @property
    def taken(self) -> int:
        """Steps that moved the parameters."""
        return self._adam.steps

    @property
    def evaluated(self) -> NDArray[np.float32]:
        """(n_params,) what is evaluated and kept: the average, or the parameters where there is none."""
        found: NDArray[np.float32] = self._average.params if self._average else self.params
        return found

    def take(self, gradient: NDArray[Any], rate: float) -> bool:
        """One step.

        Args:
            gradient: (n_params,) overwritten where single numbers are clipped.
            rate: the learning rate.

        Returns:
            False where the norm is not finite; nothing was moved.
        """
        settings = self._settings
        if settings.clip_value:
            clip_values(gradient, settings.clip_value)
        self.norm = global_norm(gradient)
        if not math.isfinite(self.norm):
            self.skipped += 1
            return False
        scale = clip_scale(self.norm, settings.clip_norm) if settings.clip_norm else 1.0
        self.clipped += scale < 1.0
        self._adam.step(self.params, gradient, rate, scale)
        if self._average:
            self._average.update(self.params)
        return True
