"""One series of values at equal steps, for libraries that pass arrays and count steps: sktime and StatsForecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from forecaster.config import ModelConfig
from forecaster.errors import ConfigError
from forecaster.evaluation.scores import at_levels
from forecaster.interop.keyed import KeyedForecaster
from forecaster.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOUR_MS: Final = 3_600_000


class RegularSeries:
    """Forecasts of one series by the number of the step, without a calendar unless the model has an interval.

    Args:
        model: a trained network, or a configuration (then the weights of `start_model`).

    Attributes:
        config: of the network.
        one_step: (n, levels) the 1-step-ahead forecast of each value of the last call of `observe`, nan without one.
    """

    def __init__(self, model: Model | ModelConfig) -> None:
        if isinstance(model, ModelConfig) and not model.interval_ms:
            model = replace(model, interval_ms=_HOUR_MS, calendar=False, holidays="")
        self._keyed = KeyedForecaster(model)
        self.config = self._keyed.config
        self._step_ms = self.config.interval_ms or _HOUR_MS
        self._state: bytes | None = None
        self._ahead = np.full((self.config.horizon, len(self.config.quantiles)), np.nan)
        self.one_step = np.full((0, len(self.config.quantiles)), np.nan)

    def observe(self, steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Observes values.

        Args:
            steps: (n,) their rising numbers; those left out are missing values.
            values: (n,) nan where missing.
        """
        before = self._ahead[:1]
        self._state, found = self._keyed.observe(self._state, steps * self._step_ms, values)
        if len(values):
            self._ahead = found.quantiles[-1]
            self.one_step = np.concatenate([before, found.quantiles[:-1, 0]])

    def quantiles(self, horizon: int, levels: Sequence[float]) -> NDArray[np.float64]:
        """Returns the quantiles of the next steps, (horizon, levels); of other levels than the network's, interpolated.

        Raises:
            ConfigError: the horizon is longer than the network's.
        """
        if horizon > self.config.horizon:
            expected = (
                f"at most {self.config.horizon}, the horizon of the network; pass a ModelConfig with a longer one"
            )
            raise ConfigError("horizon", horizon, expected)
        return at_levels(self._ahead[:horizon], self.config.quantiles, levels)
