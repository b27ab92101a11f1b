"""Bitwise equalities of a streaming model: batched, resumed, interleaved, unrolled, prolonged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, Forecasts, Model, ModelConfig
from forecaster.features.step_inputs import LAST, SCALE
from forecaster.training.dataset import Windows, dataset
from forecaster.training.tbptt import Chunk

EVENTS, ADOPTED_AT = 220, 150
LIMITS = {"max_series": 16, "history_events": 300}
NETWORKS = cases.STREAMING | cases.POOLED
all_networks = pytest.mark.parametrize("name", NETWORKS)


def bits(out: Forecasts) -> list[tuple[bytes, ...]]:
    """Returns all outputs per event as bytes, so that nan equals nan and the last bit counts."""
    columns = (out.status, out.origin_ms, out.interval_ms, out.steps, out.quantiles, out.anomaly, out.flagged)
    return [tuple(column[i].tobytes() for column in columns) for i in range(len(out.status))]


def models(config: ModelConfig) -> tuple[Model, Model]:
    """Returns the initial model and the model adopted midway."""
    return cases.rough_model(config, 1), cases.rough_model(config, 2)


def play(batch: Batch, config: ModelConfig, cuts: list[int], reload_at: dict[int, Path] | None = None) -> Any:
    """Runs a stream in batches that end at `cuts`, saving and loading at some of them; adopts at ADOPTED_AT."""
    first, second = models(config)
    forecaster, out, start = Forecaster(first, **LIMITS), [], 0
    for cut in sorted({*cuts, *(reload_at or ()), min(ADOPTED_AT, len(batch)), len(batch)}):
        if start < cut:
            out += bits(forecaster.observe(cases.part(batch, start, cut)))
        start = cut
        if reload_at and cut in reload_at:
            forecaster.save(reload_at[cut])
            forecaster = Forecaster.load(reload_at[cut])
        if cut == ADOPTED_AT:
            forecaster.adopt(second)
    state = {key: array.tobytes() for key, array in forecaster.state().items()}
    return out, state, forecaster.header()


_EVENT_BY_EVENT: dict[str, Any] = {}


def event_by_event(name: str) -> Any:
    """Returns the reference run of a network: one event per call."""
    if name not in _EVENT_BY_EVENT:
        config = NETWORKS[name]
        _EVENT_BY_EVENT[name] = play(cases.stream(config, EVENTS), config, list(range(EVENTS)))
    return _EVENT_BY_EVENT[name]


@all_networks
@settings(max_examples=8, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(0, EVENTS), max_size=12))
def test_batching_changes_no_bit(name: str, cuts: list[int]) -> None:
    """Any batching gives the forecasts, the state and the header of single events."""
    config = NETWORKS[name]
    assert play(cases.stream(config, EVENTS), config, cuts) == event_by_event(name)


@all_networks
def test_saving_and_loading_changes_no_bit(name: str, tmp_path: Path) -> None:
    """Saving and loading at random positions, at the adoption included, changes no bit of the run."""
    config, rng = NETWORKS[name], np.random.RandomState(4)
    for _ in range(3):
        moments = [*rng.choice(EVENTS, 3, replace=False).tolist(), ADOPTED_AT, 0]
        reload_at = {moment: tmp_path / f"{moment}.state" for moment in moments}
        assert play(cases.stream(config, EVENTS), config, [60, 90], reload_at) == event_by_event(name)


@all_networks
def test_a_longer_stream_has_the_same_beginning(name: str) -> None:
    """Later events, in the same batch or not, change no earlier forecast: no future value is used."""
    config = NETWORKS[name]
    batch, cut = cases.stream(config, EVENTS), 140
    changed = Batch(
        batch.series, batch.timestamp_ms, np.where(np.arange(EVENTS) < cut, batch.value, 1e4 - batch.value),
        None if batch.covariates is None else np.where(np.arange(EVENTS)[:, None] < cut, batch.covariates, 9.0),
        None if batch.future is None else np.where(np.arange(EVENTS)[:, None, None] < cut, batch.future, 9.0),
    )  # fmt: skip
    expected = event_by_event(name)[0]
    assert play(changed, config, [])[0][:cut] == expected[:cut]
    assert play(changed, config, [])[0][cut:ADOPTED_AT] != expected[cut:ADOPTED_AT]
    assert play(cases.part(batch, 0, cut), config, [33])[0] == expected[:cut]


@all_networks
def test_other_series_change_nothing(name: str) -> None:
    """A series has the same forecasts alone and among others, in any row and any place in a tile."""
    config = NETWORKS[name]
    batch, (model, _) = cases.stream(config, EVENTS), models(config)
    among = bits(Forecaster(model, **LIMITS).observe(batch))
    for series in sorted(set(batch.series)):
        alone = bits(Forecaster(model, **LIMITS).observe(cases.only(batch, series)))
        assert alone == [row for row, of in zip(among, batch.series, strict=True) if of == series]


@pytest.mark.parametrize("name", ["elman-2-calendar-learnt", "decoder-calendar"])
def test_dates_shared_at_one_time(name: str) -> None:
    """Series with equal event times but different intervals use the dates of their own targets."""
    config = replace(NETWORKS[name], interval_ms=0)
    model, steps, rng = models(config)[0], 40, np.random.default_rng(3)
    names = ["quick", "slow", "quicker", "slow too"]
    every = {"quick": 2, "slow": 6, "quicker": 1, "slow too": 6}
    events = [(step, one) for step in range(steps) for one in names if step % every[one] == 0]
    ts = np.array([cases.T0 + step * cases.STEP_MS for step, _ in events])
    batch = Batch([one for _, one in events], ts, rng.normal(size=len(events)))
    among = bits(Forecaster(model, **LIMITS).observe(batch))
    for series in names:
        alone = bits(Forecaster(model, **LIMITS).observe(cases.only(batch, series)))
        assert alone == [row for row, of in zip(among, batch.series, strict=True) if of == series]


def chunk_forecasts(model: Model, data: Any, step: int) -> NDArray[np.float32]:
    """Returns the training forward's forecasts at `step` of the data set's first series, in the series' units."""
    config, layout = model.config, model.layout
    chunk = Chunk(layout, 1, step + 1)
    one = Windows(np.array([0]), np.array([step + 1]), np.array([step]), np.array([int(data.end[0])]))
    _, _, count = chunk.run(model.params, data, one, 1 << 60, learn=False)
    assert count > 0
    slots = chunk.slots.reshape(config.horizon, -1)
    middle = config.quantiles.index(0.5)
    q = np.empty((config.horizon, layout.n_q), np.float32)
    q[:, middle] = slots[:, 0]
    slot = 1
    for level in range(middle + 1, layout.n_q):
        q[:, level] = q[:, level - 1] + slots[:, slot]
        slot += 1
    for level in range(middle - 1, -1, -1):
        q[:, level] = q[:, level + 1] - slots[:, slot]
        slot += 1
    # One fused multiply-add of float32 numbers, as in `write_quantiles`: products of two are exact in float64.
    ref, scale = (np.float64(np.float32(data.stats[step, index])) for index in (LAST, SCALE))
    return ref + scale * q.astype(np.float64)


