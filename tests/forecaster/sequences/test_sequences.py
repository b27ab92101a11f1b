"""Sequence models: stateful equalities, masks, training and its options, sampling, files, errors."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_sequences import NETWORKS, QUICK, SMALL, N, T, part, rough, sequences

from forecaster import (
    ConfigError,
    SequenceConfig,
    SequenceModel,
    Sequences,
    TrainingError,
    fit_sequences,
    padded,
    sequence_loss,
)
from forecaster.sampling import sample_classes, sample_quantiles
from forecaster.sequences.network import Network, UnrollSpan
from forecaster.sequences.stack import Stack
from forecaster.sequences.training import pieces
from forecaster.training.optim import Average, clip_values, scheduled_rate


@pytest.mark.parametrize("name", NETWORKS)
class TestSameBits:
    """Outputs do not depend on how steps are cut and sequences are batched."""

    def test_step_by_step_is_the_unrolled(self, name: str) -> None:
        """`step` gives the bits of `predict`, missing steps included."""
        model = rough(NETWORKS[name])
        data = sequences(model.config, gaps=True)
        whole, state = model.predict(data), model.start(N)
        for t in range(T):
            at = part(data, t, t + 1)
            out, state = model.step(
                state,
                None if at.features is None else at.features[:, 0],
                None if at.symbols is None else at.symbols[:, 0],
            )
            np.testing.assert_array_equal(out, whole[:, t])
        np.testing.assert_array_equal(state, model.continued(data)[1])

    def test_resumed(self, name: str, tmp_path: Path) -> None:
        """A model saved in between and loaded continues from the same state with the same bits."""
        model = rough(NETWORKS[name])
        data = sequences(model.config, gaps=True)
        first, state = model.continued(part(data, 0, 4))
        model.save(tmp_path / "m.safetensors")
        second = SequenceModel.load(tmp_path / "m.safetensors").predict(part(data, 4, T), state)
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), model.predict(data))

    def test_alone(self, name: str) -> None:
        """A sequence has the same outputs alone and among others."""
        model = rough(NETWORKS[name])
        data = sequences(model.config, gaps=True)
        for i in range(N):
            np.testing.assert_array_equal(model.predict(data.take(slice(i, i + 1)))[0], model.predict(data)[i])

    def test_a_missing_step_changes_nothing(self, name: str) -> None:
        """A missing step leaves the state unchanged and has the output nan."""
        model = rough(NETWORKS[name])
        data = sequences(model.config, gaps=True)
        out, present = model.predict(data), data.present
        assert 0 < present.sum() < present.size
        np.testing.assert_array_equal(np.isnan(out).all(axis=2), ~present)
        for i in range(N):
            kept = Sequences(
                *(None if c is None else c[i : i + 1][:, present[i]] for c in (data.features, data.symbols))
            )
            np.testing.assert_array_equal(model.predict(kept)[0], out[i, present[i]])


def test_many_sequences_and_steps_run_in_tiles() -> None:
    """A sequence among more sequences and steps than fit a tile has the bits of that sequence alone."""
    model = rough(replace(NETWORKS["gru"], task="last"))
    data = sequences(model.config, 300, 140, gaps=True)
    out = model.predict(data)
    for i in (0, 255, 256, 299):
        np.testing.assert_array_equal(model.predict(data.take(slice(i, i + 1)))[0], out[i])


def test_last_is_the_last_of_each() -> None:
    """The many-to-one output is the many-to-many output at each sequence's last step."""
    each = rough(NETWORKS["gru"])
    last = SequenceModel(replace(each.config, task="last"), each.params)
    data = sequences(each.config, gaps=True)
    steps = T - 1 - data.present[:, ::-1].argmax(axis=1)
    np.testing.assert_array_equal(last.predict(data), each.predict(data)[np.arange(N), steps])


def test_quantiles_do_not_cross() -> None:
    """Each level's quantile is at least that of the level below, whatever the weights."""
    model = rough(NETWORKS["none"])
    wild = SequenceModel(model.config, model.params * 50)
    assert (np.diff(wild.predict(sequences(model.config, 50)), axis=2) >= 0).all()


