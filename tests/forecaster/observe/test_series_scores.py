"""Scores of every series, against a twin in plain Python that keeps all values and forecasts."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from forecaster import Batch, Forecaster, Forecasts, ModelConfig, Status
from forecaster.observe.series_scores import LARGEST, ROUNDING, WINDOW

SEASON = 4
CONFIG = ModelConfig(hidden_size=16, head_size=16, horizon=3, seasons=(SEASON,), interval_ms=1000)


def stream(n: int = 400, names: int = 3) -> Batch:
    """Interleaved seasonal series with missing steps and values, a duplicate and a constant series."""
    rng = np.random.default_rng(7)
    step = np.arange(n) // names
    step[n // 2 :] += 2
    value = 1e9 * (np.arange(n) % names == 1) + 3 * np.sin(step * np.pi / 2) + rng.normal(0, 0.5, n)
    value[np.arange(n) % names == 2] = 0.1
    value[40] = value[101] = np.nan
    ts = step * 1000
    ts[61] = ts[61 - names]
    return Batch([f"s{i % names}" for i in range(n)], ts.astype(np.int64), value)


def figures(batch: Batch, answers: Forecasts, series: str) -> dict[str, float]:
    """Returns the figures of one series, from dictionaries."""
    out = {"scored": 0, "paired": 0, "covered": 0.0, "error": 0.0, "naive_error": 0.0, "flagged": 0.0}
    values, made, seen = dict[int, float](), dict[int, np.ndarray](), 0
    middle = CONFIG.quantiles.index(0.5)
    for i, name in enumerate(batch.series):
        if name != series or answers.status[i] not in (Status.OK, Status.MISSING, Status.UNKNOWN):
            continue
        step, y = int(answers.steps[i]), float(batch.value[i])
        if answers.status[i] == Status.MISSING:
            y = math.nan
        out["flagged"] += (answers.flagged[i] - out["flagged"]) * max(1 / step, 1 / WINDOW)
        q = made.get(step - 1)
        if q is not None and math.isfinite(y) and step == seen + 1:
            out["scored"] += 1
            inside = q[0] <= y <= q[-1] or q[0] <= np.float32(y) <= q[-1] == np.float32(q[-1])
            out["covered"] += (inside - out["covered"]) * max(1 / out["scored"], 1 / WINDOW)
            before = values.get(step - SEASON, math.nan)
            if math.isfinite(before):
                out["paired"] += 1
                naive, error = abs(y - before), abs(y - q[middle])
                if (q[[0, -1]].astype(np.float32) == q[[0, -1]]).all():
                    naive, error = (0.0 if one <= abs(y) * ROUNDING else one for one in (naive, error))
                if out["paired"] > 1 and out["naive_error"] > 0:
                    most = LARGEST * out["naive_error"]
                    naive, error = min(naive, most), min(error, most)
                rate = max(1 / out["paired"], 1 / WINDOW)
                out["error"] += (error - out["error"]) * rate
                out["naive_error"] += (naive - out["naive_error"]) * rate
        seen, values[step] = step, y
        if np.isfinite(answers.quantiles[i]).all():
            made[step] = answers.quantiles[i, 0]
    return out


@pytest.mark.parametrize("size", [1, 7, 60])
def test_scores_equal_those_of_a_twin(size: int) -> None:
    """Whatever the batches: scored events, coverage, errors, skill and flagged share of every series."""
    batch, live = stream(), Forecaster(CONFIG, history_events=0)
    live.score_series()
    parts = [
        live.observe(Batch(batch.series[a : a + size], batch.timestamp_ms[a : a + size], batch.value[a : a + size]))
        for a in range(0, len(batch), size)
    ]
    names = ("status", "steps", "quantiles", "flagged", "origin_ms", "interval_ms", "anomaly")
    answers = Forecasts(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
    found = live.recent_scores()
    assert found is not None
    assert found.nominal == pytest.approx(CONFIG.quantiles[-1] - CONFIG.quantiles[0])
    for at, series in enumerate(found.series):
        wanted = figures(batch, answers, series)
        assert found.scored[at] == wanted["scored"] > 50
        assert found.last_ms[at] == batch.timestamp_ms[[one == series for one in batch.series]].max()
        for name in ("covered", "error", "naive_error", "flagged"):
            # Rings are float32 and relative to an anchor, and hold the replacement of an outlier.
            assert getattr(found, name)[at] == pytest.approx(wanted[name], rel=0.05, abs=1e-6), (series, name)
        if wanted["naive_error"] > 0:
            assert found.skill[at] == pytest.approx(1 - found.error[at] / found.naive_error[at])
        else:
            assert np.isnan(found.skill[at])


def test_scoring_changes_no_forecast() -> None:
    """The forecasts and the state are those of a forecaster that does not score, bit for bit."""
    batch, plain, scored = stream(), Forecaster(CONFIG), Forecaster(CONFIG)
    scored.score_series()
    one, other = plain.observe(batch), scored.observe(batch)
    np.testing.assert_array_equal(one.quantiles, other.quantiles)
    for name, array in plain.state().items():
        np.testing.assert_array_equal(array, scored.state()[name], err_msg=name)
    assert plain.recent_scores() is None


def test_a_series_that_starts_again_has_no_old_scores() -> None:
    """Scores of a forgotten series are gone, and those of a network of another shape start anew."""
    batch, live = stream(), Forecaster(CONFIG)
    live.score_series()
    live.observe(batch)
    live.forget(["s0"])
    live.observe(Batch(["s0", "s0", "new"], np.array([900_000, 901_000, 901_000]), np.array([1.0, 2.0, 3.0])))
    found = live.recent_scores()
    assert found is not None
    assert found.scored[found.series.index("s0")] <= 1
    live.adopt(Forecaster(dataclasses.replace(CONFIG, horizon=5)).model)
    assert (again := live.recent_scores()) is not None
    assert again.scored.sum() == 0
