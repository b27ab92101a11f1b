"""The adapters to StatsForecast and sktime; those libraries' own checks are run where they are installed.

python -m venv /tmp/v && /tmp/v/bin/pip install '.[test,sktime]' statsforecast
/tmp/v/bin/python -m pytest -m long tests/forecaster/interop/test_other_libraries.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forecaster import Batch, ConfigError, Forecaster, MissingExtraError, Model, ModelConfig
from forecaster.interop import StatsForecastModel
from forecaster.interop.regular import RegularSeries

CONFIG = ModelConfig(horizon=12, seasons=(12,), interval_ms=3_600_000, calendar=False)
rng = np.random.default_rng(2)
VALUES = 100 + 20 * np.sin(2 * np.pi * np.arange(96) / 12) + rng.normal(0, 2, 96)


def expected(values: Any) -> Any:
    """Returns the forecasts of a forecaster of that series."""
    times = np.arange(len(values)) * 3_600_000
    return Forecaster(CONFIG).observe(Batch(["y"] * len(values), times, np.asarray(values, np.float64)))


class TestRegularSeries:
    """A series by the numbers of its steps."""

    def test_in_parts(self) -> None:
        """Values in parts give the forecasts of all values, 1-step-ahead ones too."""
        series, found, fitted = RegularSeries(CONFIG), expected(VALUES), []
        for start in range(0, 96, 10):
            part = np.arange(start, min(96, start + 10))
            series.observe(part, VALUES[part])
            fitted.append(series.one_step)
        np.testing.assert_array_equal(series.quantiles(12, CONFIG.quantiles), found.quantiles[-1])
        np.testing.assert_array_equal(np.concatenate(fitted)[1:], found.quantiles[:-1, 0])
        assert np.isnan(fitted[0][0]).all()

    def test_left_out_steps_are_missing(self) -> None:
        """A step that is left out is a missing value; the time since the last value is an input, and changes little."""
        kept = np.flatnonzero(np.arange(96) % 7 > 0)
        one, other = RegularSeries(CONFIG), RegularSeries(CONFIG)
        one.observe(kept, VALUES[kept])
        other.observe(np.arange(1, 96), np.where(np.arange(96) % 7 > 0, VALUES, np.nan)[1:])
        np.testing.assert_allclose(one.quantiles(12, [0.5]), other.quantiles(12, [0.5]), rtol=1e-3)

    def test_bounds(self) -> None:
        """A horizon beyond the network's is refused, no values give no forecast, and a trained network is taken."""
        series = RegularSeries(Model.initial(CONFIG))
        with pytest.raises(ConfigError, match="at most 12"):
            series.quantiles(13, [0.5])
        series.observe(np.arange(0), VALUES[:0])
        assert np.isnan(series.quantiles(12, [0.5])).all()
        assert not RegularSeries(ModelConfig()).config.calendar


class TestStatsForecastModel:
    """The methods that StatsForecast calls."""

    def test_names_and_numbers(self) -> None:
        """Median and intervals, ahead and fitted, are those of a forecaster, by their names there."""
        model, found = StatsForecastModel(model=CONFIG, alias="mine"), expected(VALUES)
        middle, low, high = (CONFIG.quantiles.index(level) for level in (0.5, 0.1, 0.9))
        ahead = model.new().fit(VALUES).predict(h=6, level=[80])
        assert list(ahead) == ["mean", "lo-80", "hi-80"]
        for name, column in (("mean", middle), ("lo-80", low), ("hi-80", high)):
            np.testing.assert_array_equal(ahead[name], found.quantiles[-1, :6, column])
        both = model.forecast(VALUES, 6, level=[80], fitted=True)
        assert list(both) == [*ahead, "fitted", "fitted-lo-80", "fitted-hi-80"]
        np.testing.assert_array_equal(both["fitted-hi-80"][1:], found.quantiles[:-1, 0, high])
        again = model.fit(VALUES).predict_in_sample(level=[80])
        assert all(np.array_equal(both[name], again[name], equal_nan=True) for name in again)
        assert repr(model) == repr(model.new()) == "mine"
        assert not hasattr(model.new(), "series_")

    def test_season(self) -> None:
        """Without a model, the length of the season and the horizon make the network."""
        one = StatsForecastModel(12, horizon=8).fit(VALUES)
        assert (one.series_.config.seasons, one.series_.config.horizon) == ((12,), 8)
        assert StatsForecastModel().fit(VALUES).series_.config.seasons == ()

    @pytest.mark.long
    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # of the other library
    def test_in_statsforecast(self) -> None:
        """StatsForecast forecasts, fits, keeps fitted values and cross-validates with it, beside a model of its own."""
        library = pytest.importorskip("statsforecast", reason="statsforecast is not installed here (300 MB)")
        from statsforecast.models import Naive
        from statsforecast.utils import AirPassengersDF

        both = library.StatsForecast([StatsForecastModel(12), Naive()], freq="ME")
        frame = both.forecast(h=12, df=AirPassengersDF, level=[80], fitted=True)
        assert {"forecaster", "forecaster-lo-80", "forecaster-hi-80", "Naive"} <= set(frame.columns)
        model = StatsForecastModel(12).fit(AirPassengersDF["y"].to_numpy())
        np.testing.assert_allclose(frame["forecaster"], model.predict(12)["mean"], rtol=1e-6)
        kept = both.fit(AirPassengersDF).predict(h=12, level=[80])
        np.testing.assert_allclose(kept["forecaster-hi-80"], frame["forecaster-hi-80"], rtol=1e-6)
        assert len(both.forecast_fitted_values()) == len(AirPassengersDF)
        for refit in (True, False):
            found = both.cross_validation(h=6, df=AirPassengersDF, n_windows=3, refit=refit, level=[80])
            assert len(found) == 18
            assert np.isfinite(found["forecaster"]).all()


class TestSktime:
    """The forecaster of sktime."""

    def test_is_missing(self) -> None:
        """Without sktime the error names the extra; other names are unknown."""
        import forecaster.interop

        try:
            import sktime  # noqa: F401 - only whether it is there
        except ImportError:
            with pytest.raises(MissingExtraError, match=r"forecaster-daemon\[sktime\]"):
                _ = forecaster.interop.SktimeForecaster
        else:
            assert forecaster.interop.SktimeForecaster.__name__ == "SktimeForecaster"
        with pytest.raises(AttributeError, match="no attribute 'Other'"):
            _ = forecaster.interop.Other

    @pytest.mark.long
    @pytest.mark.slow
    @pytest.mark.timeout(3600)
    @pytest.mark.filterwarnings("ignore")  # of the other library
    def test_in_sktime(self) -> None:
        """It passes every check that sktime has for a forecaster, and gives the forecasts of the library."""
        checks = pytest.importorskip("sktime.utils.estimator_checks", reason="sktime is not installed here (250 MB)")
        import pandas as pd

        from forecaster.interop import SktimeForecaster

        results = checks.check_estimator(SktimeForecaster, verbose=False)
        assert {name: found for name, found in results.items() if found != "PASSED"} == {}
        assert len(results) > 200
        y = pd.Series(VALUES, pd.period_range("2026-01-01", periods=96, freq="h"))
        ahead = SktimeForecaster(CONFIG).fit(y).predict_quantiles(fh=range(1, 13), alpha=list(CONFIG.quantiles))
        np.testing.assert_array_equal(ahead, expected(VALUES).quantiles[-1])
