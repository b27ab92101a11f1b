"""Anomaly rules of some series, and feedback that changes the threshold of one."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest

from forecaster import AnomalyConfig, Batch, CheckpointError, Forecaster, Forecasts
from forecaster.anomaly import rules
from forecaster.observe.row_rules import LEAST_STRICTNESS, MOST_ADJUSTED, MOST_STRICTNESS, RowRules, stricter

MODEL = cases.rough_model(cases.POOLED["gru-1-pool"])
LOW = AnomalyConfig(side="low")


def numbers_of(series: list[str]) -> np.ndarray:
    """Gives the first further rules to series "b"."""
    return np.array([int(name == "b") for name in series])


def spikes(names: str = "ab", n: int = 400) -> Batch:
    """Returns events of the series with one spike up and one down each, at the same steps."""
    values = np.random.RandomState(0).normal(size=n)
    values[200] += 30
    values[300] -= 30
    times = cases.T0 + np.arange(n) * cases.STEP_MS
    return Batch([*names] * n, times.repeat(len(names)), values.repeat(len(names)))


def flagged(out: Forecasts, series: int, count: int = 2) -> list[int]:
    """Returns the steps at which a series was flagged, after the first hundred."""
    return [int(at) for at in np.flatnonzero(out.flagged[series::count]) if at > 100]


def test_sides_of_series() -> None:
    """A series has the side of its own rules, and the others that of all; also where its row was given anew."""
    forecaster = Forecaster(MODEL, max_series=3)
    forecaster.judge_by(AnomalyConfig(side="high"), [LOW], numbers_of)
    out = forecaster.observe(spikes())
    assert flagged(out, 0) == [200]
    assert flagged(out, 1) == [300]
    forecaster.forget(["a", "b"])
    out = forecaster.observe(spikes("ba"))
    assert flagged(out, 0) == [300]
    assert flagged(out, 1) == [200]


def test_formula() -> None:
    """Strictness s halves the share of scores above the threshold s times, within its bounds; `clear` stays below."""
    base = rules(AnomalyConfig(threshold=0.9, clear=0.85))
    for strictness in range(LEAST_STRICTNESS, MOST_STRICTNESS + 1):
        found = stricter(base, strictness)
        assert 1 - found[2] == pytest.approx(0.1 / 2**strictness)
        assert found[3] <= found[2]
    assert stricter(rules(AnomalyConfig(threshold=0.2, clear=0.1)), -1)[2] == 0.0


def test_feedback(tmp_path: Path) -> None:
    """A stricter series has fewer flags; the same bits after loading, with any batches, and after eviction."""
    batch = spikes(n=1500)
    often = AnomalyConfig(threshold=0.9, clear=0.5, quiet_events=1, per_day=1000)
    forecaster = Forecaster(MODEL, max_series=2, anomaly=often)
    half = Batch(batch.series[:1000], batch.timestamp_ms[:1000], batch.value[:1000])
    rest = Batch(batch.series[1000:], batch.timestamp_ms[1000:], batch.value[1000:])
    forecaster.observe(half)
    for _ in range(9):
        strictness = forecaster.adjust_threshold("b", 1)
    assert strictness == MOST_STRICTNESS
    assert forecaster.strictness == {"b": MOST_STRICTNESS}
    forecaster.save(tmp_path / "state")
    loaded = Forecaster.load(tmp_path / "state")
    out, again = forecaster.observe(rest), [loaded.observe(Batch(rest.series[i : i + 7], rest.timestamp_ms[i : i + 7],
                                            rest.value[i : i + 7])) for i in range(0, len(rest), 7)]  # fmt: skip
    assert out.flagged[1::2].sum() * 4 < out.flagged[0::2].sum()
    assert np.concatenate([one.flagged for one in again]).tobytes() == out.flagged.tobytes()
    forecaster.forget(["b"])
    assert forecaster.observe(spikes(n=600)).flagged[1::2].sum() < 3
    assert forecaster.adjust_threshold("b", -100) == LEAST_STRICTNESS


def test_kept_by_a_network_of_another_shape() -> None:
    """Rules and feedback of series stay in force where a network of another shape builds the rows anew."""
    forecaster = Forecaster(MODEL, max_series=2)
    forecaster.judge_by(AnomalyConfig(side="high"), [LOW], numbers_of)
    forecaster.observe(spikes(n=350))
    forecaster.adjust_threshold("a", 6)
    forecaster.adopt(cases.rough_model(cases.GRU))
    assert forecaster.strictness == {"a": 6}
    offsets = forecaster._observed.row_rules
    values = [offsets.array[offsets.offsets[row] : offsets.offsets[row] + 3].tolist() for row in range(2)]
    assert values == [stricter(rules(AnomalyConfig(side="high")), 6)[:3].tolist(), rules(LOW)[:3].tolist()]


def test_bound() -> None:
    """The oldest feedback is dropped beyond the bound, with its effect; damaged feedback is refused."""
    one = RowRules(1, AnomalyConfig(), (0.0, 1.0))
    one.adjust("first", 1, {"first": 0})
    assert one.offsets[0] > 0
    one.strictness |= {str(i): 1 for i in range(MOST_ADJUSTED - 1)}
    one.adjust("last", 1, {"first": 0})
    assert len(one.strictness) == MOST_ADJUSTED
    assert "first" not in one.strictness
    assert one.offsets[0] == 0
    with pytest.raises(CheckpointError, match="expected numbers from -1 to 6"):
        one.restore({"strictness": {"a": 9}}, {})
