"""`fit` and `predict` on whole frames, in the manner of scikit-learn.

    model = FrameForecaster(ModelConfig(horizon=24, seasons=(24,))).fit(frame)
    ahead = model.predict()

It wraps the stateful `Forecaster`; `update` observes further rows without training.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Self

import numpy as np

from forecaster.batch import Batch, Forecasts, Status
from forecaster.config import ModelConfig, TrainConfig
from forecaster.errors import BatchError, ConfigError
from forecaster.forecaster import Forecaster
from forecaster.interop.frames import TIME, batch_from_frame, collected, forecast_frame

_PARAMETERS = ("model", "train", "max_series")


def _columns(forecasts: Forecasts) -> list[str]:
    """Returns the names of the fields that hold a row per event."""
    return [field.name for field in fields(forecasts) if isinstance(getattr(forecasts, field.name), np.ndarray)]


class FrameForecaster:
    """One network for all series of a frame.

    Args:
        model: the network.
        train: the training; None for the defaults.
        max_series: series held at once.

    Attributes:
        forecaster_: the stateful object, after `fit`.
        report_: the report of the training, after `fit`.
    """

    forecaster_: Forecaster
    report_: Any

    def __init__(
        self, model: ModelConfig | None = None, train: TrainConfig | None = None, max_series: int = 100_000
    ) -> None:
        self.model, self.train, self.max_series = model, train, max_series
        self._newest: dict[str, tuple[Forecasts, int]] = {}
        self._like: Any = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002 - scikit-learn's signature
        """Returns the arguments of the constructor by name, for scikit-learn's `clone`."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters: Any) -> Self:
        """Changes arguments of the constructor; they take effect at the next `fit`.

        Raises:
            ConfigError: an argument is unknown.
        """
        for name, value in parameters.items():
            if name not in _PARAMETERS:
                raise ConfigError(name, value, f"one of {', '.join(_PARAMETERS)}")
            setattr(self, name, value)
        return self

    @property
    def config(self) -> ModelConfig:
        """The network that will be or was fitted."""
        return self.model or ModelConfig()

    def fit(self, frame: Any) -> Self:
        """Trains on a frame; the next forecasts start at its end.

        Args:
            frame: see `batch_from_frame`.

        Raises:
            BatchError: the frame cannot be read.
            TrainingError: it is too short to learn from.
        """
        batch = self._batch(frame)
        if not len(batch):
            msg = "got a frame without rows, expected some"
            raise BatchError(msg)
        learner = Forecaster(self.config, max_series=self.max_series, history_events=len(batch))
        learner.observe(batch)
        self.report_ = learner.fit(self.train)
        # A new forecaster, so that hidden states and ensemble weights are those of the trained network.
        self.forecaster_ = Forecaster(learner.model, max_series=self.max_series, history_events=len(batch))
        self._newest, self._like = {}, collected(frame)[:0]
        self._observe(batch)
        return self

    def update(self, frame: Any) -> Self:
        """Observes rows newer than those before, without training.

        Raises:
            BatchError: the frame cannot be read, or nothing was fitted yet.
        """
        self._fitted()
        self._observe(self._batch(frame))
        return self

    def predict(self, h: int | None = None) -> Any:
        """Forecasts the next steps, in the kind of frame that `fit` was given: see `forecast_frame`.

        Args:
            h: steps ahead, at most and by default the horizon of the network.

        Raises:
            BatchError: nothing was fitted yet, or no series has two events.
            ConfigError: h is beyond the horizon.
        """
        self._fitted()
        horizon = self.config.horizon
        if h is not None and not 1 <= h <= horizon:
            raise ConfigError("h", h, f"1 to {horizon}, the horizon of the network; fit one with a longer horizon")
        if not self._newest:
            msg = "got no series with two events, expected at least one: the interval is not known"
            raise BatchError(msg)
        parts = list(self._newest.values())
        stacked: dict[str, Any] = {
            name: np.stack([getattr(forecasts, name)[at] for forecasts, at in parts]) for name in _columns(parts[0][0])
        }
        forecasts = replace(parts[0][0], **stacked)
        nothing = np.zeros(len(parts))
        out = forecast_frame(
            Batch(list(self._newest), forecasts.origin_ms, nothing), forecasts, self.config, like=self._like
        )
        if h is None or h == horizon:
            return out
        keep = np.tile(np.arange(horizon) < h, len(parts))
        return out.filter(keep) if hasattr(out, "with_columns") else out[keep].reset_index(drop=True)

    def _batch(self, frame: Any) -> Batch:
        config = self.config
        return batch_from_frame(frame, config.covariates, config.future_covariates, config.horizon)

    def _observe(self, batch: Batch) -> None:
        forecasts = self.forecaster_.observe(batch)
        last: dict[str, int] = {}
        for i in np.flatnonzero((forecasts.status <= Status.MISSING) & (forecasts.interval_ms > 0)).tolist():
            last[batch.series[i]] = i
        at = np.array(list(last.values()), np.int64)
        columns: dict[str, Any] = {name: getattr(forecasts, name)[at] for name in _columns(forecasts)}
        kept = replace(forecasts, **columns)
        for i, series in enumerate(last):
            self._newest[series] = (kept, i)

    def _fitted(self) -> None:
        if not hasattr(self, "forecaster_"):
            msg = f"got a call before fit, expected fit(frame) first, with a frame of unique_id, {TIME} and y"
            raise BatchError(msg)