@given(steps=st.integers(1, 60), k1=st.integers(0, 20), more=st.integers(0, 20))
def test_each_loss_counts_once(steps: int, k1: int, more: int) -> None:
    """Chunks of BPTT(k2; k1) score every step exactly once, within k2 steps, from the state of k1 steps before."""
    k2 = k1 + more if k1 else 0
    plan = list(pieces(steps, k1, k2))
    scored = [t for p in plan for t in range(p.loss_from, p.stop)]
    assert sorted(scored) == list(range(steps))
    assert [p.fresh for p in plan] == [True] + [False] * (len(plan) - 1)
    assert [p.decode for p in plan] == [False] * (len(plan) - 1) + [True]
    for before, after in itertools.pairwise(plan):
        assert after.start == before.carry
    assert all(p.start <= p.loss_from and p.stop - p.start <= (k2 or steps) for p in plan)


def echo(n: int = 96, steps: int = 12) -> Sequences:
    """Returns sequences whose target is the input two steps ago, which a head alone cannot know."""
    x = np.random.default_rng(0).normal(size=(n, steps, 2)).astype(np.float32)
    y = np.full((n, steps, 1), np.nan, np.float32)
    y[:, 2:, 0] = x[:, :-2, 0]
    return Sequences(features=x, targets=y)


class TestTraining:
    """Training, and the effect of each option."""

    def test_memory_is_learnt(self) -> None:
        """A recurrent network learns an echo; a head alone does not."""
        train = replace(QUICK, epochs=30, learning_rate=0.02, validation_fraction=0.2)
        known = fit_sequences(echo(), SMALL, train)
        alone = fit_sequences(echo(), replace(SMALL, cell="none"), train)
        assert known.validation_losses.min() < 0.4
        assert alone.validation_losses.min() > 0.8

    def test_deterministic(self) -> None:
        """Equal data, start and settings give equal weights, also with dropout; another seed gives others."""
        train = replace(QUICK, epochs=2, dropout=0.3)
        a, b = (fit_sequences(echo(), SMALL, train).model.params for _ in range(2))
        np.testing.assert_array_equal(a, b)
        c = fit_sequences(echo(), SMALL, replace(train, seed=1)).model.params
        assert not np.array_equal(a, c)

    def test_truncation_as_long_as_the_sequence_is_none(self) -> None:
        """BPTT(T; T) is full BPTT, bit for bit; a shorter truncation is not."""
        full, long, short = (
            fit_sequences(echo(), SMALL, replace(QUICK, epochs=1, k1=k1, k2=k2)).model.params
            for k1, k2 in ((0, 0), (12, 12), (3, 4))
        )
        np.testing.assert_array_equal(full, long)
        assert not np.array_equal(full, short)

    @pytest.mark.parametrize(
        "change",
        [{"dropout": 0.3}, {"weight_decay": 0.5}, {"average": 0.9}, {"clip_value": 1e-4}, {"clip_norm": 1e-3},
         {"schedule": "steps"}, {"warmup_steps": 20}],
    )  # fmt: skip
    def test_options_count(self, change: dict[str, Any]) -> None:
        """Each option changes the trained weights, which stay finite."""
        plain = fit_sequences(echo(), SMALL, replace(QUICK, epochs=2))
        other = fit_sequences(echo(), SMALL, replace(QUICK, epochs=2, **change))
        assert not np.array_equal(plain.model.params, other.model.params)
        assert np.isfinite(other.model.params).all()

    def test_clipping_is_counted(self) -> None:
        """Steps above the clipping limit are counted; none are with the limit off."""
        assert fit_sequences(echo(), SMALL, replace(QUICK, epochs=1, clip_norm=1e-3)).clipped_steps == 6
        assert fit_sequences(echo(), SMALL, replace(QUICK, epochs=1, clip_norm=0.0)).clipped_steps == 0

    def test_the_best_is_kept(self) -> None:
        """The weights of the best validation epoch are returned, and patience ends the training."""
        seen: list[float] = []
        train = replace(QUICK, epochs=40, learning_rate=0.3, validation_fraction=0.25, patience=3)
        report = fit_sequences(echo(), SMALL, train, lambda p: seen.append(p.validation_loss))
        assert report.validation_losses[report.best_epoch - 1] == min(seen)
        assert len(seen) == min(40, report.best_epoch + 3)
        held = echo().take(slice(72, None))
        assert sequence_loss(report.model, held) == pytest.approx(min(seen), rel=1e-6)

    def test_decoder(self) -> None:
        """A decoder learns the last inputs in reverse, with and without teacher forcing, despite a missing target."""
        data = echo(128, 6)
        assert data.features is not None
        targets = data.features[:, :-4:-1, 0].copy()
        targets[0, 1] = np.nan
        data = Sequences(features=data.features, targets=targets)
        config = replace(SMALL, task="decode", output="quantiles", horizon=3, layers=1, hidden_size=32)
        for forcing in (1.0, 0.0):
            train = replace(QUICK, epochs=40, learning_rate=0.02, teacher_forcing=forcing)
            report = fit_sequences(data, config, train)
            assert report.losses[-1] < 0.6 * report.losses[0]
            assert report.model.predict(data).shape == (128, 3, 3)

    def test_nothing_to_learn_from(self) -> None:
        """Training without any target raises an error."""
        data = echo()
        empty = Sequences(features=data.features, targets=np.full((96, 12, 1), np.nan, np.float32))
        with pytest.raises(TrainingError, match="nothing to learn from"):
            fit_sequences(empty, SMALL, QUICK)

    def test_huge_inputs_are_left_out_or_refused(self) -> None:
        """A batch with a gradient that is not finite is skipped, and the weights stay finite."""
        data = echo()
        assert data.targets is not None
        targets = data.targets.copy()
        targets[:16, 5] = 3e38
        spoilt = Sequences(features=data.features, targets=targets)
        with np.errstate(over="ignore", invalid="ignore"):
            report = fit_sequences(spoilt, SMALL, replace(QUICK, epochs=1, batch=1))
        assert report.skipped_steps == 16
        assert np.isfinite(report.model.params).all()


