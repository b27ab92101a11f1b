"""An event from the future, near or far, does not affect its series beyond the next few events."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Batch, Forecaster, Forecasts, Note, Status

MODELS = {
    "learnt": cases.rough_model(cases.POOLED["elman-1-pool-bare-learnt"], 1),
    "configured": cases.rough_model(replace(cases.POOLED["elman-1-pool-bare-learnt"], interval_ms=60_000), 1),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
MINUTE = 60_000
YEAR_9999 = 253_402_300_799_000
LOST = 4  # events of the series after the wrong one that may have no forecast


def run(ts: list[int], model: object, series: list[str] | None = None) -> Forecasts:
    """Returns the forecasts for events of one series, or of several."""
    names = ["a"] * len(ts) if series is None else series
    forecaster = Forecaster(model, max_series=4, history_events=0)  # type: ignore[arg-type]
    return forecaster.observe(Batch(names, np.array(ts, np.int64), np.sin(np.arange(len(ts)) / 4.0)))


@each_model
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_the_same_events_are_forecast_some_events_later(model: object, data: st.DataObject) -> None:
    """One event at any future time, up to the year 9999, at any position, costs at most `LOST` forecasts."""
    gap = st.sampled_from([MINUTE, MINUTE, MINUTE, 55_000, 2 * MINUTE, 7 * MINUTE])
    gaps = data.draw(st.lists(gap, min_size=12, max_size=40))
    ts = (cases.T0 + np.cumsum([0, *gaps])).tolist()
    where = data.draw(st.integers(0, len(ts)))
    near = ts[max(0, where - 1)]
    wrong = data.draw(st.integers(near + 1, near + 100 * MINUTE) | st.integers(near + 1, YEAR_9999))
    out = run([*ts[:where], wrong, *ts[where:]], model)
    status = np.delete(out.status, where)
    passed = sum(time <= wrong for time in ts[where:])  # other events do not lie before the wrong time
    assert (status[:where] == Status.OK).all()
    assert (status[where + min(LOST, passed) :] == Status.OK).all()
    assert np.isfinite(np.delete(out.quantiles, where, axis=0)[where + LOST :]).all()
    if len(ts) - where > 20 and max(gaps) == MINUTE:
        assert abs(int(out.interval_ms[-1]) - MINUTE) <= MINUTE // 10


@each_model
@pytest.mark.parametrize("slow", range(9))
def test_a_wrong_time_before_the_interval_has_changed(model: object, slow: int) -> None:
    """The law also holds for gaps of a seventh of the interval, at all times but that of the next regular step."""
    gaps = [MINUTE] * 3 + [7 * MINUTE] * slow + [MINUTE] * 40
    ts = (cases.T0 + np.cumsum([0, *gaps])).tolist()
    for where in range(1, slow + 14):
        for wrong in range(ts[where - 1] + 50_000, ts[where - 1] + 45 * MINUTE, 100_000):
            status = np.delete(run([*ts[:where], wrong, *ts[where:]], model).status, where)
            passed = sum(time <= wrong for time in ts[where:])
            assert (status[where + min(LOST, passed) :] == Status.OK).all(), (where, wrong)


@each_model
@pytest.mark.parametrize("where", [0, 1, 2, 3, 9, 30])
def test_is_reported(model: object, where: int) -> None:
    """The event that reopens the series is noted with the wrong time."""
    ts = [cases.T0 + i * MINUTE for i in range(60)]
    out = run([*ts[:where], YEAR_9999, *ts[where:]], model)
    (at,) = np.flatnonzero(out.notes & Note.REOPENED)
    assert at == where + 3
    assert out.noted_ms[at] == YEAR_9999
    assert np.count_nonzero(out.status == Status.LATE) == 2
    assert out.interval_ms[-1] == MINUTE


@each_model
@pytest.mark.parametrize("wrong", [2, 5, 40])
def test_a_clock_that_was_wrong_for_some_time(model: object, wrong: int) -> None:
    """A series also continues after several events in a row of the year 2100."""
    ts = [cases.T0 + i * MINUTE for i in range(90)]
    far = [4_102_444_800_000 + i * MINUTE for i in range(wrong)]
    out = run([*ts[:30], *far, *ts[30:]], model)
    assert (out.status[30 + wrong + 2 :] == Status.OK).all()
    assert out.interval_ms[-1] == MINUTE


@each_model
def test_a_long_pause_is_none(model: object) -> None:
    """A series that continued after a pause of years is not reopened by a replay of older events."""
    ts = [cases.T0 + i * MINUTE for i in range(30)]
    later = [ts[-1] + 10**10 + i * MINUTE for i in range(30)]
    out = run([*ts, *later, *ts[:20], later[-1] + MINUTE], model)
    assert not (out.notes & Note.REOPENED).any()
    assert (out.status[60:80] == Status.LATE).all()
    assert out.status[80] == Status.OK


@each_model
def test_late_events_of_a_series_without_doubt_stay_late(model: object) -> None:
    """A replay of older events in rising order reopens nothing: all are late."""
    ts = [cases.T0 + i * MINUTE for i in range(40)]
    out = run([*ts, *ts[5:30], *[ts[-1] + i * MINUTE for i in range(1, 4)]], model)
    assert (out.status[40:65] == Status.LATE).all()
    assert (out.status[65:] == Status.OK).all()


def test_forecasts_go_on_where_they_were() -> None:
    """Level and scale survive a wrong time: ten events later the median is near the level again."""
    ts = [cases.T0 + i * MINUTE for i in range(200)]
    forecaster = Forecaster(MODELS["configured"], max_series=1, history_events=0)
    values = 1000.0 + np.random.RandomState(0).normal(size=201)
    out = forecaster.observe(Batch(["a"] * 201, np.array([*ts[:100], YEAR_9999, *ts[100:]], np.int64), values))
    assert (abs(out.quantiles[110:, 0, 1] - 1000.0) < 10.0).all()
