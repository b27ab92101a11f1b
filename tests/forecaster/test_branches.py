"""The named branches of the observe kernel: events other than a plain next value."""

from __future__ import annotations

import warnings
from dataclasses import replace

import cases
import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import Batch, BatchError, Forecaster, Forecasts, Status

FLOAT32_MAX = float(np.finfo(np.float32).max)
MODEL = cases.rough_model(cases.GRU, 1)
LEARNT = cases.rough_model(cases.STREAMING["lstm-2-bare-learnt"], 1)
POOLED = cases.rough_model(cases.POOLED["gru-1-pool"], 1)
BOTH = pytest.mark.parametrize("model", [MODEL, LEARNT, POOLED], ids=["known interval", "learnt interval", "pool"])


def run(
    values: NDArray[np.float64] | list[float], steps: list[float] | None = None, model: object = MODEL
) -> Forecasts:
    """Returns the forecasts for one series, at the given steps of the grid."""
    at = np.arange(len(values)) if steps is None else np.array(steps)
    ts = cases.T0 + (at * cases.STEP_MS).astype(np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Forecaster(model).observe(Batch(["a"] * len(values), ts, np.array(values, np.float64)))


def assert_sound(out: Forecasts) -> None:
    """Asserts that every forecast is finite and its quantiles do not cross, exactly."""
    q = out.quantiles[out.status <= Status.MISSING]
    assert len(q)
    assert np.isfinite(q).all()
    assert (q[..., 1:] >= q[..., :-1]).all()


@BOTH
class TestValues:
    """Values that are not numbers, or at the limits."""

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e300, 3.5e38])
    def test_are_missing_observations(self, model: object, bad: float) -> None:
        """Nan, infinite values and values beyond float32 are missing values: the step is counted and has a forecast."""
        values = np.sin(np.arange(30.0))
        values[[0, 13, 20, 21, 29]] = bad
        out = run(values, model=model)
        assert_sound(out)
        assert np.flatnonzero(out.status == Status.MISSING).tolist() == [13, 20, 21, 29]
        assert np.flatnonzero(out.status == Status.UNKNOWN).tolist() == [0], "no value was seen"
        assert out.steps.tolist() == list(range(1, 31))
        values[[0, 13, 20, 21, 29]] = np.nan
        assert out.quantiles.tobytes() == run(values, model=model).quantiles.tobytes()

    def test_only_missing(self, model: object) -> None:
        """A series without any value has no forecast, and every event has the status UNKNOWN."""
        out = run([np.nan] * 15, model=model)
        assert (out.status == Status.UNKNOWN).all()
        assert np.isnan(out.quantiles).all()
        assert out.steps.tolist() == list(range(1, 16))

    def test_first_event(self, model: object) -> None:
        """The first value is the median, in an interval that widens with the horizon."""
        out = run([42.5], model=model)
        median = model.config.quantiles.index(0.5)  # type: ignore[attr-defined]
        assert out.status[0] == Status.OK
        assert (out.quantiles[0, :, median] == 42.5).all()
        width = out.quantiles[0, :, -1] - out.quantiles[0, :, 0]
        assert width[0] > 4.0
        assert (np.diff(width) > 0).all()
        assert out.steps[0] == 1

    def test_first_interval_follows_the_other_series(self, model: object) -> None:
        """The first interval of a new series follows the changes of the other series."""
        rng = np.random.RandomState(5)
        widths = []
        for share in (0.01, 1.0):
            others = 100.0 + 100.0 * share * rng.normal(size=(40, 20))
            names = [f"s{i}" for i in range(20)] * 40
            ts = np.repeat(cases.T0 + np.arange(40) * cases.STEP_MS, 20)
            forecaster = Forecaster(model)
            forecaster.observe(Batch(names, ts, others.ravel()))
            out = forecaster.observe(Batch(["new"], ts[-1:], np.array([50.0])))
            widths.append(float(out.quantiles[0, 0, -1] - out.quantiles[0, 0, 0]))
        assert widths[0] < 10.0
        assert widths[1] > 50.0

    @pytest.mark.parametrize("value", [0.0, -7.25, 1e-40, FLOAT32_MAX, -FLOAT32_MAX])
    def test_constant(self, model: object, value: float) -> None:
        """A constant series has no scale: its intervals collapse onto the value, to the last digit."""
        out = run([value] * 40, model=model)
        assert_sound(out)
        assert (out.quantiles[9:] == value).all()

    def test_constant_that_wakes_up(self, model: object) -> None:
        """One other value after a long constant stretch changes nothing; several open the interval."""
        out = run([3.0] * 60 + [4.0, 3.0, 5.0, 3.5, 4.0, 2.0, 4.5], model=model)
        assert_sound(out)
        assert (out.quantiles[61] == 3.0).all()
        assert (out.quantiles[-1, :, -1] > out.quantiles[-1, :, 0]).all()

    def test_limits_of_float32(self, model: object) -> None:
        """Forecasts after jumps between the largest numbers of either sign stay finite: clipped, without overflow."""
        assert_sound(run(FLOAT32_MAX * np.array([1, -1, 1, 1, -1, 0, 1, -1, -1, 1] * 4), model=model))

    def test_smallest_numbers(self, model: object) -> None:
        """Forecasts of subnormal noise, below any scale, stay finite."""
        assert_sound(run(1e-42 * np.random.RandomState(0).normal(size=40), model=model))
        assert_sound(run(1e-29 * np.random.RandomState(0).normal(size=40), model=model))

    def test_changes_of_unit(self, model: object) -> None:
        """Forecasts stay finite through changes between thousandths, billions and extremes."""
        noise = 1 + 0.1 * np.random.RandomState(0).normal(size=60)
        assert_sound(run(noise * np.repeat([1e-3, 1e9, 1e-20, 1e30], 15), model=model))


