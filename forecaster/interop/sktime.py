"""A forecaster of sktime: `fit`, `predict`, `predict_quantiles` and `update` over a pandas series.

    SktimeForecaster(ModelConfig(horizon=12, seasons=(12,))).fit(y).predict_interval(fh=[1, 2, 3], coverage=0.8)

The network is given, trained or as it comes with the package: `fit` and `update` observe the series and train nothing.
Steps are those of the index; a label that is left out is a missing value. Without an interval in the configuration the
network sees no calendar. Of a series without values the forecasts are nan.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from forecaster.config import ModelConfig
from forecaster.interop.optional import optional
from forecaster.interop.regular import RegularSeries
from forecaster.model import Model

_base = optional("sktime.forecasting.base", "sktime")
_pandas = optional("pandas", "sktime")


class SktimeForecaster(_base.BaseForecaster):  # type: ignore[misc, name-defined]  # has no types, and is an extra
    """The recurrent network and its ensemble, as a forecaster of sktime.

    Args:
        model: a trained network, or its configuration; None: the pretrained weights, 24 steps ahead.

    Examples:
        >>> from sktime.datasets import load_airline
        >>> from forecaster.interop import SktimeForecaster
        >>> ahead = SktimeForecaster().fit(load_airline()).predict(fh=[1, 2, 3])
    """

    _tags = {  # noqa: RUF012 - sktime's way to describe a class
        "authors": "the forecaster authors",
        "maintainers": "the forecaster authors",
        "python_dependencies": "forecaster-daemon",
        "capability:multivariate": False,
        "capability:exogenous": False,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": True,
        "capability:update": True,
        "y_inner_mtype": "pd.Series",
        "requires-fh-in-fit": False,
    }

    def __init__(self, model: Model | ModelConfig | None = None) -> None:
        self.model = model
        super().__init__()

    def _fit(self, y: Any, X: Any, fh: Any) -> SktimeForecaster:  # noqa: ARG002 - sktime's signature
        self._series = RegularSeries(self.model or ModelConfig())
        self._newest: int | None = None
        self._freq = _frequency(y.index)
        return self._observe(y)

    def _update(self, y: Any, X: Any = None, update_params: bool = True) -> SktimeForecaster:  # noqa: ARG002, FBT001, FBT002 - as above
        return self._observe(y)

    def _observe(self, y: Any) -> SktimeForecaster:
        """Observes the values after the newest one; windows of sktime's splitters overlap."""
        steps = _numbers(y.index, self._freq)
        new = np.ones(len(steps), np.bool_) if self._newest is None else steps > self._newest
        if new.any():
            self._series.observe(steps[new], y.to_numpy(np.float64)[new])
            self._newest = int(steps[-1])
        return self

    def _predict(self, fh: Any, X: Any = None) -> Any:  # noqa: ARG002 - sktime's signature
        found = self._ahead(fh, [0.5])[:, 0]
        return _pandas.Series(found, fh.to_absolute_index(self.cutoff), name=self._y.name)

    def _predict_quantiles(self, fh: Any, X: Any, alpha: list[float]) -> Any:  # noqa: ARG002 - sktime's signature
        order = np.argsort(alpha)
        found = np.empty((len(fh), len(alpha)))
        found[:, order] = self._ahead(fh, np.asarray(alpha)[order].tolist())
        columns = _pandas.MultiIndex.from_product([self._get_varnames(), alpha])
        return _pandas.DataFrame(found, fh.to_absolute_index(self.cutoff), columns)

    def _ahead(self, fh: Any, levels: list[float]) -> Any:
        """Returns the quantiles at the steps of a horizon, (steps, levels)."""
        steps = fh.to_relative(self.cutoff).to_numpy().astype(np.int64)
        return self._series.quantiles(int(steps.max()), levels)[steps - 1]

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:  # noqa: ARG003 - sktime's signature
        """Returns the arguments with which sktime's checks make objects."""
        return [{}, {"model": ModelConfig(horizon=12, seasons=(4,))}]


def _frequency(index: Any) -> Any:
    """Returns the frequency of an index of times, None of any other one."""
    if isinstance(index, _pandas.DatetimeIndex):
        return index.freq or (_pandas.infer_freq(index) if len(index) > 2 else None)
    return None


def _numbers(index: Any, frequency: Any) -> Any:
    """Returns the numbers of the steps of an index, (n,) int64: its integers, or periods since 1970."""
    if isinstance(index, _pandas.DatetimeIndex):
        if frequency is None:
            return np.arange(len(index))
        index = index.tz_localize(None).to_period(_pandas.tseries.frequencies.to_offset(frequency).name)
    if isinstance(index, _pandas.PeriodIndex):
        return index.asi8
    return index.to_numpy().astype(np.int64)
