"""Calibrated anomaly scores in [0, 1], and few flags: raised once per incident, within a budget."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import AnomalyConfig, Batch, ConfigError, Forecaster, Forecasts
from forecaster.anomaly import excess_share

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


EXCESSES = {
    "light": lambda rng, n: rng.uniform(0, 1, n),
    "exponential": lambda rng, n: rng.exponential(1.0, n),
    "heavy": lambda rng, n: rng.pareto(1.0, n),
    "spikes on schedule": lambda rng, n: np.where(np.arange(n) % 10 == 0, 30, 1) * rng.exponential(1.0, n),
}


@pytest.mark.parametrize("kind", EXCESSES)
@pytest.mark.parametrize("narrowing", [False, True])
def test_tails_hold(kind: str, narrowing: bool) -> None:
    """In intervals of any width no more excesses are as far as the share says, up to a factor of 1.5, and not fewer."""
    rng = np.random.default_rng(3)
    excesses = EXCESSES[kind](rng, 20_000) + 1e-9
    units = np.where(np.arange(20_000) % 7 == 0, 0.01, 1.0) if narrowing else np.ones(20_000)
    row = np.full(6, np.nan, np.float32)
    shares = np.array([excess_share(e, unit, row, 0) for e, unit in zip(excesses, units, strict=True)])[1000:]
    for share in (0.5, 0.1, 0.01):
        assert (shares <= share).mean() <= 1.5 * share
    if kind != "light":
        assert (shares <= 0.1).mean() >= 0.1 / 1.5


def test_one_value_makes_no_tail_heavy() -> None:
    """After one huge excess, the next one that is half as far still has a small share; its weights sum to one."""
    row = np.full(6, np.nan, np.float32)
    for e in np.random.default_rng(1).exponential(1.0, 500):
        excess_share(float(e), 1.0, row, 0)
    assert excess_share(1e5, 1.0, row, 0) < 1e-5
    for e in np.random.default_rng(2).exponential(1.0, 30):
        excess_share(float(e), 1.0, row, 0)
    assert excess_share(5e4, 1.0, row, 0) < 1e-3
    assert row[2:].sum() == pytest.approx(1.0, abs=1e-5)


def test_the_first_change_of_a_constant_is_beyond_all() -> None:
    """Without a unit, the first excess has the share 0, and the second one of the same size has not."""
    row = np.full(6, np.nan, np.float32)
    assert excess_share(5.0, 0.0, row, 0) == 0.0
    assert 0.0 < excess_share(5.0, 0.0, row, 0) < 0.1