@BOTH
class TestTime:
    """Events that are not one step after the previous event."""

    def test_duplicates_and_late_events_change_nothing(self, model: object) -> None:
        """Duplicates and late events are marked, have no forecast, and do not change later forecasts."""
        at = [0, 1, 1, 2, 3, 1.5, 3, 4, 5, 0, 6]
        values = np.array([1.0, 2, 9, 1, 3, 9, 9, 2, 1, 9, 2])
        out = run(values, at, model)
        taken = np.array([0, 1, 3, 4, 7, 8, 10])
        assert np.flatnonzero(out.status == Status.DUPLICATE).tolist() == [2, 6]
        assert np.flatnonzero(out.status == Status.LATE).tolist() == [5, 9]
        assert np.isnan(np.delete(out.quantiles, taken, axis=0)).all()
        clean = run(values[taken], [at[i] for i in taken], model)
        assert out.quantiles[taken].tobytes() == clean.quantiles.tobytes()

    def test_a_gap_is_missing_steps(self, model: object) -> None:
        """Absent steps are inserted; the network receives them like steps with missing values.

        The ensemble distinguishes the two: an absent step has no forecast to be scored.
        """
        values = np.sin(np.arange(30.0))
        holes = {17, 18, 22}
        kept = [i for i in range(30) if i not in holes]
        out = run(values[kept], [float(i) for i in kept], model)
        assert_sound(out)
        assert out.steps[-1] == 30
        values[list(holes)] = np.nan
        if model is not POOLED:
            assert out.quantiles[-1].tobytes() == run(values, model=model).quantiles[-1].tobytes()

    def test_a_long_gap_restarts(self, model: object) -> None:
        """After a gap longer than max_gap the hidden state restarts; level and scale stay, the steps count on."""
        max_gap = model.config.max_gap  # type: ignore[attr-defined]
        values = np.sin(np.arange(32.0))
        for gap in (max_gap, max_gap + 1, 5000, 10**9):
            at = [*range(30), 30 + gap, 31 + gap]
            forecaster = Forecaster(model)
            ts = cases.T0 + np.array(at, np.int64) * cases.STEP_MS
            out = forecaster.observe(Batch(["a"] * 32, ts, values))
            assert_sound(out)
            assert out.steps[-1] == 32 + gap
            # a restarted state is the state one step from zero: independent of the values before, except for the level
            forecaster = Forecaster(model)
            forecaster.observe(Batch(["a"] * 30, ts[:30], values[:30]))
            forecaster.state()["hidden"][:, : forecaster.model.layout.state_floats] = 0.5
            other = forecaster.observe(Batch(["a"] * 2, ts[30:], values[30:]))
            same = other.quantiles.tobytes() == out.quantiles[30:].tobytes()
            assert same == (gap > max_gap), gap

    def test_jitter_is_not_a_gap(self, model: object) -> None:
        """Events up to half an interval off the grid are the next step and differ only by their time gap."""
        at = np.arange(40.0)
        at[15:] += 0.3
        out, regular = run(np.sin(at), at.tolist(), model), run(np.sin(at), model=model)
        assert out.steps.tolist() == list(range(1, 41))
        assert out.quantiles[14].tobytes() == regular.quantiles[14].tobytes()
        assert out.quantiles[15].tobytes() != regular.quantiles[15].tobytes()

    @pytest.mark.parametrize("first", [-(2**62), -1, 0, 2**61])
    def test_any_time(self, model: object, first: int) -> None:
        """Forecasts at times before 1970 and near the limits of 64 bits are finite."""
        ts = first + np.arange(30) * cases.STEP_MS
        assert_sound(Forecaster(model).observe(Batch(["a"] * 30, ts, np.sin(np.arange(30.0)))))


