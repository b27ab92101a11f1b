"""The effect of leaving out an input is the difference of two forecasts that differ in it alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import GRU, STEP_MS, STREAMING, T0, rough_model
from explained_streams import COVARIATES, observed, state_bytes

from forecaster import Batch, Forecaster, ModelConfig, RowTwin
from forecaster.explanation.left_out import covariate_weights, left_out, season_weights
from forecaster.layout import layout_of

MASKED = {
    "ensemble": COVARIATES,
    "elman": STREAMING["elman-1-two-seasons-calendar-covariate"],
    "decoder": replace(STREAMING["decoder-calendar"], covariates=("a",), future_covariates=("p",)),
    "none": replace(STREAMING["none"], covariates=("a",), future_covariates=("a",)),
}


def test_each_input_once() -> None:
    """All covariates, seasons and both parts of the calendar are left out, and the state stays as it is."""
    forecaster, _ = observed(COVARIATES, 1, 120)
    before = state_bytes(forecaster)
    found = forecaster.explain("a").left_out
    assert state_bytes(forecaster) == before
    assert [(one.kind, one.name) for one in found] == [
        ("covariate", "a"), ("covariate", "p"), ("covariate", "q"), ("season", "5"), ("season", "12"),
        ("calendar", "hour of day"), ("calendar", "weekday"),
    ]  # fmt: skip
    assert all(np.isfinite(one.effect).all() and np.isfinite(one.median).all() for one in found)
    assert all(np.abs(one.effect).max() > 0.0 for one in found)


def test_encoded_again_as_under_new_weights() -> None:
    """The state that is encoded anew is that of a row at its first event after it has lost its network."""
    forecaster, _ = observed(GRU, 2, 200)
    situation, twin = forecaster.situation("a"), RowTwin(forecaster.model)
    again = twin.encoded_again(situation)
    states = forecaster.model.layout.state_floats
    assert np.array_equal(again[states:], situation.hidden[states:], equal_nan=True)
    assert not np.array_equal(again[:states], situation.hidden[:states])
    assert np.allclose(again[:states], situation.hidden[:states], atol=0.2)  # it has forgotten what is older


@pytest.mark.parametrize("name", MASKED)
def test_a_weight_of_no_input_is_left(name: str) -> None:
    """Masks of different inputs have no weight in common, and each has a weight of every matrix that reads it."""
    layout = layout_of(MASKED[name])
    config = layout.config
    names = dict.fromkeys((*config.covariates, *config.future_covariates))
    masks = [covariate_weights(layout, one) for one in names] + [
        season_weights(layout, i) for i in range(len(config.seasons))
    ]
    assert np.sum(masks, axis=0).max() == 1
    for mask, one in zip(masks, names, strict=False):
        view = layout.views(mask)
        first = "layer0.wx" if layout.layers else "head.A"
        assert view[first].any() == (one in config.covariates)
        assert view["head.L"].any() == (one in config.future_covariates)


def test_without_a_covariate_its_values_have_no_effect() -> None:
    """The forecast without a covariate is the same whatever its values are, and the one with it is not."""
    forecaster, _ = observed(replace(COVARIATES, mixture=False), 3, 100)
    situation, twin = forecaster.situation("a"), RowTwin(forecaster.model)
    assert situation.known is not None
    other = replace(situation, known=situation.known + np.array([[9.0], [0.0]], np.float32))
    found, changed = ({one.name: one for one in left_out(twin, each)} for each in (situation, other))
    assert np.array_equal(found["p"].median, changed["p"].median)
    assert not np.array_equal(found["q"].median, changed["q"].median)
    assert not np.array_equal(found["p"].effect, changed["p"].effect)


def test_members_of_a_season_are_left_out() -> None:
    """Where all weight is on a season's members, the forecast without the season is that of the others."""
    config = replace(COVARIATES, calendar=False, covariates=(), future_covariates=(), seasons=(5,))
    forecaster = Forecaster(rough_model(config))
    for step in range(200):
        value = float((17, 3, 90, 4, -30)[step % 5])
        forecaster.observe(Batch(["a"], np.array([T0 + step * STEP_MS]), np.array([value])))
    found = forecaster.explain("a")
    seasonal = [at for at, name in enumerate(found.names) if name.endswith("_5")]
    assert found.weights[seasonal].sum(axis=0).min() > 0.9
    assert np.abs(found.median - [17, 3, 90, 4, -30, 17]).max() < 2.0
    (one,) = found.left_out
    assert np.abs(one.effect).max() > 10.0


def test_nothing_to_leave_out() -> None:
    """A network without covariates, seasons and calendar has no effects."""
    config: ModelConfig = replace(GRU, seasons=())
    forecaster, _ = observed(config, 4, 60)
    assert forecaster.explain("a").left_out == []
