"""A wrong value changes the state by a bounded step; lasting changes are followed; incidents are no season."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, Forecasts, Model
from forecaster.features.outliers import YOUNG_VALUES, is_extreme

CONFIG = cases.POOLED["gru-1-pool"]  # untrained, a season of five steps
MODEL = Model.initial(CONFIG)
SEASON = CONFIG.seasons[0]
WRONG = [-9999.0, 65_535.0, 1e20, float(np.finfo(np.float32).max)]
N, AT = 400, 301


def clean(n: int = N, seed: int = 3, noise: float = 0.3) -> NDArray[np.float64]:
    """Returns a season around 20."""
    return 20 + 3 * np.sin(np.arange(n) * 2 * np.pi / SEASON) + noise * np.random.RandomState(seed).normal(size=n)


def observe(*series: NDArray[np.float64]) -> list[Forecasts]:
    """Returns the forecasts of each series by a forecaster of its own."""
    found = []
    for values in series:
        ts = cases.T0 + np.arange(len(values)) * cases.STEP_MS
        found.append(Forecaster(MODEL, max_series=1).observe(Batch(["a"] * len(values), ts, values)))
    return found


def width(out: Forecasts) -> NDArray[np.float64]:
    """Returns the width of the outermost interval, one step ahead."""
    return out.quantiles[:, 0, -1] - out.quantiles[:, 0, 0]


@pytest.mark.parametrize("run", [1, 3])
@pytest.mark.parametrize("wrong", WRONG)
def test_width_behind_wrong_values(wrong: float, run: int) -> None:
    """The interval is at most 2.0, 1.5 and 1.1 times as wide 1, 10 and 50 steps after wrong values."""
    values = clean()
    bad = values.copy()
    bad[AT : AT + run] = wrong
    twin, hit = observe(values, bad)
    ratio = width(hit) / width(twin)
    last = AT + run - 1
    assert ratio[last] < 2.0
    assert ratio[last + 1] < 2.0
    assert ratio[last + 10] < 1.5
    assert ratio[last + 50] < 1.1
    assert hit.anomaly[AT] > 0.999


@pytest.mark.parametrize("at", range(YOUNG_VALUES))
@pytest.mark.parametrize("wrong", WRONG)
def test_width_behind_a_wrong_value_among_the_first(wrong: float, at: int) -> None:
    """A wrong value among the first ten, the first included, is detected by the values after it."""
    series, steps = 40, 80
    values = np.stack([clean(steps, seed) for seed in range(series)], axis=1)
    widths, medians = [], []
    for one in (None, wrong):
        shown = values.copy()
        if one is not None:
            shown[at] = one
        names = [f"s{i}" for i in range(series)] * steps
        ts = np.repeat(cases.T0 + np.arange(steps) * cases.STEP_MS, series)
        out = Forecaster(MODEL, max_series=series).observe(Batch(names, ts, shown.ravel()))
        medians.append(out.quantiles[:, 0, 1].reshape(steps, series))
        widths.append(width(out).reshape(steps, series).mean(axis=1))
    ratio = widths[1] / widths[0]
    assert ratio[at + 2] < 2.0
    assert ratio[at + 10] < 1.5
    assert ratio[at + 50 :].max() < 1.1
    assert np.abs(medians[1] - medians[0])[at + 10 :].mean() < 1.0


def test_anomalies_behind_a_wrong_value_are_seen() -> None:
    """Real anomalies after a wrong value score above 0.999, with and without that value."""
    values = clean()
    values[[AT + 50, AT + 80]] += 12.0
    bad = values.copy()
    bad[AT] = -9999.0
    twin, hit = observe(values, bad)
    assert (twin.anomaly[[AT + 50, AT + 80]] > 0.999).all()
    assert (hit.anomaly[[AT + 50, AT + 80]] > 0.999).all()


def test_a_spike_is_no_season() -> None:
    """One, two and three seasons after a tenfold spike, forecasts are close to those without the spike."""
    values = 70 + clean() - 20
    bad = values.copy()
    bad[AT] *= 10
    twin, hit = observe(values, bad)
    error, usual = (np.abs(out.quantiles[AT : AT + 30, 0, 1] - values[AT + 1 : AT + 31]) for out in (hit, twin))
    assert error.mean() < 1.1 * usual.mean()
    for season in (1, 2, 3):
        before = AT + season * SEASON - 1
        assert abs(hit.quantiles[before, 0, 1] - twin.quantiles[before, 0, 1]) < 0.5 * width(twin)[before]


def test_a_spike_every_season_is_learnt() -> None:
    """A spike that recurs every season is learnt as a pattern, and later spikes are forecast."""
    values = clean(n=600, noise=0.2)
    values[AT::SEASON] += 200.0
    (out,) = observe(values)
    spikes = np.arange(AT, len(values), SEASON)
    error = np.abs(out.quantiles[spikes - 1, 0, 1] - values[spikes])
    assert error[0] > 150.0
    assert np.median(error[4:]) < 20.0


@pytest.mark.parametrize("scales", [5, 50, 5000])
def test_a_level_that_stays_is_followed(scales: int) -> None:
    """The median reaches a lasting new level within a dozen steps."""
    values = clean()
    values[AT:] += 2.0 * scales
    (out,) = observe(values)
    for k in (12, 13, 14, 15):
        assert abs(out.quantiles[AT + k, 0, 1] - values[AT + k + 1]) < max(3.0, 0.1 * 2.0 * scales)


@pytest.mark.parametrize("factor", [5.0, 50.0])
def test_a_larger_scale_is_followed(factor: float) -> None:
    """Intervals grow with the noise and cover their share again."""
    rng = np.random.RandomState(6)
    values = rng.normal(size=900)
    values[AT:] *= factor
    (out,) = observe(values)
    inside = (values[AT + 200 :] >= out.quantiles[AT + 199 : -1, 0, 0]) & (
        values[AT + 200 :] <= out.quantiles[AT + 199 : -1, 0, -1]
    )
    assert 0.75 < inside.mean() < 0.93  # from 10 to 95 %


@pytest.mark.parametrize("exponent", range(-8, 12, 4))
def test_constant_one_change_constant(exponent: int) -> None:
    """A new constant value is forecast and scores low, four events after the change."""
    values = 10.0**exponent * np.where(np.arange(500) < 200, 1.0, 1.5)
    (out,) = observe(values)
    assert out.anomaly[200] > 0.99
    settled = out.quantiles[204:, 0]
    assert (settled[:, 0] <= values[204:] * (1 + 1e-12)).all()
    assert (settled[:, -1] >= values[204:] * (1 - 1e-12)).all()
    assert (out.anomaly[206:] < 0.9).all()


@pytest.mark.parametrize("half", [0.01, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("scale", [0.001, 1.0, 3e4])
def test_what_is_extreme(half: float, scale: float) -> None:
    """Beyond 25 errors that the interval implies, or 15 where that is over 40 scales from the forecast."""
    interval = np.array([-half, 0.0, half]) * scale
    error = max(half, 0.2) * scale  # as 1 / (z_u - z_l) is 0.5
    far = max(interval[-1] + 15 * error, 40 * scale)
    limit = min(interval[-1] + 25 * error, far)
    for side in (-1.0, 1.0):
        assert is_extreme(3, 0.5, interval, 0, side * limit * 1.001, 0.0, scale)
        assert not is_extreme(3, 0.5, interval, 0, side * limit * 0.999, 0.0, scale)
        assert is_extreme(3, 0.5, np.full(3, np.nan), 0, side * 41.0 * scale, 0.0, scale)
        assert not is_extreme(3, 0.5, np.full(3, np.nan), 0, side * 39.0 * scale, 0.0, scale)


def lasting_jumps(last: float) -> NDArray[np.float64]:
    """Returns a level with three lasting jumps by 5, and a value that is `last` further at step AT + 200."""
    values = 20.0 + 0.01 * np.random.RandomState(0).normal(size=600)
    for at in (200, 300, 400):
        values[at:] += 5.0
    values[AT + 200] += last
    return values


def test_the_return_from_a_value_that_was_taken_in() -> None:
    """After lasting jumps, a jump is followed at once; when the next value is back, the forecast is too."""
    values = lasting_jumps(8.0)
    (out,) = observe(values)
    median = out.quantiles[:, 0, len(CONFIG.quantiles) // 2]
    assert abs(median[401] - values[401]) < 1.0, "the third jump is taken in at once"
    assert abs(median[AT + 200] - values[AT + 200]) < 2.0, "so is the one that does not last"
    assert np.abs(median[AT + 201 : AT + 210] - 35.0).max() < 3.0, "and it is no season"


@pytest.mark.parametrize("scales", [20.0, 1e3, 1e6])
def test_a_jump_beyond_reach(scales: float) -> None:
    """After lasting jumps, a value several times as far as these is replaced, and followed if it lasts."""
    values = lasting_jumps(scales)
    lasting = values.copy()
    lasting[AT + 200 :] = values[AT + 200]
    (one, lasts) = observe(values, lasting)
    median = one.quantiles[:, 0, len(CONFIG.quantiles) // 2]
    assert np.abs(median[AT + 200 : AT + 210] - 35.0).max() < 1.0
    median = lasts.quantiles[:, 0, len(CONFIG.quantiles) // 2]
    assert np.abs(median[AT + 212 : AT + 220] - values[AT + 200]).max() < 0.05 * scales


@pytest.mark.parametrize("wrong", [-60.0, -1e3, -1e9])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_wrong_value_within_a_change(at: int, wrong: float) -> None:
    """A wrong value on the other side of the first steps of a change is no part of it; the change is followed."""
    values = clean()
    values[AT:] += 15.0
    bad = values.copy()
    bad[AT + at] += wrong
    (out,) = observe(bad)
    median = out.quantiles[:, 0, len(CONFIG.quantiles) // 2]
    assert np.abs(median[AT : AT + 20] - values[AT + 1 : AT + 21]).max() < 22.0, "never drawn to the wrong value"
    assert np.abs(median[AT + 12 : AT + 20] - values[AT + 13 : AT + 21]).max() < 4.0, "within a dozen steps"


@pytest.mark.parametrize("seed", range(4))
def test_wrong_values_at_random_are_replaced(seed: int) -> None:
    """Of wrong values at one step of a hundred, alone, in pairs or a season apart, none is taken in."""
    rng = np.random.RandomState(seed)
    values = clean(6000, seed)
    wrong = np.flatnonzero(rng.random_sample(len(values)) < 0.01)
    wrong = wrong[wrong > AT]
    pairs, seasons = rng.choice(wrong[:-9], (2, 4))
    wrong = np.unique(np.concatenate([wrong, pairs + 1, seasons + SEASON]))
    bad = values.copy()
    bad[wrong] += rng.choice([-70.0, 70.0], len(wrong))
    forecaster = Forecaster(MODEL, max_series=1)
    forecaster.observe(Batch(["a"] * len(bad), cases.T0 + np.arange(len(bad)) * cases.STEP_MS, bad))
    robust = forecaster.history().robust
    assert robust is not None
    taken = wrong[np.abs(robust[wrong] - values[wrong]) > 35.0]
    assert not len(taken[taken > wrong[4]])  # the first ones may be a pattern


def test_a_burst_leaves_level_and_scale() -> None:
    """A burst that is long enough to be taken in moves level and scale by a bounded step."""
    values = 20.0 + np.random.RandomState(2).normal(size=N)
    bad = values.copy()
    bad[AT : AT + 4] += (530.0, 1240.0, 240.0, 190.0)
    ts = cases.T0 + np.arange(AT + 5) * cases.STEP_MS
    found = []
    for one in (values, bad):
        forecaster = Forecaster(MODEL, max_series=1)
        forecaster.observe(Batch(["a"] * (AT + 5), ts, one[: AT + 5]))
        found.append(forecaster.state()["stats"][0, :2].tolist())
    (level, scale), (level_after, scale_after) = found
    assert scale_after < 2.5 * scale
    assert abs(level_after - level) < 5.0 * scale


def test_the_raw_value_stays_in_the_history() -> None:
    """Training learns from the observed values; only the values that lags read are replaced."""
    values = clean()
    values[AT] = -9999.0
    forecaster = Forecaster(MODEL, max_series=1)
    forecaster.observe(Batch(["a"] * N, cases.T0 + np.arange(N) * cases.STEP_MS, values))
    history = forecaster.history()
    assert history.robust is not None
    assert history.value[AT] == -9999.0
    assert abs(history.robust[AT] - 20.0) < 5.0
    others = np.delete(np.arange(N), AT)
    np.testing.assert_allclose(history.robust[others], history.value[others], rtol=1e-6)


def test_wrong_covariates_have_a_bounded_step() -> None:
    """A covariate value of any size changes the covariate's scale by a bounded factor."""
    config = replace(cases.STREAMING["elman-1-two-seasons-calendar-covariate"], future_covariates=())
    rng = np.random.RandomState(9)
    cov = rng.normal(size=(200, 1)).astype(np.float32)
    bad = cov.copy()
    bad[150] = 1e20
    ts = cases.T0 + np.arange(200) * cases.STEP_MS
    scales = []
    for one in (cov, bad):
        forecaster = Forecaster(Model.initial(config), max_series=1)
        forecaster.observe(Batch(["a"] * 200, ts, rng.normal(size=200), one))
        scales.append(float(forecaster.state()["stats"][0, 4]))
    assert scales[1] < 3.5 * scales[0]
