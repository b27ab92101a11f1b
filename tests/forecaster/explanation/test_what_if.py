"""Forecasts with other known future values."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from cases import GRU, rough_model
from explained_streams import COVARIATES, batches, observed, state_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Batch, BatchError, Forecaster, RowTwin, what_if

NUMBERS = st.floats(-1e6, 1e6, width=32)
VALUES = st.one_of(NUMBERS, st.lists(st.one_of(st.none(), NUMBERS), min_size=1, max_size=COVARIATES.horizon))


@pytest.fixture(scope="module")
def stream() -> tuple[Forecaster, np.ndarray]:
    """Returns a forecaster after a stream with known future values, and its newest forecast."""
    return observed(COVARIATES, 1, 150)


@given(values=st.dictionaries(st.sampled_from(["p", "q"]), VALUES))
@settings(deadline=None, max_examples=50)
def test_law(stream: tuple[Forecaster, np.ndarray], values: dict[str, float | list[float | None]]) -> None:
    """Beside the forecast of the events, bit for bit, stands one with the values given; the state does not change."""
    forecaster, made = stream
    before = state_bytes(forecaster)
    found = forecaster.what_if("a", values)
    assert state_bytes(forecaster) == before
    assert np.array_equal(found.actual, made)
    known = forecaster.situation("a").known
    assert known is not None
    for at, name in enumerate(COVARIATES.future_covariates):
        given_here = values.get(name, [])
        listed = given_here if isinstance(given_here, list) else [given_here] * COVARIATES.horizon
        expected = known[at].copy()
        for step, value in enumerate(listed):
            expected[step] = expected[step] if value is None else value
        assert np.array_equal(found.known[at], expected)
    assert np.isfinite(found.quantiles).all()
    if np.array_equal(found.known, known):
        assert np.array_equal(found.quantiles, made)


def test_a_forecast_that_had_these_values() -> None:
    """What would have been forecast with other values is what a daemon forecasts that has got them.

    Level and scale of the covariate follow the nearest step, so that this one is equal in both streams.
    """
    config = replace(COVARIATES, mixture=False)  # here the network has no weight in the ensemble
    forecaster, other = Forecaster(rough_model(config)), Forecaster(rough_model(config))
    stream = list(batches(config, 2, 120))
    for batch in stream:
        forecaster.observe(batch)
    last = stream[-1]
    assert last.future is not None
    changed = last.future.copy()
    changed[0, 0, 1:] = 2.5
    for batch in [*stream[:-1], replace(last, future=changed)]:
        made = other.observe(batch).quantiles[0]
    found = forecaster.what_if("a", {"p": [None, 2.5, 2.5, 2.5, 2.5, 2.5]})
    assert np.array_equal(found.quantiles, made)
    assert not np.array_equal(found.quantiles, found.actual)


def test_values_that_the_history_no_longer_holds() -> None:
    """Where the history has lost the newest event, its known future values are missing, and it says so."""
    forecaster = Forecaster(rough_model(COVARIATES), history_events=5)
    for batch in batches(COVARIATES, 3, 60):
        forecaster.observe(batch)
    for batch in batches(COVARIATES, 4, 20, ("b",)):
        forecaster.observe(batch)
    assert forecaster.situation("a").known is None
    assert not forecaster.explain("a").is_complete
    found = forecaster.what_if("a", {"p": 1.0})
    assert np.array_equal(found.known[0], np.ones(COVARIATES.horizon, np.float32))
    assert np.isnan(found.known[1]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"price": 1.0}, "got values of 'price', expected one of the known future covariates: p, q"),
        ({"a": 1.0}, "got values of 'a', expected one of the known future covariates: p, q"),
        ({"p": []}, "p: got 0 values, expected 1 to 6"),
        ({"p": [0.0] * 7}, "p: got 7 values, expected 1 to 6"),
        ({"p": 1e300}, "p: got 1e.300, expected a number that float32 can hold"),
    ],
)
def test_refused(
    stream: tuple[Forecaster, np.ndarray], values: dict[str, float | list[float | None]], message: str
) -> None:
    """Other covariates and wrong lists are refused with what exists."""
    with pytest.raises(BatchError, match=message):
        stream[0].what_if("a", values)


def test_a_network_without_them() -> None:
    """A network without known future covariates says where they are configured."""
    forecaster = Forecaster(rough_model(GRU))
    for step in range(3):
        forecaster.observe(Batch(["a"], np.array([step * 60_000]), np.array([float(step)])))
    with pytest.raises(BatchError, match="no known future covariates; expected some in future_covariates"):
        forecaster.what_if("a", {"p": 1.0})


def test_time(stream: tuple[Forecaster, np.ndarray]) -> None:
    """Two forecasts cost well under a millisecond of processor time."""
    situation, twin = stream[0].situation("a"), RowTwin(stream[0].model)
    what_if(situation, {"p": 1.0}, twin)
    best = 1.0
    for _ in range(20):
        begun = time.thread_time()
        what_if(situation, {"p": 1.0}, twin)
        best = min(best, time.thread_time() - begun)
    assert best < 0.001
