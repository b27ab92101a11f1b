"""A model for Nixtla's StatsForecast, beside its own: `fit`, `predict`, `forecast`, `forward` and `new` of one series.

    models = [StatsForecastModel(season_length=24), AutoETS(season_length=24)]
    StatsForecast(models, freq="h").forecast(h=12, df=frame, level=[80])

It needs nothing of that library, which asks its models for these methods only. The network is given, trained or as it
comes with the package: every series is observed, and none is trained on. `mean` is the median of the forecast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from forecaster.config import ModelConfig
from forecaster.evaluation.scores import at_levels
from forecaster.interop.regular import RegularSeries
from forecaster.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Found = dict[str, Any]


class StatsForecastModel:
    """A model of StatsForecast.

    Args:
        season_length: steps of the season; 1: none. Where a model is given, its seasons are used instead.
        horizon: steps ahead at most. Where a model is given, its horizon is used instead.
        model: a trained network, or its configuration; None: the pretrained weights.
        alias: name of the columns.
        prediction_intervals: must be None: the intervals are the model's own, calibrated while it observes.

    Attributes:
        uses_exog: False; exogenous columns are not used.
    """

    uses_exog = False

    def __init__(
        self,
        season_length: int = 1,
        horizon: int = 24,
        model: Model | ModelConfig | None = None,
        alias: str = "forecaster",
        prediction_intervals: None = None,
    ) -> None:
        self.season_length, self.horizon, self.model = season_length, horizon, model
        self.alias, self.prediction_intervals = alias, prediction_intervals

    def __repr__(self) -> str:
        """Returns the alias, by which StatsForecast names columns."""
        return self.alias

    def new(self) -> Self:
        """Returns an unfitted copy."""
        return type(self)(self.season_length, self.horizon, self.model, self.alias)

    def fit(self, y: NDArray[np.floating], X: Any = None) -> Self:  # noqa: ARG002 - StatsForecast's signature
        """Observes a series, (t,), nan where missing."""
        self.series_, self.observed_ = self._observed(y), len(y)
        return self

    def predict(self, h: int, X: Any = None, level: list[float] | None = None) -> Found:  # noqa: ARG002 - as above
        """Returns `mean` of the next `h` steps, with `lo-80` and `hi-80` for a level of 80, each (h,)."""
        return _ahead(self.series_, h, level)

    def predict_in_sample(self, level: list[float] | None = None) -> Found:
        """Returns `fitted`, the 1-step-ahead forecasts of the observed values, with their intervals."""
        return _fitted(self.series_, level)

    def forecast(
        self,
        y: NDArray[np.floating],
        h: int,
        X: Any = None,  # noqa: ARG002 - StatsForecast's signature
        X_future: Any = None,  # noqa: ARG002 - as above
        level: list[float] | None = None,
        fitted: bool = False,  # noqa: FBT001, FBT002 - as above
    ) -> Found:
        """Returns what `fit` and `predict` would, and keeps nothing."""
        series = self._observed(y)
        return _ahead(series, h, level) | (_fitted(series, level) if fitted else {})

    forward = forecast
    """The same: a network that is given is not fitted again."""

    def _observed(self, y: NDArray[np.floating]) -> RegularSeries:
        seasons = (self.season_length,) if self.season_length > 1 else ()
        series = RegularSeries(self.model or ModelConfig(horizon=self.horizon, seasons=seasons))
        series.observe(np.arange(len(y)), np.asarray(y, np.float64))
        return series


def _ahead(series: RegularSeries, h: int, level: list[float] | None) -> Found:
    return _named("mean", "", level, lambda levels: series.quantiles(h, levels))


def _fitted(series: RegularSeries, level: list[float] | None) -> Found:
    quantiles = series.config.quantiles
    return _named("fitted", "fitted-", level, lambda levels: at_levels(series.one_step, quantiles, levels))


def _named(middle: str, prefix: str, level: list[float] | None, quantiles: Any) -> Found:
    """Returns the columns of the median and of intervals, by their names in StatsForecast."""
    found = {middle: quantiles([0.5])[:, 0]}
    for share in sorted(level or []):
        low, high = quantiles([0.5 - share / 200, 0.5 + share / 200]).T
        found |= {f"{prefix}lo-{share}": low, f"{prefix}hi-{share}": high}
    return found
