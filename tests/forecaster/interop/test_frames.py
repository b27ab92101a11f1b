"""Conversion of data frames, and the interfaces built on it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pandas as pd
import polars as pl
import pytest

from forecaster import Batch, BatchError, ConfigError, Forecaster, MissingExtraError, ModelConfig, TrainConfig
from forecaster.interop import FrameForecaster, OnlineForecaster, batch_from_frame, forecast_frame, plot
from forecaster.interop.frames import level_columns
from forecaster.interop.optional import optional

MINUTES = 120
TRAIN = TrainConfig(k1=4, k2=6, batch=4, max_steps=4, evaluate_every=2)
CONFIG = cases.POOLED["gru-1-pool"]
LEARNT = cases.POOLED["elman-1-pool-bare-learnt"]


def pandas_frame(minutes: int = MINUTES) -> pd.DataFrame:
    """Returns two series, one after the other, as usual in such frames."""
    when = pd.date_range("2026-01-05", periods=minutes, freq="min")
    wave = np.sin(np.arange(minutes) / 5 * 2 * np.pi) + np.random.default_rng(0).normal(0, 0.1, minutes)
    parts = [pd.DataFrame({"unique_id": name, "ds": when, "y": 10.0 + wave}) for name in ("b", "a")]
    return pd.concat(parts, ignore_index=True)


def polars_frame() -> pl.DataFrame:
    """Returns the pandas frame's content as a polars frame."""
    return pl.DataFrame({name: column.to_list() for name, column in pandas_frame().items()})


