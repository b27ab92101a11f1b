"""Forecasts of one series, one value at a time, with the interface of River's forecasters.

model = OnlineForecaster(ModelConfig(horizon=12, seasons=(24,)))
for y in stream:
    ahead = model.forecast(horizon=12)
    model.learn_one(y)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, is_observed
from forecaster.config import ModelConfig, TrainConfig
from forecaster.errors import BatchError, ConfigError
from forecaster.features.calendar_steps import calendar_code, dates, step_times, target_day
from forecaster.forecaster import Forecaster

SERIES = "y"


class OnlineForecaster:
    """A forecaster of one series with River's `learn_one` and `forecast`.

    Args:
        model: the network; None for the defaults. Without an interval, steps are one hour apart.
        train_every: number of values between trainings; 0: never. A training takes seconds to minutes.
        train: settings of the training.
        start_ms: time of the first value, for the calendar; None switches the calendar off.
        history: number of recent values kept for training.
    """

    def __init__(
        self,
        model: ModelConfig | None = None,
        *,
        train_every: int = 0,
        train: TrainConfig | None = None,
        start_ms: int | None = None,
        history: int = 100_000,
    ) -> None:
        if train_every < 0:
            raise ConfigError("train_every", train_every, "0 (never) or more")
        config = model or ModelConfig()
        if config.future_covariates:
            expected = "none: learn_one has no place for what is known ahead; use Forecaster"
            raise ConfigError("future_covariates", config.future_covariates, expected)
        config = replace(
            config, interval_ms=config.interval_ms or 3_600_000, calendar=config.calendar and start_ms is not None
        )
        self.forecaster = Forecaster(config, max_series=1, history_events=history)
        self._train_every, self._train = train_every, train
        self._start_ms, self._code = start_ms or 0, 0
        if config.interval_months:
            _, day, last, _ = dates(np.array([self._start_ms], np.int64), config.timezone)
            self._code = int(calendar_code(config.interval_months, target_day(day, last, np.zeros(1, np.int64)))[0])
        self._ahead: NDArray[np.float32] | None = None
        self._learnt = 0

    @property
    def config(self) -> ModelConfig:
        """The network in use."""
        return self.forecaster.config

    @property
    def _time(self) -> NDArray[np.int64]:
        """Time of the next value, epoch ms."""
        config = self.config
        return step_times(self._start_ms, config.interval_ms, self._code, self._learnt, config.timezone)

    def learn_one(self, y: float, x: Mapping[str, float] | None = None) -> Self:
        """Observes the next value.

        Args:
            y: the value; nan where it is missing.
            x: covariates by name; all that are configured.

        Raises:
            BatchError: a covariate is missing or unknown.
        """
        names = self.config.covariates
        if set(names) != set(x or {}):
            msg = f"got covariates {sorted(x or {})}, expected {sorted(names)}"
            raise BatchError(msg)
        covariates = np.array([[x[name] for name in names]], np.float32) if x and names else None
        batch = Batch([SERIES], self._time.reshape(1), np.array([y], np.float64), covariates)
        forecasts = self.forecaster.observe(batch)
        assert is_observed(forecasts.status)[0], "time moves on by one interval"  # noqa: S101 - an invariant
        self._ahead = forecasts.quantiles[0]
        self._learnt += 1
        if self._train_every and self._learnt % self._train_every == 0:
            self.forecaster.fit(self._train)
        return self

    def forecast(self, horizon: int, xs: Sequence[Mapping[str, Any]] | None = None) -> list[float]:
        """Returns the medians of the next `horizon` values; all nan before the first value.

        Args:
            horizon: steps ahead, at most the network's.
            xs: future covariates; not used, as the network forecasts without them.

        Raises:
            ConfigError: the horizon is longer than the network's.
        """
        del xs
        column = self.config.quantiles.index(0.5)
        return [float(v) for v in self.forecast_quantiles(horizon)[:, column]]

    def forecast_quantiles(self, horizon: int) -> NDArray[np.float32]:
        """Returns the quantiles of the next values, (horizon, levels); levels as in the configuration.

        Raises:
            ConfigError: the horizon is longer than the network's.
        """
        if not 1 <= horizon <= self.config.horizon:
            raise ConfigError("horizon", horizon, f"1 to {self.config.horizon}, as the network was configured")
        if self._ahead is None:
            return np.full((horizon, len(self.config.quantiles)), np.nan, np.float32)
        return self._ahead[:horizon].copy()
