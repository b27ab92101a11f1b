"""Large levels with small changes: the anchor of a row keeps forecasts, history and training exact."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, Forecasts, Model
from forecaster.features.first_values import PAIR
from forecaster.training.dataset import dataset

MODEL = Model.initial(cases.POOLED["gru-1-pool"])
N = 300


def observe(values: NDArray[np.float64]) -> Forecasts:
    """Returns the forecasts for one series."""
    ts = cases.T0 + np.arange(len(values)) * cases.STEP_MS
    return Forecaster(MODEL, max_series=1).observe(Batch(["a"] * len(values), ts, values))


def base(seed: int) -> NDArray[np.float64]:
    """Returns a season of five steps with noise, in multiples of 2^-10: sums with large whole numbers stay exact."""
    rng = np.random.RandomState(seed)
    return np.round(1024 * (3 * np.sin(np.arange(N) * 2 * np.pi / 5) + rng.normal(size=N))) / 1024


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    power=st.integers(-20, 40),
    shift=st.one_of(st.just(0.0), st.integers(1, 10**9).map(float)),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_scaling_and_shifting_the_input_scales_and_shifts_the_forecasts(
    seed: int, power: int, shift: float, sign: float
) -> None:
    """y -> a y + b, with b up to 1e9 scales, transforms the forecasts equally, to rounding, from the third event on.

    Series whose second value is more than `PAIR` times the first, or the reverse, are left out: there the size of the
    larger value decides whether that value is a fill value.
    """
    values, a = base(seed), 2.0**power
    assume(all(max(pair) <= PAIR * min(pair) for pair in np.abs([values[:2], values[:2] + sign * shift])))
    plain, moved = observe(values), observe(a * (values + sign * shift))
    q = moved.quantiles / a - sign * shift
    scale = np.abs(np.diff(values)).mean()
    tolerance = 1e-3 * scale + 2e-16 * shift * 8
    np.testing.assert_allclose(q[2:], plain.quantiles[2:], rtol=0, atol=tolerance)


LEVELS = {
    "1e8": 1e8 + base(1), "1e9": 1e9 + base(2), "counter": 5e8 + np.cumsum(np.random.RandomState(3).randint(1, 6, N)),
    "disk": 2e12 + np.cumsum(20_000 + np.random.RandomState(4).randint(-5000, 5000, N)),
    "whole numbers": 2.0**53 - 5000 + np.random.RandomState(5).randint(0, 100, N),
    "cents": np.round(123_456_789.25 + np.random.RandomState(6).normal(size=N), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", LEVELS)
def test_intervals_hold_at_any_level(name: str) -> None:
    """The interval from 10 to 95 % covers about 85 % of the values one step ahead, at any level."""
    values = LEVELS[name]
    out = observe(values)
    q = out.quantiles[100:-1, 0]
    inside = (q[:, 0] <= values[101:]) & (values[101:] <= q[:, -1])
    assert 0.75 < inside.mean() < 0.95
    assert (np.diff(q, axis=1) >= 0).all()


@pytest.mark.parametrize("name", LEVELS)
def test_history_and_training_keep_the_digits(name: str) -> None:
    """Training learns from the values as observed; its inputs equal those of the series without its level."""
    values = LEVELS[name]
    found = []
    for series in (values, values - values[0] + 3 * np.abs(np.diff(values)).mean()):
        forecaster = Forecaster(MODEL, max_series=1)
        forecaster.observe(Batch(["a"] * N, cases.T0 + np.arange(N) * cases.STEP_MS, series))
        history = forecaster.history()
        np.testing.assert_array_equal(history.value, series)
        found.append(dataset(history, MODEL.layout, 0.15))
    np.testing.assert_allclose(found[0].x, found[1].x, atol=1e-4)
    np.testing.assert_allclose(np.diff(found[0].y), np.diff(values), rtol=0, atol=1e-6 * np.abs(np.diff(values)).mean())


def test_ordinary_series_keep_numbers_of_float32() -> None:
    """Forecasts at a moderate level are representable in float32, so that half the bytes suffice to store them."""
    out = observe(20 + base(7))
    settled = out.quantiles[20:]
    assert (settled == settled.astype(np.float32)).all()