class TestIn:
    """Conversion of frames to events."""

    def test_both_libraries(self) -> None:
        """pandas and polars give equal events, ordered by time, series interleaved."""
        one, two = batch_from_frame(pandas_frame()), batch_from_frame(polars_frame())

        assert list(one.series[:4]) == list(two.series[:4]) == ["b", "a", "b", "a"]
        np.testing.assert_array_equal(one.timestamp_ms, two.timestamp_ms)
        np.testing.assert_array_equal(one.value, two.value)
        assert one.timestamp_ms[0] == pd.Timestamp("2026-01-05", tz="UTC").value // 1_000_000

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    def test_what_is_known_ahead(self, make: Any) -> None:
        """A column of lists, cut or padded to the horizon, is sorted by time with its rows."""
        rows = {"unique_id": ["a"] * 3, "ds": [3000, 1000, 2000], "y": [1.0, 2.0, 3.0]}
        lists = [[5.0, 6.0, 7.0], None, [8.0, None]]
        batch = batch_from_frame(make(rows | {"future.p": lists}), (), ["p"], 2)
        assert batch.future is not None
        np.testing.assert_array_equal(batch.future, [[[np.nan, np.nan]], [[8, np.nan]], [[5, 6]]])

        with pytest.raises(BatchError, match=r"expected also future\.p"):
            batch_from_frame(make(rows), (), ["p"], 2)
        with pytest.raises(BatchError, match=r"got 1\.0 in future\.p, expected lists"):
            batch_from_frame(make(rows | {"future.p": [1.0, 2.0, 3.0]}), (), ["p"], 2)
        with pytest.raises(BatchError, match=r"a list that is not of numbers in future\.p"):
            batch_from_frame(make(rows | {"future.p": [["x"]] * 3}), (), ["p"], 2)

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    def test_zones_nulls_and_covariates(self, make: Any) -> None:
        """A time zone is applied, a null is a missing value, integers are epoch milliseconds."""
        when = pd.date_range("2026-01-05T01:00", periods=2, freq="h", tz="Europe/Berlin").to_list()
        zoned = batch_from_frame(make({"unique_id": ["a", "a"], "ds": when, "y": [1.0, None], "t": [3, 4]}), ["t"])
        whole = batch_from_frame(make({"unique_id": [7, 7], "ds": [2000, 1000], "y": [1, 2]}))

        assert zoned.timestamp_ms[0] == pd.Timestamp("2026-01-05T00:00Z").value // 1_000_000
        assert np.isnan(zoned.value[1])
        assert zoned.covariates is not None
        assert zoned.covariates.tolist() == [[3.0], [4.0]]
        assert (list(whole.series), whole.timestamp_ms.tolist(), whole.value.tolist()) == (
            ["7", "7"],
            [1000, 2000],
            [2.0, 1.0],
        )

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    def test_mistakes(self, make: Any) -> None:
        """Missing columns and unusable types are named."""
        with pytest.raises(BatchError, match="expected also unique_id, y"):
            batch_from_frame(make({"ds": [1]}))
        with pytest.raises(BatchError, match="expected datetimes"):
            batch_from_frame(make({"unique_id": ["a"], "ds": ["yesterday"], "y": [1.0]}))
        with pytest.raises(BatchError, match="not of numbers"):
            batch_from_frame(make({"unique_id": ["a"], "ds": [1], "y": ["many"]}))
        when = [dt.datetime(2026, 1, 5), None]  # noqa: DTZ001 - frames have such
        with pytest.raises(BatchError, match=r"time in every row|without nulls"):
            batch_from_frame(make({"unique_id": ["a", "a"], "ds": when, "y": [1.0, 2.0]}))

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    @pytest.mark.parametrize("names", [["a", None, "b"], [1.0, float("nan"), 2.0], [None, None, None]])
    def test_rows_without_an_identifier(self, make: Any, names: list[Any]) -> None:
        """Rows without an identifier are rejected, the first one named: no series is called nan or None."""
        with pytest.raises(BatchError, match=r"of 3 rows without a unique_id, the first of them row [01];"):
            batch_from_frame(make({"unique_id": names, "ds": [1, 2, 3], "y": [1.0, 2.0, 3.0]}))

    def test_pandas_nulls(self) -> None:
        """Nulls in pandas columns of strings and categories are rejected likewise."""
        for kind in ("string", "category", "object"):
            names = pd.Series(["a", None], dtype=kind)
            with pytest.raises(BatchError, match="1 of 2 rows without a unique_id"):
                batch_from_frame(pd.DataFrame({"unique_id": names, "ds": [1, 2], "y": [1.0, 2.0]}))

    def test_a_lazy_frame(self) -> None:
        """A lazy frame is collected."""
        rows = {"unique_id": ["a", "a"], "ds": [1000, 2000], "y": [1.0, 2.0]}
        lazy, plain = batch_from_frame(pl.LazyFrame(rows)), batch_from_frame(pl.DataFrame(rows))
        assert (list(lazy.series), lazy.timestamp_ms.tolist()) == (list(plain.series), plain.timestamp_ms.tolist())

    def test_no_frame(self) -> None:
        """An object that is not a frame is named by its type."""
        with pytest.raises(BatchError, match=r"no columns \(list\)"):
            batch_from_frame([1, 2])


def test_out() -> None:
    """A frame of forecasts has a row per step, with numbers and times of `observe`, in either library."""
    batch = batch_from_frame(pandas_frame())
    forecaster = Forecaster(CONFIG)
    forecasts = forecaster.observe(batch)

    last = forecast_frame(batch, forecasts, CONFIG)
    every = forecast_frame(batch, forecasts, CONFIG, which="all", like=polars_frame())

    assert list(last.columns) == ["unique_id", "cutoff", "ds", "forecaster", "forecaster-q-10", "forecaster-q-80",
                                  "forecaster-q-95"]  # fmt: skip
    assert last["unique_id"].tolist() == ["a"] * 6 + ["b"] * 6
    assert last["ds"][0] == pd.Timestamp("2026-01-05") + pd.Timedelta(minutes=MINUTES)
    np.testing.assert_array_equal(last["forecaster-q-95"][:6], forecasts.quantiles[-1, :, 3])
    assert isinstance(every, pl.DataFrame)
    assert every.height == 2 * MINUTES * 6
    newest = every.filter(pl.col("cutoff") == pl.col("cutoff").max())
    assert newest["forecaster"].to_list() == last["forecaster"].tolist()


