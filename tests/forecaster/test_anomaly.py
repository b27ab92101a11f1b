"""Calibrated anomaly scores in [0, 1], and few flags: raised once per incident, within a budget."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import AnomalyConfig, Batch, ConfigError, Forecaster, Forecasts

POOL = cases.POOLED["gru-1-pool"]
MODEL = cases.rough_model(POOL)


def observe(values: np.ndarray, anomaly: AnomalyConfig | None = None, step_ms: int = cases.STEP_MS) -> Forecasts:
    """Returns the forecasts for one regular series."""
    n = len(values)
    return Forecaster(MODEL, max_series=1, anomaly=anomaly).observe(
        Batch(["a"] * n, cases.T0 + np.arange(n) * step_ms, np.asarray(values, np.float64))
    )


def noise(n: int, seed: int = 0) -> np.ndarray:
    """Returns independent normal numbers."""
    return np.random.RandomState(seed).normal(size=n)


def test_share_of_high_scores() -> None:
    """About one event in ten of pure noise scores above 0.9, and almost none is flagged."""
    out = observe(noise(6000))
    late = out.anomaly[1000:]
    assert 0.04 < (late > 0.9).mean() < 0.16
    assert 0.3 < late.mean() < 0.6
    assert out.flagged.sum() <= 6


def test_level_shift_is_announced_once() -> None:
    """The first event of a new level is flagged; the lasting level is not flagged again."""
    values = noise(3000)
    values[2000:] += 40
    out = observe(values)
    assert out.flagged[2000] == 1
    assert out.anomaly[2000] > 0.999
    assert out.flagged[2001:].sum() == 0


@pytest.mark.parametrize(("side", "flagged"), [("both", [1, 1]), ("high", [1, 0]), ("low", [0, 1])])
def test_sides(side: str, flagged: list[int]) -> None:
    """A spike and a dip are flagged according to the configured side."""
    values = noise(2000)
    values[1500] += 30
    values[1700] -= 30
    out = observe(values, AnomalyConfig(side=side))
    assert out.flagged[[1500, 1700]].tolist() == flagged


def test_budget() -> None:
    """Spikes every twenty steps raise at most the budget of flags per day of event time."""
    values = noise(4000)
    values[1000::20] += 60 * (1 + np.arange(150) % 7)
    day = np.arange(4000) * cases.STEP_MS // 86_400_000
    ts_day = (cases.T0 + np.arange(4000) * cases.STEP_MS) // 86_400_000
    out = observe(values, AnomalyConfig(per_day=3, quiet_events=1, threshold=0.99))
    assert np.bincount(ts_day - ts_day[0], out.flagged).max() == 3
    assert observe(values, AnomalyConfig(per_day=0)).flagged.sum() == 0
    assert day[-1] == 2


def test_smoothed() -> None:
    """A run of slightly unusual values is flagged once with smoothed scores, and not without."""
    values = noise(3000)
    values[2500:2520] = 2.2 * (-1.0) ** np.arange(20)
    assert observe(values).flagged[2500:2520].sum() == 0
    assert observe(values, AnomalyConfig(smooth_events=5)).flagged[2500:2520].sum() == 1


def test_constant_series() -> None:
    """A constant is never anomalous; the first other value has the highest score."""
    values = np.full(300, 5.0)
    values[200] = 5.5
    out = observe(values)
    assert (out.anomaly[20:200] == 0).all()
    assert (out.anomaly[200], out.flagged[200]) == (1.0, 1)


def test_rare_counts() -> None:
    """Rare demand of one or two is flagged at most once in 160 steps; demand of fifty is flagged."""
    flagged = []
    for seed in range(4, 8):
        rng = np.random.RandomState(seed)
        values = np.where(rng.rand(4000) < 0.05, rng.randint(1, 3, 4000), 0).astype(float)
        values[3480:3500] = 0
        values[3500] = 50
        out = observe(values, AnomalyConfig(per_day=100))  # the daily limit is not under test
        assert out.flagged[3500] == 1
        flagged.append(out.flagged[1500:3500].sum())
    assert np.mean(flagged) <= 12


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=12, max_size=60))
@settings(max_examples=30, deadline=None)
def test_any_values(values: list[float]) -> None:
    """The score of any value is a number from 0 to 1 or nan; a flagged value has a score."""
    out = observe(np.array(values))
    known = out.anomaly[~np.isnan(out.anomaly)]
    assert ((known >= 0) & (known <= 1)).all()
    assert (out.anomaly[out.flagged == 1] >= 0.999).all()


def test_settings_are_saved(tmp_path: Path) -> None:
    """A saved forecaster keeps its anomaly rules."""
    rules = AnomalyConfig(side="low", per_day=1)
    first = Forecaster(MODEL, max_series=1, anomaly=rules)
    first.save(tmp_path / "f")
    assert Forecaster.load(tmp_path / "f").anomaly == rules


@pytest.mark.parametrize(
    "wrong", [{"side": "up"}, {"threshold": 2.0}, {"clear": 0.9999}, {"quiet_events": 0}, {"smooth_events": 0}]
)
def test_bounds(wrong: dict) -> None:
    """A rule outside its bounds is named."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AnomalyConfig(**wrong)
