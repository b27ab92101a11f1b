"""Real-world data: forecasts stay finite and plausible, and intervals reach nominal coverage."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import pytest

from forecaster import Batch, ConfigError, Forecaster, Forecasts, Model, ModelConfig, Status

N, WARM = 4000, 1000
CONFIG = cases.POOLED["gru-1-pool"]  # untrained: tests experts, mixture and calibration
RNG = np.random.RandomState


def observe(values: np.ndarray, ts: np.ndarray | None = None, config: ModelConfig = CONFIG) -> Forecasts:
    """Observes one series, regular unless times are given; asserts finite, ordered forecasts and returns them."""
    ts = cases.T0 + np.arange(len(values)) * cases.STEP_MS if ts is None else ts
    out = Forecaster(Model.initial(config), max_series=1).observe(Batch(["a"] * len(values), ts, values))
    known = out.status != Status.UNKNOWN
    assert known[np.flatnonzero(np.isfinite(values))[0] :].all(), "from the first value on there is a forecast"
    assert np.isfinite(out.quantiles[known]).all()
    assert (np.diff(out.quantiles[known], axis=2) >= 0).all()
    return out


def covered(out: Forecasts, values: np.ndarray, step: int = 1, start: int = WARM) -> float:
    """Returns the share of values `step` steps ahead between the quantiles 0.1 and 0.95."""
    y, q = values[start + step :], out.quantiles[start:-step, step - 1]
    known = np.isfinite(y)
    return float(((y >= q[:, 0]) & (y <= q[:, 3]))[known].mean())


def poisson(seed: int = 0) -> np.ndarray:
    """Returns small counts."""
    return RNG(seed).poisson(2.0, N).astype(float)


KINDS = {
    "counts": poisson(),
    "heavy tails": RNG(1).standard_t(2, N),
    "far from zero": 1e7 + RNG(2).normal(size=N),
    "tiny": 1e-9 * RNG(3).normal(size=N),
    "random walk": np.cumsum(RNG(4).normal(size=N)),
    "level shifts": RNG(5).normal(size=N) + 50.0 * (np.arange(N) // 500 % 2),
    "missing stretches": np.where(np.arange(N) % 200 < 30, np.nan, RNG(6).normal(size=N)),
    "growing noise": RNG(7).normal(size=N) * np.linspace(1, 20, N),
}


@pytest.mark.parametrize("kind", KINDS)
def test_honest_intervals(kind: str) -> None:
    """The interval from 10 to 95 % covers about 85 % of the actuals, one and six steps ahead."""
    values = KINDS[kind]
    out = observe(values)
    atoms = 0.1 if kind == "counts" else 0.0  # a whole number on the edge of the interval counts as inside
    for step in (1, 6):
        assert 0.79 < covered(out, values, step) < 0.91 + atoms, step


def test_intermittent_demand() -> None:
    """Forecasts of demand in one step of twenty are finite and not negative, with a median of no demand."""
    rng = RNG(8)
    values = np.where(rng.rand(N) < 0.05, rng.randint(1, 9, N), 0).astype(float)
    q = observe(values, config=replace(CONFIG, non_negative=True)).quantiles[WARM:]
    assert q.min() >= 0.0
    assert np.median(q[:, :, 1]) < 0.2
    assert covered(observe(values), values) > 0.8


def test_non_negative() -> None:
    """No quantile is below zero, and quantiles above zero stay equal, bit for bit."""
    free, bounded = (observe(poisson(), config=replace(CONFIG, non_negative=on)).quantiles for on in (False, True))
    assert free.min() < 0 <= bounded.min()
    assert np.maximum(free, 0).tobytes() == bounded.tobytes()
    assert covered(observe(poisson(), config=replace(CONFIG, non_negative=True)), poisson()) > 0.79


def test_clip() -> None:
    """Forecasts of a share between 0 and 100 stay within the limits and reach their coverage."""
    values = np.clip(RNG(9).normal(90, 15, N), 0, 100)
    out = observe(values, config=replace(CONFIG, clip=(0.0, 100.0)))
    assert 0.0 <= out.quantiles.min() < out.quantiles.max() <= 100.0
    assert covered(out, values) > 0.79


def test_constant_stretches() -> None:
    """Intervals narrow while a value is constant and reach their coverage again after it changes."""
    values = RNG(10).normal(size=N)
    values[1500:2500] = values[1499]
    q = observe(values).quantiles[:, 0]
    width = q[:, 3] - q[:, 0]
    assert width[2400:2499].mean() < 0.25 * width[1000:1499].mean()
    assert covered(observe(values), values, start=3000) > 0.75


def test_unit_change() -> None:
    """Forecasts after a change from kilobytes to bytes adapt to the new unit, with intervals to match."""
    values = RNG(11).normal(10, 1, N)
    values[2000:] *= 1000
    out = observe(values)
    assert abs(np.median(out.quantiles[3500:, 0, 1]) - 10_000) < 1500
    assert covered(out, values, start=3000) > 0.75


def test_irregular_intervals() -> None:
    """Intervals reach nominal coverage for gaps of about half to one and a half intervals."""
    values = RNG(12).normal(size=N)
    ts = cases.T0 + np.cumsum(RNG(13).uniform(0.55, 1.45, N) * cases.STEP_MS).astype(np.int64)
    assert 0.79 < covered(observe(values, ts), values) < 0.91


@pytest.mark.parametrize("wrong", [(1.0,), (2.0, 1.0), (0.0, float("inf")), (1.0, 1.0)])
def test_limits_that_are_none(wrong: tuple[float, ...]) -> None:
    """Limits other than two finite numbers, the lower one first, are rejected."""
    with pytest.raises(ConfigError, match="clip"):
        ModelConfig(clip=wrong)


def test_limits_against_each_other() -> None:
    """Upper limits below zero for a non-negative forecast are rejected."""
    with pytest.raises(ConfigError, match="non_negative"):
        ModelConfig(clip=(-5.0, -1.0), non_negative=True)