def test_level_columns() -> None:
    """Mirrored levels are named as intervals by their share, other levels as quantiles."""
    names = [name for name, _ in level_columns((0.05, 0.1, 0.25, 0.5, 0.75, 0.95, 0.99))]
    assert names == ["forecaster", "forecaster-lo-50", "forecaster-hi-50", "forecaster-q-10", "forecaster-lo-90",
                     "forecaster-hi-90", "forecaster-q-99"]  # fmt: skip


class TestEstimator:
    """The fit, predict and update interface."""

    @pytest.mark.parametrize("frame", [pandas_frame(), polars_frame()], ids=["pandas", "polars"])
    def test_predict(self, frame: Any) -> None:
        """The prediction is the fitted network's forecast after the last row, in the caller's frame type."""
        model = FrameForecaster(CONFIG, TRAIN).fit(frame)

        ahead, short = model.predict(), model.predict(2)

        by_hand = Forecaster(model.forecaster_.model)
        batch = batch_from_frame(frame)
        expected = forecast_frame(batch, by_hand.observe(batch), CONFIG, like=frame)
        assert type(ahead) is type(frame)
        assert ahead.equals(expected)
        assert len(short) == 4
        assert short["forecaster"].to_list() == [ahead["forecaster"].to_list()[i] for i in (0, 1, 6, 7)]

    def test_update(self) -> None:
        """Later rows advance the forecast as if they had been present from the start."""
        frame = pandas_frame()
        early = frame[frame["ds"] < frame["ds"].max()]
        model = FrameForecaster(CONFIG, TRAIN).fit(early)
        before = model.predict()
        after = model.update(frame[frame["ds"] == frame["ds"].max()]).predict()

        assert (after["cutoff"] - before["cutoff"]).unique().tolist() == [pd.Timedelta(minutes=1)]
        whole = Forecaster(model.forecaster_.model)
        batch = batch_from_frame(frame)
        assert after.equals(forecast_frame(batch, whole.observe(batch), CONFIG))

    def test_mistakes(self) -> None:
        """Errors for calls in the wrong order and steps beyond the horizon state the remedy."""
        with pytest.raises(BatchError, match="fit"):
            FrameForecaster().predict()
        with pytest.raises(BatchError, match="without rows"):
            FrameForecaster(CONFIG).fit(pandas_frame()[:0])
        with pytest.raises(ConfigError, match="1 to 6"):
            FrameForecaster(CONFIG, TRAIN).fit(pandas_frame()).predict(7)
        with pytest.raises(ConfigError, match="one of model, train"):
            FrameForecaster().set_params(depth=3)

    def test_parameters(self) -> None:
        """The constructor's arguments are read and set by name, as scikit-learn clones an estimator."""
        model = FrameForecaster(CONFIG)
        clone = FrameForecaster(**model.get_params()).set_params(train=TRAIN)
        assert clone.get_params() == {"model": CONFIG, "train": TRAIN, "max_series": 100_000}


class TestOnline:
    """The interface of River."""

    def test_is_the_stream(self) -> None:
        """The forecasts equal those of `observe` for the same values."""
        values = np.sin(np.arange(40) / 5 * 2 * np.pi)
        model = OnlineForecaster(CONFIG)
        assert all(np.isnan(model.forecast(6)))
        for value in values:
            model.learn_one(float(value))

        batch = Batch(["y"] * 40, np.arange(40) * CONFIG.interval_ms, values)
        expected = Forecaster(model.config).observe(batch).quantiles[-1]
        np.testing.assert_array_equal(model.forecast_quantiles(6), expected)
        assert model.forecast(3) == expected[:3, 1].tolist()

    def test_learns_by_itself(self) -> None:
        """A training replaces the weights every `train_every` values."""
        model = OnlineForecaster(CONFIG, train_every=60, train=TRAIN)
        before = model.forecaster.model.sha256
        for value in np.sin(np.arange(60) / 5 * 2 * np.pi):
            model.learn_one(float(value))
        assert model.forecaster.model.sha256 != before

    def test_mistakes(self) -> None:
        """Horizons and covariates that the network does not have are named."""
        model = OnlineForecaster(CONFIG)
        with pytest.raises(ConfigError, match="1 to 6"):
            model.forecast(7)
        with pytest.raises(BatchError, match=r"\['wind'\], expected \[\]"):
            model.learn_one(1.0, {"wind": 2.0})
        with pytest.raises(ConfigError, match="train_every"):
            OnlineForecaster(CONFIG, train_every=-1)
        with pytest.raises(ConfigError, match="no place for what is known ahead"):
            OnlineForecaster(ModelConfig(future_covariates=("p",)))
        assert OnlineForecaster(ModelConfig()).config.interval_ms == 3_600_000


