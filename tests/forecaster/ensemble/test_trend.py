"""A trend that has lasted is extrapolated by the forecast; no trend is invented where there is none."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Batch, Forecaster, Model, ModelConfig, mixture_weights
from forecaster.ensemble.experts import first_scored, member_count
from forecaster.ensemble.trend import LEAST_SPAN, SPAN
from forecaster.ensemble.weights import YOUNG, lateness, tracked_horizons

MINUTE, START = 60_000, 1_700_000_000_000
LEARNT = cases.POOLED["elman-1-pool-bare-learnt"]
BARE = replace(LEARNT, interval_ms=MINUTE)
SEASONAL = cases.POOLED["gru-1-pool"]  # a season of five steps
HORIZON, MEDIAN = 6, 1


def observed(values: np.ndarray, config: ModelConfig = BARE) -> tuple[Forecaster, np.ndarray]:
    """Observes one series; returns the forecaster (network untrained) and its last quantiles (horizon, levels)."""
    forecaster = Forecaster(Model.initial(config), max_series=1, history_events=0)
    times = START + np.arange(len(values)) * MINUTE
    return forecaster, forecaster.observe(Batch(["a"] * len(values), times, values)).quantiles[-1]


def lines(forecaster: Forecaster) -> tuple[np.ndarray, np.ndarray]:
    """Returns (slope, beyond) of the first row, by tracked horizon."""
    table = forecaster._table
    at, K = table.ensemble_at + table.layout.ensemble.trend, len(table.layout.ensemble.tracked)
    held = table.hidden[0, at : at + 2 * K].astype(np.float64)
    return held[:K], held[K:]


class TestLine:
    """Forecasts of a linear series stay on its line."""

    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from([1e-3, 1.0, 1e6]), st.floats(-1.0, 1.0), st.floats(-1e4, 1e4), st.integers(0, 99))
    def test_goes_on(self, unit: float, slope: float, level: float, seed: int) -> None:
        """The medians are within a fifth of the change ahead, for any slope, level and unit."""
        slope = np.copysign(0.2 + 0.8 * abs(slope), slope)
        values = unit * (level + slope * np.arange(200) + np.random.default_rng(seed).normal(0, 0.02, 200))
        _, quantiles = observed(values)
        truth = unit * (level + slope * (199 + np.arange(1, HORIZON + 1)))
        assert abs(quantiles[:, MEDIAN] - truth).max() < 0.2 * HORIZON * unit * abs(slope)

    def test_behind_a_jump(self) -> None:
        """A lasting level shift of a thousand changes keeps the slope; the line continues from the new level."""
        values = 0.3 * np.arange(200.0) + np.random.default_rng(7).normal(0, 0.02, 200)
        values[150:] += 300.0
        forecaster, quantiles = observed(values)
        np.testing.assert_allclose(lines(forecaster)[0], 0.3, rtol=0.1)
        assert quantiles[-1, MEDIAN] - values[-1] == pytest.approx(0.3 * HORIZON, rel=0.3)

    def test_new_weights_do_not_take_over(self) -> None:
        """A network adopted just now gets little weight where the line is far more accurate."""
        values = 0.3 * np.arange(200.0) + np.random.default_rng(7).normal(0, 0.02, 200)
        forecaster, _ = observed(values)
        forecaster.adopt(cases.rough_model(BARE, 3))
        quantiles = forecaster.observe(Batch(["a"], np.array([START + 200 * MINUTE]), np.array([60.0]))).quantiles[0]
        assert quantiles[-1, MEDIAN] - 60.0 == pytest.approx(0.3 * HORIZON, rel=0.1)
        assert mixture_weights(forecaster)[-1, 0] < 0.1

    def test_flattens(self) -> None:
        """Only part of the slope of a flattening line comes true, and the line's record holds that share."""
        curve = 100.0 * np.exp(-np.arange(200) / 12.0)
        forecaster, _ = observed(curve[:60])
        table = forecaster._table
        at, K = table.ensemble_at + table.layout.ensemble.trend, len(table.layout.ensemble.tracked)
        products, squares = table.hidden[0, at + 2 * K : at + 4 * K].astype(np.float64).reshape(2, K)
        share = products / squares
        assert (share > 0.1).all()
        assert (share < 0.9).all()


class TestNoLine:
    """No trend is invented where there is none."""

    def test_random_walk(self) -> None:
        """The median of a random walk stays near its last value, relative to the spread of the walk."""
        far = []
        for seed in range(20):
            values = 100.0 + np.cumsum(np.random.default_rng(seed).normal(0, 1.0, 400))
            far.append(abs(observed(values)[1][:, MEDIAN] - values[-1]).max())
        assert np.median(far) < 0.2 * np.sqrt(HORIZON)

    def test_emptied_again_and_again(self) -> None:
        """The forecast just before a rotation of a log, every hundred steps, hardly exceeds the largest past value."""
        t = np.arange(700)
        values = 20.0 + 60.0 * (t % 100) / 100 + np.random.default_rng(1).normal(0, 0.2, 700)
        for length in (550, 599, 600, 605, 650):
            assert observed(values[:length])[1][:, MEDIAN].max() < 88.0, length