@pytest.mark.parametrize(
    "name", ["gru-1", "gru-1-profile", "lstm-1", "elman-1-two-seasons-calendar-covariate", "none", "decoder-calendar"]
)
def test_training_sees_what_was_live(name: str) -> None:
    """The training forward over the recorded history gives the live forecasts, to rounding.

    Both forwards call the same functions; a row stores its first values around another anchor (anchor.py), in float32.
    The stream has missing values, covariates, inserted steps and jitter; its interval is known and nothing restarts, as
    training learns the interval from the full history and restarts after a restart.
    """
    config = NETWORKS[name]
    rng, n = np.random.RandomState(8), max(70, 2 * config.seasons[-1])
    jumps = rng.choice([1, 1, 1, 1, 2, 4], n)
    ts = cases.T0 + np.cumsum(jumps) * cases.STEP_MS + rng.randint(-9000, 9000, n)
    value = np.where(rng.rand(n) < 0.1, np.nan, 5 + rng.normal(size=n))
    cov = rng.normal(size=(n, len(config.covariates))).astype(np.float32)
    model = cases.rough_model(config, 3)
    forecaster = Forecaster(model)
    future = cases.ahead(config, n, rng) if config.future_covariates else None
    live = forecaster.observe(Batch(["a"] * n, ts, value, cov, future))
    data = dataset(forecaster.history(), model.layout, 0.15)
    assert len(data.y) == live.steps[-1] > n, "steps were inserted"
    for event in rng.choice(np.arange(5, n - 6), 12, replace=False):
        step = int(live.steps[event]) - 1
        tolerance = 1e-5 * data.stats[step, SCALE]
        np.testing.assert_allclose(chunk_forecasts(model, data, step), live.quantiles[event], rtol=0, atol=tolerance)
