"""Shadow models, e-process and drift test: the guarantees of evaluating live forecasts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluated_streams import CONFIG, part, stream
from numpy.typing import NDArray

from forecaster import Batch, CheckpointError, ConfigError, Forecaster, Model, ModelConfig, Note, Shadow
from forecaster.evaluation.e_process import EProcess
from forecaster.evaluation.pending import Prequential


def waves(events: int, seed: int) -> Batch:
    """Returns three series with a season and autocorrelated noise."""
    rng, noise = np.random.default_rng(seed), np.zeros(3)
    day, values = 4.0 * rng.normal(size=(24, 3)), np.empty((events // 3, 3))
    for t in range(len(values)):
        noise = 0.7 * noise + rng.normal(size=3)
        values[t] = 50.0 + day[t % 24] + noise
    return Batch(["s0", "s1", "s2"] * len(values), np.repeat(np.arange(len(values)), 3) * 60_000, values.reshape(-1))


class TestEvidence:
    """The e-process, a sequential test."""

    def test_splits_do_not_matter(self) -> None:
        """Losses added in other portions give the same e-process, bit for bit."""
        losses = np.random.default_rng(2).exponential(size=(500, 2))
        losses[7] = np.nan
        whole, parts = EProcess(), EProcess()
        whole.add(losses)
        for i in range(0, 500, 3):
            parts.add(losses[i : i + 3])

        assert parts == whole
        assert whole.count == 499

    def test_rarely_wrong_however_often_looked_at(self) -> None:
        """Fewer than 5 % of 400 pairs of equal models, checked every 25 of 1,000 events, ever reach 20."""
        rng, wrong = np.random.default_rng(3), 0
        for _ in range(400):
            e_process, reached = EProcess(), False
            losses = rng.exponential(size=(1000, 2))
            for i in range(0, 1000, 25):
                e_process.add(losses[i : i + 25])
                reached |= e_process.better >= 20
            wrong += reached

        assert wrong < 20

    def test_finds_what_is_better(self) -> None:
        """A challenger with a fifth less loss is detected within 3,000 events and is not rated worse."""
        losses = np.random.default_rng(4).exponential(size=(3000, 2)) * [1.0, 0.8]
        e_process = EProcess()
        e_process.add(losses)

        assert e_process.better > 20
        assert e_process.worse < 1
        assert e_process.gain > 0.05

    def test_endless_losses(self) -> None:
        """An infinite loss counts as the largest difference; a pair of infinite or zero losses adds no evidence."""
        e_process = EProcess()
        e_process.add(np.array([[1.0, np.inf], [np.inf, np.inf], [0.0, 0.0]]))

        assert (e_process.count, e_process.total) == (3, -1.0)

    def test_rarely_far_worse(self) -> None:
        """A challenger that is mostly 7 % better, but rarely so bad that its mean loss is 28 % higher, never wins."""
        for rare, seed in itertools.product((0.1, 0.02, 0.01), range(10)):
            rng, e_process = np.random.default_rng(seed), EProcess()
            a = rng.gamma(4.0, 0.25, 4000)
            b = np.where(rng.random(4000) < rare, a * (0.93 + 0.35 / rare), 0.93 * a)
            for start in range(0, 4000, 100):
                e_process.add(np.stack((a, b), axis=1)[start : start + 100])
                assert e_process.better < 20, (rare, seed)
            assert e_process.second / e_process.first > 1.1

    def test_three_per_cent_better(self) -> None:
        """A challenger with 3 % less mean loss and similar errors wins within 5,000 events in nine of ten runs."""
        won = 0
        for seed in range(20):
            rng, e_process = np.random.default_rng(seed), EProcess()
            a = rng.gamma(4.0, 0.25, 5000)
            e_process.add(np.stack((a, a * rng.normal(0.97, 0.25, 5000).clip(0.0)), axis=1))
            won += e_process.better >= 20
            assert e_process.worse < 1
        assert won >= 18

    def test_one_event_does_not_decide(self) -> None:
        """A challenger with one infinite loss never wins; an infinite loss of the champion counts as ten usual ones."""
        losses = np.ones((400, 2)) * [1.0, 0.5]
        for side in (0, 1):
            found = losses.copy()
            found[10, side] = np.inf
            e_process = EProcess()
            e_process.add(found)
            assert (e_process.better >= 20) == (side == 0)
        e_process = EProcess()
        e_process.add(np.array([[np.inf, 1.0]] * 3))
        assert e_process.better < 20

    def test_saved_and_read(self) -> None:
        """Saved and restored e-processes are equal, also with infinite sums; impossible values are rejected."""
        e_process = EProcess()
        e_process.add(np.array([[1.0, 2.0], [np.inf, 1.0], [1.0, np.inf]]))
        values = e_process.to_list()
        wrong: list[Any] = [None, values[:-1], [*values[:-1], "x"], [-1, *values[1:]], [3, "nan", *values[2:]]]
        wrong += [[3, (4.0).hex(), *values[2:]], ["3", *values[1:]], [3, values[1], (-1.0).hex(), *values[3:]]]

        assert EProcess.from_list(values) == e_process
        for one in wrong:
            with pytest.raises((TypeError, ValueError)):
                EProcess.from_list(one)


def test_scores_when_targets_arrive() -> None:
    """A forecast for horizon k is scored by the value k steps later; a forecast for a skipped step is never scored."""
    scorer = Prequential(1, (1, 2), (0.5,), 1)
    slot = scorer.slots(["a", "a", "a", "a", "b"])
    steps, value = np.array([1, 2, 3, 5, 1]), np.array([0.0, 10.0, 20.0, 30.0, 9.0])
    quantiles = np.arange(1, 6, dtype=np.float32)[None, :, None, None] * np.array([1.0, 100.0], np.float32)[:, None]
    losses = scorer.score(slot, np.zeros(5, np.uint8), steps, value, quantiles)[:, 0]

    # The forecasts scored: at step 2, 1 of step 1; at step 3, 2 of step 2 and 100 of step 1; at step 5, 300 of step 3.
    expected = [np.nan, 4.5, (18 / 2 + 80 / 2) / 2, 270 / 2, np.nan]
    np.testing.assert_array_equal(losses, expected)


def test_scores_nothing_across_a_change_of_interval_and_each_step_once() -> None:
    """Forecasts made before an interval change are not scored; a step with several events is scored by the first."""
    scorer = Prequential(1, (1,), (0.5,), 1)
    notes = np.array([0, 0, Note.SAME_STEP, 0, Note.NEW_INTERVAL, 0, Note.REOPENED], np.uint8)
    steps, value = np.array([1, 2, 2, 3, 4, 5, 6]), np.arange(7) * 10.0
    quantiles = np.ones((1, 7, 1, 1), np.float32) * np.arange(7, dtype=np.float32)[:, None, None]

    losses = scorer.score(scorer.slots(["a"] * 7), np.zeros(7, np.uint8), steps, value, quantiles, notes)[:, 0]

    np.testing.assert_array_equal(losses, [np.nan, 5.0, np.nan, 14.0, np.nan, 23.0, np.nan])


class TestShadow:
    """A shadow model next to the live model."""

    def test_equals_its_own_life(self) -> None:
        """A shadow of the live model forecasts identically: its e-process stays exactly zero."""
        live, batch = Forecaster(CONFIG), stream(600)
        live.observe(part(batch, 0, 150))
        shadow = Shadow.start(live, live.model, 10)
        shadow.observe(part(batch, 150, 600), live.observe(part(batch, 150, 600)))

        assert shadow.e_process.count > 300
        assert shadow.e_process.total == shadow.e_process.spread == 0.0

    @pytest.mark.parametrize("size", [1, 7])
    def test_batched_saved_and_resumed(self, size: int) -> None:
        """Batching and a restart in between change no bit of the e-process, nor the sample."""
        batch, other = stream(420), Model.initial(ModelConfig.from_dict(CONFIG.to_dict() | {"seed": 9}))
        found = []
        for step in (420, size):
            live = Forecaster(CONFIG)
            live.observe(part(batch, 0, 150))
            shadow = Shadow.start(live, other, 2)
            for start in range(150, 420, step):
                now = part(batch, start, min(start + step, 420))
                shadow.observe(now, live.observe(now))
                if step == size and start < 200 <= start + step:
                    shadow = Shadow.from_state(shadow.state(), shadow.header(), other)
            found.append(shadow)

        assert found[0].header() == found[1].header()
        for name, array in found[0].state().items():
            np.testing.assert_array_equal(array, found[1].state()[name], err_msg=name)
        assert found[0].forecaster.series == ["s0", "s1"]
        assert found[0].events == 270
        assert found[0].e_process.count > 100

    def test_same_start(self) -> None:
        """Weights equal up to 1e-5 yield no evidence in either direction, however long the champion was in force."""
        gains = []
        for seed in range(6):
            batch, model = waves(1500, seed), Model.initial(CONFIG)
            noise = 1.0 + 1e-5 * np.random.default_rng(seed).normal(size=model.params.shape)
            live = Forecaster(model)
            live.observe(part(batch, 0, 750))
            shadow = Shadow.start(live, Model(CONFIG, (model.params * noise).astype(np.float32)), 10)
            shadow.observe(part(batch, 750, 1500), live.observe(part(batch, 750, 1500)))
            gains.append(shadow.e_process.gain)
            assert shadow.e_process.count > 500
            assert shadow.e_process.better < 2
            assert shadow.e_process.worse < 2

        assert np.abs(gains).max() < 1e-4

    def test_seasons(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Comparisons count as seasoned once their series has covered a full longest season since the start."""
        live, batch = Forecaster(CONFIG), stream(900)
        live.observe(part(batch, 0, 150))
        shadow = Shadow.start(live, live.model, 10)
        found = []
        for start in range(150, 900, 150):  # 50 steps of each series
            now = part(batch, start, start + 150)
            shadow.observe(now, live.observe(now))
            with monkeypatch.context() as patch:
                patch.setattr(Forecaster, "config", replace(CONFIG, seasons=(7, 120)))
                found.append((shadow.seasoned, shadow.e_process.count))
            assert shadow.seasoned == shadow.e_process.count

        assert [seasoned for seasoned, _ in found[:2]] == [0, 0]
        assert [seasoned == count > 0 for seasoned, count in found[2:]] == [True] * 3

    def test_parts_that_do_not_fit(self) -> None:
        """A state with a part that is missing, of another shape or type, or impossible, is rejected."""
        live, batch = Forecaster(CONFIG), stream(300)
        live.observe(part(batch, 0, 150))
        shadow = Shadow.start(live, live.model, 2)
        shadow.observe(part(batch, 150, 300), live.observe(part(batch, 150, 300)))
        state, header = shadow.state(), shadow.header()
        mine = [name for name in state if not name.startswith(("forecaster.", "control."))]
        broken: list[tuple[dict[str, NDArray[Any]], dict[str, Any]]] = []
        for name in mine:
            broken.append(({key: array for key, array in state.items() if key != name}, header))
            broken.append((state | {name: state[name][..., :-1]}, header))
            other = np.float32 if state[name].dtype != np.float32 else np.float64
            if name != "params":
                broken.append((state | {name: state[name].astype(other)}, header))
        broken.append((state | {"usual": state["usual"] - 1e9}, header))
        broken.append((state | {"counts": state["counts"] - 1000}, header))
        broken.append((state | {"params": np.full_like(state["params"], np.nan)}, header))
        broken.append((state | {"params": state["params"] + 1}, header))  # not the weights of the control
        broken.append(({key: array for key, array in state.items() if key != "control.whole"}, header))
        broken += [(state, {key: value for key, value in header.items() if key != name}) for name in header]
        broken += [(state, header | {"events": -1}), (state, header | {"evidence": [0]})]
        Shadow.from_state(state, header, live.model)

        for arrays, facts in broken:
            with pytest.raises(CheckpointError):
                Shadow.from_state(arrays, facts, live.model)

    def test_another_shape(self) -> None:
        """A challenger with other seasons starts, as its control, from rows built anew, and continues when saved."""
        batch, champion = stream(420), Model.initial(CONFIG)
        live = Forecaster(champion, max_series=8, history_events=200)
        live.observe(part(batch, 0, 150))
        other = Model.initial(replace(CONFIG, seasons=(5,)))
        one = Shadow.start(live, other, 3)
        expected = Forecaster.from_state(live.state(), live.header(), champion, max_series=8, history_events=200)
        expected.adopt(other)
        assert one.forecaster.series == one.control.series == live.series[:3]
        assert (one.forecaster.config.seasons, one.control.model.sha256) == ((5,), champion.sha256)
        for name in one.forecaster.series:
            mine, theirs = one.forecaster.row_of(name), expected.row_of(name)
            np.testing.assert_array_equal(
                one.forecaster.state()["hidden"][mine], expected.state()["hidden"][theirs], name
            )
        later = part(batch, 150, 300)
        one.observe(later, live.observe(later))
        two = Shadow.from_state(one.state(), one.header(), other)
        more = part(batch, 300, 420)
        found = live.observe(more)
        one.observe(more, found)
        two.observe(more, found)
        assert one.e_process == two.e_process
        assert one.e_process.count > 0

    @pytest.mark.parametrize("change", [{"horizon": 5}, {"quantiles": (0.3, 0.5)}, {"covariates": ("c",)}])
    def test_other_outputs_are_refused(self, change: dict[str, Any]) -> None:
        """A challenger has the outputs and the inputs of the live network."""
        live = Forecaster(CONFIG, max_series=8)
        with pytest.raises(ConfigError, match=next(iter(change))):
            Shadow.start(live, Model.initial(replace(CONFIG, **change)), 3)

    def test_leaves_the_live_one_alone(self) -> None:
        """A shadow with any weights changes nothing in the live forecaster."""
        batch, params = stream(300), Model.initial(CONFIG).params.copy()
        params[:] = 1e30
        plain, live = Forecaster(CONFIG), Forecaster(CONFIG)
        plain.observe(part(batch, 0, 150))
        live.observe(part(batch, 0, 150))
        shadow = Shadow.start(live, Model(CONFIG, params), 10)
        after = live.observe(part(batch, 150, 300))
        shadow.observe(part(batch, 150, 300), after)

        np.testing.assert_array_equal(after.quantiles, plain.observe(part(batch, 150, 300)).quantiles)