class TestInterval:
    """The interval of a series; for learning see test_interval.py."""

    def test_configured_is_known_at_once(self) -> None:
        """A configured interval is reported from the first event on."""
        assert run([1.0, 2.0]).interval_ms.tolist() == [cases.STEP_MS] * 2


class TestColumns:
    """Batches that do not fit are rejected before any state changes."""

    GOOD = Batch(["a"], np.array([cases.T0]), np.array([1.0]))

    @pytest.mark.parametrize(
        ("batch", "message"),
        [
            (Batch(["a"], np.array([1, 2]), np.array([1.0])), r"got 1 series, timestamps \(2,\) and values \(1,\)"),
            (Batch(["a"], np.array([1]), np.array([[1.0]])), r"values \(1, 1\)"),
            (replace(GOOD, covariates=np.zeros((1, 2), np.float32)), r"got covariates \(1, 2\), expected \(1, 0\)"),
        ],
    )
    def test_refused(self, batch: Batch, message: str) -> None:
        """The error states what was received and expected; no event is counted, no series added."""
        forecaster = Forecaster(MODEL)
        with pytest.raises(BatchError, match=message):
            forecaster.observe(batch)
        assert (forecaster.events_total, forecaster.series) == (0, [])

    def test_covariates_are_asked_for(self) -> None:
        """A model with covariates rejects events without them and names them."""
        forecaster = Forecaster(cases.rough_model(cases.STREAMING["gru-2-covariates-calendar-learnt"]))
        with pytest.raises(BatchError, match="got no covariates, expected 2 per event: a, b"):
            forecaster.observe(self.GOOD)

    def test_an_empty_batch(self) -> None:
        """An empty batch returns no rows and changes nothing."""
        forecaster = Forecaster(MODEL)
        assert len(forecaster.observe(Batch([], np.zeros(0, np.int64), np.zeros(0))).status) == 0
        assert forecaster.events_total == 0

    def test_extreme_covariates(self) -> None:
        """Covariates of any size, constant or missing, leave forecasts finite."""
        model = cases.rough_model(cases.STREAMING["gru-2-covariates-calendar-learnt"])
        rng = np.random.RandomState(0)
        cov = rng.choice([np.nan, np.inf, -3e38, 3e38, 1e-40, 0.0, 1.0], (50, 2)).astype(np.float32)
        ts = cases.T0 + np.arange(50) * cases.STEP_MS
        assert_sound(Forecaster(model).observe(Batch(["a"] * 50, ts, rng.normal(size=50), cov)))
