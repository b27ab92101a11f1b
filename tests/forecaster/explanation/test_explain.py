"""Explanations: equal to the forecast bit for bit, and nothing is changed."""

from __future__ import annotations

import numpy as np
import pytest
from cases import GRU, POOLED, STEP_MS, T0, rough_model
from explained_streams import COVARIATES, EXPLAINED, batches, observed, state_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Batch, BatchError, Forecaster, Model, RowTwin, explain, mixture_weights, tracked_horizons
from forecaster.explanation.terms import fma

EXACT = dict(EXPLAINED)


@pytest.mark.parametrize("name", EXACT)
def test_every_forecast_again(name: str) -> None:
    """Each forecast of a stream is computed again bit for bit, from its terms too, and no byte of the state changes."""
    config, compared = EXACT[name], 0
    forecaster = Forecaster(rough_model(config))
    twin = RowTwin(forecaster.model)
    for at, batch in enumerate(batches(config, 1, 170)):
        made = forecaster.observe(batch).quantiles[0]
        if at < 2 or (at > 20 and at % 5):
            continue
        before = state_bytes(forecaster)
        found = explain(forecaster.situation("a"), twin)
        assert state_bytes(forecaster) == before
        assert found.is_complete
        assert np.array_equal(found.quantiles, made)
        if found.terms is None:
            assert found.names == ("prior",)
            continue
        compared += 1
        assert np.array_equal(found.terms.recombined(), made)
        span = max(1.0, found.situation.scale)
        parts = found.terms.mixture() + found.correction + found.adjustment
        assert np.allclose(parts, made, rtol=0.0, atol=1e-9 * max(1.0, abs(found.situation.last)))
        if found.situation.steps > 130:  # no longer widened; what is left is the order of quantiles, and rounding
            ordered = found.terms.mixture() + found.correction
            middle = config.quantiles.index(0.5)
            ordered[:, middle:] = np.maximum.accumulate(ordered[:, middle:], axis=1)
            ordered[:, : middle + 1] = np.minimum.accumulate(ordered[:, middle::-1], axis=1)[:, ::-1]
            assert np.abs(ordered - made).max() < 2e-5 * span
    assert compared > 20


def test_a_sum_of_terms_in_another_order_differs() -> None:
    """Only the order of the kernel gives the bits: the law is not met by any sum of the same terms."""
    forecaster, made = observed(COVARIATES, 2, 200)
    terms = forecaster.explain("a").terms
    assert terms is not None
    assert np.array_equal(terms.recombined(), made)
    assert not np.array_equal(terms.mixture() + terms.correction(), made)


def test_weights_are_those_of_the_ensemble() -> None:
    """The weights at tracked horizons are those of `mixture_weights`, and their sum is 1 at every horizon."""
    forecaster, _ = observed(POOLED["gru-1-pool"], 3, 200)
    found = forecaster.explain("a")
    places = np.array(tracked_horizons(forecaster.config.horizon)) - 1
    assert np.array_equal(found.weights[:, places].T, mixture_weights(forecaster))
    assert np.allclose(found.weights.sum(axis=0), 1.0, atol=1e-6)


