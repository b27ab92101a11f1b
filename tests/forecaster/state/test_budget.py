"""How finely rows hold the values of seasons, by a budget of bytes per series."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Forecaster, Model, ModelConfig, series_bytes, with_profile
from forecaster.config import PLAIN_SEASON
from forecaster.layout import layout_of
from forecaster.state.budget import LEAST_BINS, USUAL_BYTES

CONFIGS = st.builds(
    ModelConfig,
    seasons=st.lists(st.integers(2, 20_000), max_size=3, unique=True).map(lambda some: tuple(sorted(some))),
    horizon=st.sampled_from([1, 24, 300]),
    hidden_size=st.sampled_from([16, 48]),
    covariates=st.sampled_from([(), ("a", "b")]),
)


@pytest.mark.parametrize("seasons", [(), (24,), (7, 365), (24, 168), (48, 336), (96, 672), (PLAIN_SEASON,)])
def test_usual_seasons_are_kept_as_values(seasons: tuple[int, ...]) -> None:
    """Without a budget, networks of usual seasons are those that they always were, with the same identity."""
    config = ModelConfig(seasons=seasons)
    assert with_profile(config) == config
    assert not config.has_long_season


@pytest.mark.parametrize(
    ("seasons", "steps"), [((1440,), 3), ((288, 2016), 4), ((1440, 10_080), 21), ((PLAIN_SEASON + 1,), 2)]
)
def test_long_seasons_are_kept_as_means(seasons: tuple[int, ...], steps: int) -> None:
    """Without a budget, the values of long seasons take `USUAL_BYTES` at most."""
    found = with_profile(ModelConfig(seasons=seasons))
    assert found.profile_steps == steps
    assert found.has_long_season
    assert 4 * layout_of(found).ring_floats <= USUAL_BYTES


@settings(max_examples=60, deadline=None)
@given(CONFIGS, st.integers(1, 100_000))
def test_the_finest_that_fits(config: ModelConfig, budget: int) -> None:
    """A budget holds if the coarsest means fit it; one step less of a mean would exceed it."""
    found = with_profile(config, budget)
    assert found == replace(config, profile_steps=found.profile_steps)
    assert found == with_profile(replace(config, profile_steps=9), budget), "the former steps do not matter"
    if series_bytes(found) <= budget:
        finer = found.profile_steps - 1
        assert not finer or series_bytes(replace(config, profile_steps=finer)) > budget
    else:
        coarsest = range(1, max(config.seasons, default=0) // LEAST_BINS + 1)
        assert all(series_bytes(replace(config, profile_steps=steps)) > budget for steps in [1, *coarsest][-20:])


def test_bytes_are_those_of_a_forecaster() -> None:
    """The bytes of a network are those that a forecaster reports."""
    config = ModelConfig(seasons=(1440,), profile_steps=5)
    assert series_bytes(config) == Forecaster(Model.initial(config), max_series=1).bytes_per_series
