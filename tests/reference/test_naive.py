"""The observe kernel against its naive twin: every cell, input and branch, event by event."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from naive import Naive

from forecaster import Batch, Forecaster, Note, Status

# Float32 rounding (6e-8) through a network of some 70 recurrent steps, in units of the series' scale.
SCALES = 2e-4


@pytest.mark.parametrize("name", cases.STREAMING)
def test_observe_agrees_with_the_naive_twin(name: str) -> None:
    """Forecasts, statuses, steps, intervals and statistics equal the twin's over a rough stream with an adoption."""
    config = cases.STREAMING[name]
    batch = cases.stream(config, 260, series=3, seed=11)
    first, second = cases.rough_model(config, 1), cases.rough_model(config, 2)
    forecaster, naive = Forecaster(first, max_series=10, history_events=0), Naive(first)
    seen = []
    for start, end in ((0, 170), (170, 260)):
        if start:
            forecaster.adopt(second)
            naive.adopt(second)
        out = forecaster.observe(cases.part(batch, start, end))
        for i in range(start, end):
            raw = [] if batch.covariates is None else batch.covariates[i].tolist()
            future = np.zeros((0, config.horizon)) if batch.future is None else batch.future[i]
            event = batch.series[i], int(batch.timestamp_ms[i]), batch.value[i]
            status, quantiles, row = naive.observe(*event, raw, future)
            k = i - start
            seen.append(status)
            assert out.status[k] == status, i
            assert out.interval_ms[k] == row.interval, i
            if quantiles is None:
                assert np.isnan(out.quantiles[k]).all()
                continue
            atol = SCALES * row.scale + 1e-6 * abs(row.last)
            np.testing.assert_allclose(out.quantiles[k], quantiles, rtol=0, atol=atol, err_msg=f"event {i}")
    others = {Status.BROADCAST, Status.UNKNOWN, Status.REPAIRED}
    assert set(seen) == set(Status) - others, "the stream holds every kind of event"
    for series, row in naive.rows.items():
        stats = forecaster._table.stats[forecaster.row_of(series)]
        anchor = stats[forecaster._table.anchor_at]
        got = [anchor + stats[0], stats[1], anchor + stats[2]]
        np.testing.assert_allclose(got, [row.level, row.scale, row.last], rtol=1e-6)
        for layer, h in enumerate(row.h):
            width = forecaster.model.layout.states * config.hidden_size
            state = forecaster._table.hidden[forecaster.row_of(series), layer * width :][: len(h)]
            np.testing.assert_allclose(state, h, atol=5e-5)


