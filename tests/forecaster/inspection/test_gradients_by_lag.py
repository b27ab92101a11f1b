"""Gradients by lag against a product of Jacobians, and sample paths of a stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
import pytest

from forecaster import Batch, BatchError, ConfigError, Forecaster, SequenceConfig, SequenceModel, Sequences, rollout
from forecaster.inspection.gradients import gradient_by_lag, plot_gradients, stream_gradient_by_lag

T = 24


def inputs() -> Sequences:
    """Returns one sequence."""
    return Sequences(features=np.random.RandomState(0).normal(size=(1, T, 2)).astype(np.float32))


def elman(factor: float = 1.0) -> SequenceModel:
    """Returns a model whose recurrent matrix is orthogonal times a factor."""
    model = SequenceModel.initial(SequenceConfig(features=2, cell="elman", hidden_size=16))
    params = model.params.copy()
    model.layout.views(params)["encoder.layer0.wh"][...] *= factor
    return SequenceModel(model.config, params)


def test_it_is_the_product_of_jacobians() -> None:
    """The gradient by lag of an Elman network is the product of Jacobians, dh' = W^T ((1 - h^2) dh)."""
    model, data = elman(1.3), inputs()
    view = model.layout.views(model.params.astype(np.float64))
    w, u = view["encoder.layer0.wh"][0], view["encoder.layer0.wx"][0]
    hidden, h = [], np.zeros(16)
    assert data.features is not None
    for t in range(T):
        h = np.tanh(h @ w + data.features[0, t] @ u[:2])
        hidden.append(h)
    d = np.random.default_rng(3).normal(size=(1, 1, 16))[0, 0]
    d /= np.linalg.norm(d)
    expected = [1.0]
    for h in reversed(hidden):
        d = w @ (d * (1 - h * h))
        expected.append(float(np.linalg.norm(d)))
    np.testing.assert_allclose(gradient_by_lag(model, data, seed=3), expected, rtol=1e-10)


def test_vanishing_exploding_and_the_cure() -> None:
    """Small recurrent weights make the gradient vanish, large weights explode; gates with long memory keep its norm."""
    quiet = Sequences(features=np.zeros((4, T, 2), np.float32))
    assert gradient_by_lag(elman(0.5), quiet)[-1] < 1e-6
    assert gradient_by_lag(elman(2.0), quiet)[-1] > 1e6
    for cell in ("gru", "lstm"):
        config = SequenceConfig(features=2, cell=cell, hidden_size=16, memory=50 * T)
        kept = gradient_by_lag(SequenceModel.initial(config), quiet)
        assert 0.1 < kept[-1] < 10


def test_of_a_stream() -> None:
    """A streaming network is inspected on its own history; networks without state and too long windows are rejected."""
    forecaster = Forecaster(cases.GRU)
    forecaster.observe(cases.stream(cases.GRU, 200, 2, rough=False))
    norms = stream_gradient_by_lag(forecaster.model, forecaster.history(), steps=T)
    assert norms.shape == (T + 1,)
    assert norms[0] == 1.0
    assert 0 < norms[-1] < norms[5] < 1
    with pytest.raises(ConfigError, match="longest stretch"):
        stream_gradient_by_lag(forecaster.model, forecaster.history(), steps=1000)
    with pytest.raises(ConfigError, match="recurrent"):
        gradient_by_lag(SequenceModel.initial(SequenceConfig(features=2, cell="none")), inputs())


def test_plot(tmp_path: Path) -> None:
    """The plot names every curve, also with a gradient of zero."""
    path = tmp_path / "g.svg"
    plot_gradients({"one curve": np.array([1.0, 0.1, 0.0]), "another": np.array([1.0, 2.0])}, path)
    text = path.read_text()
    assert "one curve" in text
    assert "another" in text


class TestRollout:
    """Sample paths of a stream."""

    def test_paths(self) -> None:
        """Paths are seeded and first spread like the 1-step-ahead forecast; a rollout changes no later forecast."""
        config = replace(cases.GRU, mixture=True)
        batch = cases.stream(config, 300, 2, rough=False)
        asked, other = Forecaster(config), Forecaster(config)
        last = cases.only(batch, "s0")
        answers = asked.observe(batch)
        other.observe(batch)
        row = max(i for i, name in enumerate(batch.series) if name == "s0")
        paths = rollout(asked, "s0", answers, 6, row=row, paths=400, seed=1)
        np.testing.assert_array_equal(paths, rollout(asked, "s0", answers, 6, row=row, paths=400, seed=1))
        np.testing.assert_allclose(
            np.quantile(paths[:, 0], config.quantiles),
            answers.quantiles[row, 0],
            atol=0.2 * np.ptp(answers.quantiles[row, 0]),
        )
        assert np.isfinite(paths).all()
        assert np.unique(paths[:, -1]).size > 300
        event = Batch(["s0"], last.timestamp_ms[-1:] + cases.STEP_MS, np.array([11.0]))
        np.testing.assert_array_equal(asked.observe(event).quantiles, other.observe(event).quantiles)

    def test_one_step_after_another(self) -> None:
        """A path's second draw comes from the forecast after observing its first value."""
        config = cases.GRU
        forecaster = Forecaster(config)
        batch = cases.stream(config, 100, 1, rough=False)
        answers = forecaster.observe(batch)
        low, high = config.quantiles[0], config.quantiles[-1]
        seed = next(i for i in range(99) if low < np.random.default_rng(i).random(2)[1] < high)
        path = rollout(forecaster, "s0", answers, 2, paths=1, seed=seed)[0]
        then = Batch(["s0"], batch.timestamp_ms[-1:] + cases.STEP_MS, path[:1].astype(np.float64))
        after = forecaster.observe(then).quantiles[0, 0]
        second = np.random.default_rng(seed).random(2)[1]
        assert path[1] == pytest.approx(np.interp(second, config.quantiles, after), rel=1e-5)
        assert np.diff(after).min() >= 0

    def test_refused(self) -> None:
        """A rollout for an unknown series, without a known interval or with superfluous covariates is rejected."""
        forecaster = Forecaster(cases.POOLED["elman-1-pool-bare-learnt"])
        one = forecaster.observe(Batch(["s"], np.array([cases.T0]), np.array([1.0])))
        with pytest.raises(BatchError, match="interval"):
            rollout(forecaster, "s", one, 2)
        forecaster = Forecaster(cases.GRU)
        one = forecaster.observe(Batch(["s"], np.array([cases.T0]), np.array([1.0])))
        with pytest.raises(BatchError, match="'other'"):
            rollout(forecaster, "other", one, 2)
        with pytest.raises(BatchError, match="covariates"):
            rollout(forecaster, "s", one, 2, covariates=np.zeros((2, 1)))
