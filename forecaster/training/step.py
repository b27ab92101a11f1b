"""One optimiser step of either network: clips the gradient, updates the parameters by Adam and their average."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecaster.training.optim import Adam, Average, Parameters, clip_scale, clip_values, global_norm


class StepSettings(Protocol):
    """Settings of an optimiser step, common to `TrainConfig` and `SequenceTrain`."""

    @property
    def clip_value(self) -> float:
        """Limit to which each number of a gradient is clipped, plus and minus; 0: never."""

    @property
    def clip_norm(self) -> float:
        """Global norm to which gradients of a larger one are scaled down; 0: never."""

    @property
    def weight_decay(self) -> float:
        """Decoupled weight decay, on weight matrices only."""

    @property
    def average(self) -> float:
        """Decay of the average of the parameters; 0: none."""


class OptimiserStep:
    """Updates parameters from gradients.

    Args:
        layout: of the parameters.
        params: (n_params,) initial parameters; copied.
        settings: clipping, decay, average.

    Attributes:
        params: (n_params,) current parameters.
        norm: global norm of the last gradient, before it was scaled down.
        updates, clipped, skipped: updates; steps with a scaled-down gradient; steps without a finite gradient.
    """

    def __init__(self, layout: Parameters, params: NDArray[np.float32], settings: StepSettings) -> None:
        self._settings, self._adam = settings, Adam(layout, settings.weight_decay)
        self.params = params.copy()
        self._average = Average(self.params, settings.average) if settings.average else None
        self.norm, self.clipped, self.skipped = 0.0, 0, 0

    @property
    def updates(self) -> int:
        """Steps that updated the parameters."""
        return self._adam.steps

    @property
    def evaluated(self) -> NDArray[np.float32]:
        """(n_params,) parameters to evaluate and keep: the average, or the current ones without averaging."""
        found: NDArray[np.float32] = self._average.params if self._average else self.params
        return found

    def update(self, gradient: NDArray[Any], rate: float) -> bool:
        """Takes one step.

        Args:
            gradient: (n_params,) overwritten where single numbers are clipped.
            rate: the learning rate.

        Returns:
            False where the norm is not finite: the parameters are unchanged.
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