@pytest.mark.parametrize("seed", range(4))
def test_outliers_agree_with_the_naive_twin(seed: int) -> None:
    """Replaced values and statistics equal the twin's under wrong values, patterns, bursts, and changes of both."""
    config, n = cases.STREAMING["gru-1"], 700
    rng, model, season = np.random.RandomState(seed), cases.rough_model(config, 1), config.seasons[0]
    values = 20 + rng.normal(size=n) + 3 * np.sin(np.arange(n) * 2 * np.pi / season)
    wrong = np.flatnonzero(rng.rand(n) < 0.02 * (1 + seed))
    values[wrong] += rng.choice([-900.0, 900.0], len(wrong))
    values[300 : 300 + 6 * season : season] += 900.0
    values[400:404] += [500.0, 1200.0, 250.0, 190.0]
    values[450:] += 300.0
    values[600:] = rng.normal(size=100) * 400
    if seed % 2:
        values[rng.rand(n) < 0.03] = np.nan
    ts = cases.T0 + np.arange(n) * cases.STEP_MS
    forecaster, naive = Forecaster(model, max_series=1, history_events=n), Naive(model)
    forecaster.observe(Batch(["a"] * n, ts, values))
    for time, value in zip(ts.tolist(), values, strict=True):
        row = naive.observe("a", time, value, [], np.zeros((0, config.horizon)))[2]
    stats = forecaster._table.stats[0]
    anchor = stats[forecaster._table.anchor_at]
    got = [anchor + stats[0], stats[1], anchor + stats[2]]
    np.testing.assert_allclose(got, [row.level, row.scale, row.last], rtol=1e-5)
    lags = forecaster._table.hidden[0][model.layout.state_floats :][: model.layout.ring.length]
    newest = np.arange(n - model.layout.ring.length, n)
    expected = np.array(row.value)[newest]
    np.testing.assert_allclose(anchor + lags[newest % model.layout.ring.length], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_reach_of_outliers_agrees_with_the_naive_twin(seed: int) -> None:
    """Every value is replaced by the same number as in the twin, or by neither: far ones, lasting ones, and strays."""
    config, n = cases.STREAMING["gru-1"], 900
    rng, model = np.random.RandomState(seed), cases.rough_model(config, 1)
    values = 20 + rng.normal(size=n)
    values[60::60] += rng.uniform(20.0, 50.0, 14) * rng.choice([-1.0, 1.0], 14)
    values[220:] += 300.0 * rng.uniform(1.0, 2.0)
    values[222 + seed % 2] -= 5000.0
    for at in (310, 400, 490, 610):  # lasting jumps, and some that last for two steps
        values[at:] += 200.0 * rng.uniform(1.0, 2.0)
        values[at + 40 : at + 42] += 10 ** rng.uniform(2.0, 4.0)
    ts = cases.T0 + np.arange(n) * cases.STEP_MS
    forecaster, naive = Forecaster(model, max_series=1, history_events=n), Naive(model)
    forecaster.observe(Batch(["a"] * n, ts, values))
    found = []
    for time, value in zip(ts.tolist(), values, strict=True):
        found.append(naive.observe("a", time, value, [], np.zeros((0, config.horizon)))[2].value[-1])
    robust = forecaster.history().robust
    assert robust is not None
    np.testing.assert_allclose(robust[10:], found[10:], rtol=1e-3, atol=1e-2)


def changing(seed: int, n: int) -> np.ndarray:
    """Returns times of a series of changing cadence, with bunches, late events, gaps and times in the far future."""
    rng = np.random.RandomState(seed)
    now, found, gap = cases.T0, [], cases.STEP_MS
    for i in range(n):
        if i and rng.rand() < 0.03:
            gap = int(rng.choice([1, 15, 60])) * cases.STEP_MS
        draw = rng.rand()
        jump = gap if draw < 0.75 else gap * rng.randint(1, 5) if draw < 0.8 else rng.randint(1, gap)
        jump = jump if draw < 0.93 else -gap
        found.append(now + jump + (10**9 if draw > 0.97 else 0))
        now = now if draw > 0.93 else now + jump
    return np.array(found, np.int64)


@pytest.mark.parametrize("name", ["lstm-2-bare-learnt", "decoder-bare-none-learnt", "gru-1"])
def test_time_agrees_with_the_naive_twin(name: str) -> None:
    """Forecasts, steps and intervals equal the twin's where cadences change, steps are shared, or times are wrong."""
    config = cases.STREAMING[name]
    first, second = cases.rough_model(config, 1), cases.rough_model(config, 2)
    forecaster, naive = Forecaster(first, max_series=10, history_events=0), Naive(first)
    ts, rng = changing(5, 300), np.random.RandomState(1)
    values, future, noted = 10 + rng.normal(size=300), np.zeros((0, config.horizon)), 0
    values[rng.rand(300) < 0.05] = np.nan
    for i in range(300):
        if i in {120, 200, 230}:
            forecaster.adopt(second if i != 200 else first)
            naive.adopt(second if i != 200 else first)
        out = forecaster.observe(Batch(["a"], ts[i : i + 1], values[i : i + 1]))
        status, quantiles, row = naive.observe("a", int(ts[i]), values[i], [], future)
        noted |= int(out.notes[0])
        assert (out.status[0], out.interval_ms[0]) == (status, row.interval), i
        if quantiles is not None:
            atol = SCALES * row.scale + 1e-6 * abs(row.last)
            np.testing.assert_allclose(out.quantiles[0], quantiles, rtol=0, atol=atol, err_msg=f"event {i}")
    expected = Note.SAME_STEP | Note.REOPENED | (Note.CONTRADICTED if config.interval_ms else Note.NEW_INTERVAL)
    assert noted & ~Note.QUIET == expected, "the stream holds every kind of event"
