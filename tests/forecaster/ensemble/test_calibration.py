"""Intervals reach their nominal coverage, also while a series is young and its scale still changes."""

from __future__ import annotations

from collections.abc import Callable

import cases
import numpy as np
import pytest

from forecaster import Batch, Forecaster, Model

CONFIG = cases.POOLED["gru-1-pool"]
SERIES, N = 24, 1000
SHAPES: dict[str, Callable[[np.random.RandomState], np.ndarray]] = {
    "counter": lambda rng: np.cumsum(20_000 + rng.randint(-5000, 5000, N)),
    "falls": lambda rng: 1e6 - np.cumsum(300 + rng.normal(0, 40, N)),
    "walk": lambda rng: np.cumsum(rng.normal(size=N)),
    "noise": lambda rng: 20 + 3 * rng.normal(size=N),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_from_the_first_events_on(shape: str) -> None:
    """About 10 % of 1-step-ahead actuals lie below the 10 % quantile and 5 % above the 95 % quantile, at any age.

    The scale of a rising series grows for hundreds of steps. Errors stored in units of that scale gave intervals that
    missed none of the first hundred values and 40 % of those after the two hundredth.
    """
    values = np.stack([SHAPES[shape](np.random.RandomState(seed)) for seed in range(SERIES)], 1).astype(float)
    names = [str(i) for i in range(SERIES)] * N
    times = cases.T0 + np.repeat(np.arange(N), SERIES) * cases.STEP_MS
    forecaster = Forecaster(Model.initial(CONFIG), max_series=SERIES, history_events=0)
    quantiles = forecaster.observe(Batch(names, times, values.ravel())).quantiles[:, 0].reshape(N, SERIES, -1)
    below = values[1:] < quantiles[:-1, :, 0]
    above = values[1:] > quantiles[:-1, :, -1]
    for first, last in [(20, 60), (60, 120), (120, 200), (200, 300), (300, 500), (500, 999)]:
        assert below[first:last].mean() == pytest.approx(0.10, abs=0.05), (first, last)
        assert above[first:last].mean() == pytest.approx(0.05, abs=0.04), (first, last)
