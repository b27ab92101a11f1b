"""Scores and flags of the kernel equal those of the naive twin, for equal forecasts and scales."""

from __future__ import annotations

from dataclasses import asdict, replace

import cases
import numpy as np
import pytest
from naive_anomaly import NaiveJudge

from forecaster import AnomalyConfig, Batch, Forecaster, Note
from forecaster.anomaly import WARM
from forecaster.features.step_inputs import SCALE

CHOICES = {
    "default": AnomalyConfig(),
    "high": AnomalyConfig(side="high", threshold=0.9, clear=0.5, quiet_events=2, per_day=3),
    "low-smoothed": AnomalyConfig(side="low", smooth_events=5, threshold=0.9, clear=0.6, quiet_events=3, per_day=100),
    "far": AnomalyConfig(threshold=0.9, clear=0.6, quiet_events=2, per_day=100, min_deviation=6.0),
    "relative": AnomalyConfig(threshold=0.9, clear=0.6, quiet_events=2, per_day=100, min_relative=0.3),
}


@pytest.mark.parametrize("network", ["gru-1", "gru-1-pool"])
@pytest.mark.parametrize("choice", CHOICES)
def test_equals_the_naive_judge(network: str, choice: str) -> None:
    """Scores and flags equal the twin's with and without ensemble, for all rules, over jumps, gaps, missing values."""
    config, rules = (cases.STREAMING | cases.POOLED)[network], CHOICES[choice]
    forecaster = Forecaster(cases.rough_model(config), max_series=2, anomaly=rules)
    rng = np.random.RandomState(5)
    values = np.round(rng.normal(size=700), 1)
    values[300:310] = values[299]
    values[400:] += 12
    values[rng.rand(700) < 0.03] = np.nan
    values[rng.rand(700) < 0.03] *= 8
    steps = np.cumsum(np.where(rng.rand(700) < 0.03, rng.randint(2, 10, 700), 1))
    ts = cases.T0 + steps * cases.STEP_MS
    judged = {name: value for name, value in asdict(rules).items() if name != "silent_after"}
    naive, observed, waiting = NaiveJudge(config.quantiles, **judged), 0, None
    scores, flags = [], []
    for i in range(700):
        scale = float(forecaster._table.stats[0, SCALE])
        out = forecaster.observe(Batch(["a"], ts[i : i + 1], values[i : i + 1]))
        regular = i > 0 and steps[i] - steps[i - 1] == 1
        if np.isfinite(values[i]):
            if observed >= WARM and regular and waiting is not None:
                score, flagged, ended = naive.judge(waiting, float(np.float32(values[i])), scale, int(ts[i]))
                assert out.anomaly[0] == pytest.approx(score, abs=2e-5), i
                assert bool(out.flagged[0]) == flagged, i
                assert bool(out.notes[0] & Note.QUIET) == ended, i
                scores.append(score)
                flags.append(flagged)
            else:
                assert np.isnan(out.anomaly[0]), i
            observed += 1
        else:
            assert np.isnan(out.anomaly[0]), i
        waiting = out.quantiles[0, 0].astype(np.float64)
    assert len(scores) > 500
    assert 0 < sum(flags) < 60


def test_no_weights_depend_on_it() -> None:
    """The anomaly rules change no forecast."""
    batch = cases.stream(cases.GRU, 200)
    one = Forecaster(cases.rough_model(cases.GRU)).observe(batch)
    other = Forecaster(cases.rough_model(cases.GRU), anomaly=replace(AnomalyConfig(), side="low")).observe(batch)
    assert one.quantiles.tobytes() == other.quantiles.tobytes()
    assert one.anomaly.tobytes() != other.anomaly.tobytes()