def test_missing_extra() -> None:
    """A package that is not installed is named with the extra that installs it."""
    with pytest.raises(MissingExtraError, match=r"pip install 'forecaster-daemon\[plots\]'"):
        optional("no_such_module", "plots")


def test_plot() -> None:
    """A fan chart has the median, the bands and the requested length of history."""
    import matplotlib as mpl

    mpl.use("agg")
    frame = pandas_frame()
    config = ModelConfig(**CONFIG.to_dict() | {"quantiles": (0.1, 0.5, 0.8, 0.9), "seasons": (5,)})
    columns = {name: [1.0, 2.0] for name, _ in level_columns(config.quantiles)}
    when = [frame["ds"].max() + pd.Timedelta(minutes=k) for k in (1, 2)]
    ahead = pd.DataFrame({"unique_id": ["a", "a"], "cutoff": [frame["ds"].max()] * 2, "ds": when} | columns)

    ax = plot(frame, ahead, last=50)

    past, median = ax.lines
    assert len(past.get_xdata()) == 50
    assert list(median.get_ydata()) == [1.0, 2.0]
    assert [band.get_label() for band in ax.collections] == ["80 %"]
    assert len(plot(polars_frame(), pl.DataFrame(ahead.to_dict("list")), "a").lines) == 2
    with pytest.raises(BatchError, match="expected one of: a"):
        plot(frame, ahead, "c")
    mpl.pyplot.close("all")


class TestCalendar:
    """Frames of months, quarters and years join with the actuals."""

    @pytest.mark.parametrize("freq", ["MS", "ME", "QS", "QE", "YS", "YE"])
    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    def test_joins_are_complete(self, make: Any, freq: str) -> None:
        """Every forecast row whose time lies within the actuals joins one of them."""
        when = pd.date_range("1995-01-01", periods=40, freq=freq)
        frame = pd.DataFrame({"unique_id": "a", "ds": when, "y": np.arange(40.0) % 12})
        given = frame if make is pd.DataFrame else make({name: column.to_list() for name, column in frame.items()})
        batch = batch_from_frame(given)
        forecaster = Forecaster(LEARNT, max_series=4)
        out = forecast_frame(batch, forecaster.observe(batch), LEARNT, which="all", like=given)

        found = pd.DataFrame({name: out[name].to_list() for name in ("unique_id", "cutoff", "ds")})
        inside = found[found["ds"] <= when[-1]]
        assert len(inside) == sum(min(LEARNT.horizon, 39 - i) for i in range(1, 40))
        joined = inside.merge(frame, on=["unique_id", "ds"])
        assert len(joined) == len(inside)

    def test_estimator(self) -> None:
        """`predict` continues with the following calendar dates."""
        when = pd.date_range("1990-01-31", periods=200 + LEARNT.horizon, freq="ME")
        frame = pd.DataFrame({"unique_id": "a", "ds": when[:200], "y": np.arange(200.0) % 12})
        ahead = FrameForecaster(LEARNT, TRAIN).fit(frame).predict()
        assert list(ahead["ds"]) == list(when[200:])

    def test_online(self) -> None:
        """Values are placed at month ends where the steps are months."""
        start = pd.Timestamp("1995-01-31")
        config = replace(LEARNT, interval_ms=0, interval_months=1)
        model = OnlineForecaster(config, start_ms=start.value // 1_000_000)
        for y in range(14):
            model.learn_one(float(y))
        times = model.forecaster.history().timestamp_ms
        assert times.tolist() == [
            time.value // 1_000_000 for time in pd.date_range(start, periods=14, freq="ME").as_unit("ns")
        ]
