"""Weights for a network of another configuration: kept as far as they are of the same inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forecaster import Batch, Forecaster, Model, ModelConfig, start_model, transferred

SMALL: dict[str, Any] = {"hidden_size": 16, "head_size": 16, "horizon": 3, "quantiles": (0.1, 0.5, 0.9)}
PAIR = {"covariates": ("a", "b"), "future_covariates": ("c", "d")}


def forecasts(model: Model, order: dict[str, int]) -> np.ndarray:
    """Forecasts of a wave; `order`: a number of each covariate, nan for other names."""
    config, steps = model.config, np.arange(40)
    ts = steps * 3_600_000

    def of(name: str) -> np.ndarray:
        return np.sin(steps * (1.0 + order[name])) if name in order else np.full(len(steps), np.nan)

    known = np.array([of(name) for name in config.covariates], np.float32).reshape(-1, len(steps)).T
    ahead = np.array([of(name) for name in config.future_covariates], np.float32).reshape(-1, len(steps)).T
    batch = Batch(
        ["s"] * len(steps), ts, np.sin(steps * 0.7) + steps % 5,
        np.ascontiguousarray(known) if config.covariates else None,
        np.repeat(ahead[:, :, None], config.horizon, axis=2) if config.future_covariates else None,
    )  # fmt: skip
    return Forecaster(model, max_series=1, history_events=0).observe(batch).quantiles


@pytest.mark.parametrize("more", [{}, {"head": "decoder"}, {"cell": "none"}])
def test_covariates_by_name(more: dict[str, Any]) -> None:
    """In another order, and with new ones that are missing or without effect, the forecasts are the same."""
    one = Model.initial(ModelConfig(**SMALL, **PAIR, **more))
    order = {"a": 0, "b": 1, "c": 2, "d": 3}
    expected = forecasts(one, order)
    turned = transferred(one, replace(one.config, covariates=("b", "a"), future_covariates=("d", "c")))
    np.testing.assert_allclose(forecasts(turned, order), expected, rtol=2e-5, atol=1e-5)
    wider = transferred(one, replace(one.config, covariates=("n", "a", "b"), future_covariates=("c", "n", "d")))
    np.testing.assert_allclose(forecasts(wider, order | {"n": 5}), expected, rtol=2e-5, atol=1e-5)
    assert transferred(wider, one.config).sha256 == one.sha256


@pytest.mark.parametrize(
    "change",
    [{"horizon": 9}, {"interval_ms": 60_000}, {"timezone": "Europe/Berlin"}, {"max_gap": 3}, {"non_negative": True},
     {"clip": (0.0, 9.0)}, {"mixture": False}, {"seasons": (48, 96)}],
)  # fmt: skip
def test_the_same_parameters(change: dict[str, Any]) -> None:
    """Settings that change no tensor keep all weights."""
    one = Model.initial(ModelConfig(**SMALL, seasons=(24, 168), pretrained=False, seed=5))
    other = transferred(one, replace(one.config, **change))
    np.testing.assert_array_equal(other.params, one.params)


def test_the_calendar_is_kept_apart() -> None:
    """Without calendar, its weights are left out; with it again, they are zero and the others the same."""
    first = Model.initial(ModelConfig(**SMALL, covariates=("a",)))
    one = Model(first.config, np.random.default_rng(1).normal(size=len(first.params)).astype(np.float32) * 0.1)
    bare = transferred(one, replace(one.config, calendar=False))
    again = transferred(bare, one.config)
    assert again.sha256 != one.sha256
    order = {"a": 0}
    np.testing.assert_allclose(forecasts(again, order), forecasts(bare, order), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("change", [{"hidden_size": 32}, {"cell": "lstm"}, {"seasons": (24,)}, {"head": "decoder"}])
def test_other_networks_start_as_at_a_first_start(change: dict[str, Any]) -> None:
    """Another cell, size, head or number of seasons begins with the weights before any training."""
    one = Model.initial(ModelConfig(**SMALL, seed=3, pretrained=False))
    wanted = replace(one.config, **change)
    assert transferred(one, wanted).sha256 == start_model(wanted).sha256


def test_levels() -> None:
    """Other levels are derived from the weights; the medians stay, and the levels lie between their neighbours."""
    first = Model.initial(ModelConfig(**SMALL, seed=3, mixture=False))
    found = transferred(first, replace(first.config, quantiles=(0.1, 0.3, 0.5, 0.9)))
    before, after = forecasts(first, {})[30:], forecasts(found, {})[30:]
    np.testing.assert_allclose(after[..., 2], before[..., 1], rtol=1e-5, atol=1e-5)
    assert (np.diff(after) >= 0.0).all()
    np.testing.assert_allclose(after[..., 3], before[..., 2], rtol=1e-4, atol=1e-3)
    assert (after[..., 1] > before[..., 0] - 1e-3).all()
    assert transferred(found, found.config).sha256 == found.sha256