class TestState:
    """The line that a row stores."""

    def test_is_the_least_squares_line(self) -> None:
        """The line over few values is the least-squares line of numpy, for every horizon."""
        values = np.array([3.0, 4.5, 4.0, 6.5, 6.0, 8.0, 9.5, 9.0, 11.0, 12.5])
        assert max(LEAST_SPAN, SPAN) > len(values)
        slopes, beyond = lines(observed(values)[0])
        slope, at = np.polyfit(np.arange(-9.0, 1.0), values, 1)
        np.testing.assert_allclose(slopes, slope, rtol=1e-5)
        np.testing.assert_allclose(beyond, at - values[-1], rtol=1e-4)

    def test_another_value_of_the_newest_step(self) -> None:
        """A replaced value of the newest step gives the line of a row that observed only the last value."""
        values = 10.0 + 0.3 * np.arange(60) + np.random.default_rng(2).normal(0, 0.2, 60)
        alone, _ = observed(values)
        replaced, _ = observed(np.append(values[:-1], values[-1] + 0.4))
        replaced.observe(Batch(["a"], np.array([START + 59 * MINUTE + 1000]), values[-1:]))
        for got, expected in zip(lines(replaced), lines(alone), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-4)

    def test_missing_steps(self) -> None:
        """Missing steps and missing values leave the line unchanged."""
        values = 10.0 + 0.3 * np.arange(120.0)
        values[40:43] = values[70] = np.nan
        forecaster = Forecaster(Model.initial(BARE), max_series=1, history_events=0)
        kept = np.flatnonzero(~np.isin(np.arange(120), [90, 91]))
        forecaster.observe(Batch(["a"] * len(kept), START + kept * MINUTE, values[kept]))
        slopes, beyond = lines(forecaster)
        np.testing.assert_allclose(slopes, 0.3, rtol=1e-3)
        np.testing.assert_allclose(beyond, 0.0, atol=1e-3)

    def test_another_interval(self) -> None:
        """The slope per step is converted to the new step length when the interval changes."""
        forecaster = Forecaster(Model.initial(LEARNT), max_series=1, history_events=0)
        minutes = np.concatenate([np.arange(60), 59 + 15 * np.arange(1, 31)])
        answer = forecaster.observe(Batch(["a"] * 90, START + minutes * MINUTE, 0.1 * minutes))
        assert answer.interval_ms[-1] == 15 * MINUTE
        slopes, _ = lines(forecaster)
        np.testing.assert_allclose(slopes, 1.5, rtol=0.2)


class TestLateMembers:
    """Members that need a season are scored later than the other members."""

    def test_first_scores(self) -> None:
        """Every member is scored from the step that `first_scored` returns, and not before."""
        tracked, members = tracked_horizons(HORIZON), member_count(1)
        rng = np.random.default_rng(4)
        forecaster = Forecaster(Model.initial(SEASONAL), max_series=1, history_events=0)
        at = forecaster._table.ensemble_at + forecaster._table.layout.ensemble.errors
        for step in range(30):
            forecaster.observe(Batch(["a"], np.array([START + step * MINUTE]), 10.0 + rng.normal(size=1)))
            errors = forecaster._table.hidden[0, at : at + members * len(tracked)].reshape(len(tracked), members)
            for (index, k), member in itertools.product(enumerate(tracked), range(2, members)):
                known = not np.isnan(errors[index, member])
                assert known == (step >= first_scored(member, k, SEASONAL.seasons)), (step, k, member)

    def test_one_lucky_score_is_no_record(self) -> None:
        """A single chance match of a season gives that member neither most of the weight nor narrow intervals."""
        rng = np.random.default_rng(5)
        values = 50.0 + np.cumsum(rng.normal(0, 1.0, 12))
        for last in (6, 7):  # by chance the level-adjusted season is exact when it is scored first
            values[last] = values[last - 5] + values[last - 1] - values[last - 6]
        forecaster, quantiles = observed(values[:8], SEASONAL)
        assert mixture_weights(forecaster)[0, 3] < 0.5
        assert quantiles[0, -1] - quantiles[0, 0] > 1.0

    def test_lateness_fades(self) -> None:
        """The lateness falls with every score and is zero for a member that is not late, or after `YOUNG` scores."""
        late = [lateness.py_func(steps, 24.0, 1) for steps in range(25, 24 + YOUNG + 5)]
        assert late[0] == pytest.approx(1.0 - 1.0 / 24.0)
        assert all(a >= b for a, b in itertools.pairwise(late))
        assert late[-1] == 0.0
        assert lateness.py_func(40, 1.0, 1) == 0.0