def test_members_forecast_what_their_names_say() -> None:
    """Seasonal naive members forecast the values that the answer says were read one season before."""
    forecaster, _ = observed(COVARIATES, 4, 200)
    found = forecaster.explain("a")
    for season in COVARIATES.seasons:
        member = found.members[found.names.index(f"seasonal_naive_{season}")][:, 0]
        first = {one.horizon: one for one in found.read if one.season == season and one.seasons_back * season
                 - one.horizon == one.steps_back and one.seasons_back == -(-one.horizon // season)}  # fmt: skip
        for horizon in range(1, COVARIATES.horizon + 1):
            value = first[horizon].value
            if np.isfinite(value) and abs(value - found.situation.last) < 16 * found.situation.scale:
                assert member[horizon - 1] == pytest.approx(value, abs=1e-4)


def test_times_of_the_values_read() -> None:
    """A value read has the event time of its observation while the history holds it, else that of its step."""
    config = POOLED["gru-1-pool"]
    with_history, without = Forecaster(rough_model(config)), Forecaster(rough_model(config), history_events=0)
    times, values = [], {}
    for batch in batches(config, 5, 60):
        with_history.observe(batch)
        without.observe(batch)
        times.append(int(batch.timestamp_ms[0]))
        values[times[-1]] = float(batch.value[0])
    for one in with_history.explain("a").read:
        if np.isfinite(one.value):
            assert one.time_ms in times
    origin = times[-1]
    for one in without.explain("a").read:
        assert one.time_ms == origin - one.steps_back * STEP_MS


def test_means_of_bins_are_named() -> None:
    """A lag that is held as a mean of several steps says of how many."""
    forecaster, _ = observed(POOLED["gru-1-pool-profile"], 6, 300)
    found = forecaster.explain("a")
    assert {one.mean_of for one in found.read if one.season == 50} >= {3}
    assert {one.mean_of for one in found.read if one.season == 0} == {1}


def test_new_weights() -> None:
    """After new weights, and before the next event, an explanation says that the newest forecast had others."""
    forecaster, _ = observed(POOLED["gru-1-pool"], 7, 100)
    forecaster.adopt(rough_model(forecaster.config, seed=9))
    assert not forecaster.explain("a").is_complete


def test_a_series_without_a_scale() -> None:
    """While all values are equal the forecast is that of the prior, and the words say so."""
    forecaster = Forecaster(rough_model(POOLED["gru-1-pool"]))
    for step in range(4):
        made = forecaster.observe(Batch(["a"], np.array([T0 + step * STEP_MS]), np.array([3.0])))
    found = forecaster.explain("a")
    assert found.names == ("prior",)
    assert np.array_equal(found.quantiles, made.quantiles[0])
    assert "has not varied" in found.in_words()


@pytest.mark.parametrize("series", ["b", "first"])
def test_refused(series: str) -> None:
    """A series that is not there, or that has one event only, is refused with what is expected."""
    forecaster = Forecaster(rough_model(POOLED["elman-1-pool-bare-learnt"]))
    forecaster.observe(Batch(["first"], np.array([T0]), np.array([3.0])))
    with pytest.raises(BatchError, match=f"got '{series}'.*expected"):
        forecaster.explain(series)


def test_words() -> None:
    """The paragraph names the target, the members with their weights, seasons, effects and a similar situation."""
    forecaster, _ = observed(COVARIATES, 8, 300)
    text = forecaster.explain("a").in_words(3)
    assert text.startswith("The forecast of a for 2020-09-13T")
    for part in ("3 steps ahead", "probability of 85%", "Of the members", "calibration", "seasons of 5 steps",
                 "looked most like now"):  # fmt: skip
        assert part in text, text


@given(st.lists(st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 3), min_size=1, max_size=20))
@settings(deadline=None)
def test_fused_multiply_add(numbers: list[tuple[float, float, float]]) -> None:
    """The fused multiply-add rounds once, as exact rational arithmetic does."""
    from fractions import Fraction

    a, b, c = (np.array(column, np.float32) for column in zip(*numbers, strict=True))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = fma(a, b, c)
    for one, (x, y, z) in zip(found.tolist(), numbers, strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        if not 1e-30 < abs(exact) < 3e38:  # subnormal numbers and overflow do not occur in scales
            continue
        near = [np.nextafter(np.float32(one), np.float32(to)) for to in (-np.inf, np.inf)]
        assert all(abs(Fraction(one) - exact) <= abs(Fraction(float(other)) - exact) for other in near)


def test_shapes_of_an_explanation() -> None:
    """Arrays have the documented shapes."""
    forecaster, _ = observed(GRU, 9, 60)
    found = forecaster.explain("a")
    H, Q = GRU.horizon, len(GRU.quantiles)
    assert found.names == ("network",)
    assert found.members.shape == (1, H, Q)
    assert found.weights.shape == (1, H)
    assert found.correction.shape == found.adjustment.shape == found.quantiles.shape == (H, Q)
    assert len(found.targets_ms) == len(found.median) == H


def test_twins_serve_one_network() -> None:
    """A twin that is used for many situations gives what a new one gives."""
    forecaster, made = observed(COVARIATES, 10, 120)
    twin = RowTwin(Model(forecaster.config, forecaster.model.params))
    for batch in batches(COVARIATES, 11, 40, ("b", "c")):
        forecaster.observe(batch)
    for series in ("b", "a", "c", "a"):
        found = explain(forecaster.situation(series), twin).quantiles
        assert np.array_equal(found, forecaster.explain(series).quantiles)
    assert np.array_equal(explain(forecaster.situation("a"), twin).quantiles, made)