class TestOptimiserParts:
    """Schedules, clipping, averaging."""

    def test_schedules(self) -> None:
        """Each schedule falls from its peak to its end."""
        ends = {"constant": 1.0, "cosine": 0.1, "exponential": 0.01, "steps": 0.01}
        for name, end in ends.items():
            rates = [scheduled_rate(name, i, 100, 1.0, 10) for i in range(101)]
            assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
            assert rates[10] == pytest.approx(1.0)
            assert rates[100] == pytest.approx(end)
            assert all(a >= b for a, b in itertools.pairwise(rates[10:]))

    def test_clip_values(self) -> None:
        """Values are clipped in place; nan is kept for detection."""
        gradient = np.array([-3.0, 0.5, np.inf, np.nan])
        clip_values(gradient, 1.0)
        np.testing.assert_array_equal(gradient, [-1.0, 0.5, 1.0, np.nan])

    def test_average(self) -> None:
        """The average follows its recursion."""
        average, expected = Average(np.zeros(2), 0.5), 0.0
        for n, p in enumerate([1.0, 4.0, 2.0], 1):
            average.update(np.full(2, p))
            d = min(0.5, (1 + n) / (10 + n))
            expected = d * expected + (1 - d) * p
        np.testing.assert_allclose(average.params, expected)


class TestDraws:
    """One-to-many: sampled paths."""

    def test_symbols(self) -> None:
        """Sampled paths are seeded and differ; paths at temperature 0 are equal."""
        config = replace(NETWORKS["lstm symbols"], features=0)
        model, given_ = rough(config), Sequences(symbols=np.array([[0, 1], [2, 3]]))
        drawn = model.rollout(given_, 8, paths=3, seed=4)
        np.testing.assert_array_equal(drawn, model.rollout(given_, 8, paths=3, seed=4))
        assert drawn.shape == (2, 3, 8)
        assert set(drawn.ravel()) <= set(range(6))
        assert not np.array_equal(drawn[0, 0], drawn[0, 1])
        cold = model.rollout(given_, 8, paths=2, temperature=0)
        np.testing.assert_array_equal(cold[:, 0], cold[:, 1])

    def test_values(self) -> None:
        """A quantile network is fed its samples, at temperature 0 its median."""
        config = SequenceConfig(features=1, hidden_size=16, output="quantiles")
        model, given_ = rough(config), Sequences(features=np.zeros((1, 3, 1), np.float32))
        cold = model.rollout(given_, 2, temperature=0)[0, 0]
        out, state = model.continued(given_)
        assert cold[0] == pytest.approx(out[0, -1, 1])
        assert cold[1] == pytest.approx(model.step(state, features=out[:, -1, 1:2])[0][0, 1])
        assert np.unique(model.rollout(given_, 1, paths=50)).size == 50

    def test_distribution(self) -> None:
        """Sampled values have the given quantiles, extrapolated linearly beyond the outermost."""
        levels, uniform = (0.1, 0.5, 0.9), (np.arange(1000) + 0.5) / 1000
        drawn = sample_quantiles(np.tile([1.0, 2.0, 6.0], (1000, 1)), levels, uniform)
        np.testing.assert_allclose(np.quantile(drawn, levels), [1.0, 2.0, 6.0], atol=0.02)
        assert drawn[0] == pytest.approx(0.75, abs=0.01)
        assert drawn[-1] == pytest.approx(7.0, abs=0.01)
        classes = sample_classes(np.tile([0.2, 0.0, 0.8], (1000, 1)), 1.0, uniform)
        np.testing.assert_allclose(np.bincount(classes) / 1000, [0.2, 0.0, 0.8], atol=1e-3)

    def test_refused(self) -> None:
        """A rollout of a network whose output is not its input is rejected."""
        model = rough(NETWORKS["gru"])
        with pytest.raises(ConfigError, match="one feature and one value"):
            model.rollout(sequences(model.config), 2)


def test_padded() -> None:
    """Rows of unequal length are padded."""
    np.testing.assert_array_equal(padded([[1, 2, 3], [4]], -1), [[1, 2, 3], [4, -1, -1]])
    assert padded([np.zeros((2, 5)), np.zeros((1, 5))], np.nan).shape == (2, 2, 5)


@pytest.mark.parametrize(
    ("cell", "layers", "output"), [("gru", 1, "values"), ("lstm", 2, "quantiles"), ("elman", 1, "classes")]
)
def test_a_head_within_the_layer_is_the_head_behind_it(
    cell: str, layers: int, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss, and gradients to rounding, are equal for a chunk that scores only its end, in tiles and beyond."""
    config = SequenceConfig(
        features=3, cell=cell, layers=layers, hidden_size=80, output=output, outputs=3, quantiles=(0.2, 0.5, 0.7, 0.9)
    )
    rng, model = np.random.default_rng(0), rough(config)
    targets = {
        "values": rng.normal(size=(N, T, 3)),
        "quantiles": rng.normal(size=(N, T)),
        "classes": rng.integers(0, 3, (N, T)),
    }[output]
    data, piece = replace(sequences(config), targets=targets), UnrollSpan(1, T - 1, 4, 7)
    params, state = model.params.astype(np.float64), rng.normal(size=(layers, N, model.layout.state_shape[1]))
    found = []
    for within in (True, False):
        network = Network(model.layout, N, T, np.float64)
        assert network.encoder.heads
        with monkeypatch.context() as patch:
            if not within:
                patch.setattr(Stack, "heads", False)
            loss, count, carried = network.run(params, data, state, piece)
        assert count == N * (T - 5)
        assert np.abs(network.gradient).max() > 1e-3
        found.append((loss, carried, network.gradient))
    (loss, carried, gradient), (plain_loss, plain_carried, plain_gradient) = found
    assert loss == plain_loss
    np.testing.assert_array_equal(carried, plain_carried)
    np.testing.assert_allclose(gradient, plain_gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_gradient_of_a_wide_layer_is_that_of_the_loss(cell: str) -> None:
    """The gradient in a random direction is that of the loss, with two layers of 64 units (panels of four vectors)."""
    model = rough(SequenceConfig(features=3, cell=cell, layers=2, hidden_size=64))
    rng, params = np.random.default_rng(0), model.params.astype(np.float64)
    data = replace(sequences(model.config), targets=rng.normal(size=(N, T, 1)))
    state, direction = model.start(N).astype(np.float64), rng.normal(size=params.shape)
    network, piece = Network(model.layout, N, T, np.float64), UnrollSpan(0, T, 0, T, fresh=True)
    up, down = (network.run(params + step * direction, data, state, piece)[0] for step in (1e-6, -1e-6))
    network.run(params, data, state, piece)
    assert network.gradient @ direction == pytest.approx((up - down) / 2e-6, rel=1e-6)


def test_complete() -> None:
    """Data without gaps are complete, and so are their parts; a part of data with gaps may be complete."""
    features, targets = np.zeros((6, 4, 2)), np.zeros((6, 4, 1))
    data = Sequences(features=features, targets=targets)
    assert data.complete
    assert data.take([1, 3]).complete
    features, targets = features.copy(), targets.copy()
    targets[2, 1], features[3, 2] = np.nan, np.nan
    for gap, row in ((replace(data, targets=targets), 2), (replace(data, features=features), 3)):
        assert not gap.complete
        assert not gap.take([row]).complete
        assert gap.take([0, 1]).complete
    classes = Sequences(symbols=np.zeros((2, 3), np.int64), targets=np.array([[0, 1, 0], [1, 1, -1]]))
    assert not classes.complete
    assert classes.take([0]).complete
    assert not replace(data, targets=None).complete
