"""Shadow, evidence, drift: what a judge of live forecasts promises."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster import Batch, DriftTest, Forecaster, Model, ModelConfig, Note, Shadow
from forecaster.evidence import Evidence
from forecaster.prequential import Prequential

CONFIG = ModelConfig(hidden_size=16, head_size=16, horizon=3, quantiles=(0.1, 0.5, 0.9))


def stream(events: int, series: int = 3, seed: int = 1) -> Batch:
    """Random walks, interleaved."""
    rng = np.random.default_rng(seed)
    names = [f"s{i % series}" for i in range(events)]
    return Batch(names, (np.arange(events) // series) * 60_000, 50 + np.cumsum(rng.normal(size=events)))


def part(batch: Batch, start: int, end: int) -> Batch:
    """Events start..end-1."""
    return Batch(batch.series[start:end], batch.timestamp_ms[start:end], batch.value[start:end])


class TestEvidence:
    """The sequential test."""

    def test_splits_do_not_matter(self) -> None:
        """The same losses in other portions give the same bits."""
        losses = np.random.default_rng(2).exponential(size=(500, 2))
        losses[7] = np.nan
        whole, parts = Evidence(), Evidence()
        whole.add(losses)
        for i in range(0, 500, 3):
            parts.add(losses[i : i + 3])

        assert parts == whole
        assert whole.count == 499

    def test_rarely_wrong_however_often_looked_at(self) -> None:
        """Of 400 pairs of equals watched for 1,000 events, fewer than 5 % ever reach 20."""
        rng, wrong = np.random.default_rng(3), 0
        for _ in range(400):
            evidence, reached = Evidence(), False
            losses = rng.exponential(size=(1000, 2))
            for i in range(0, 1000, 25):
                evidence.add(losses[i : i + 25])
                reached |= evidence.better >= 20
            wrong += reached

        assert wrong < 20

    def test_finds_what_is_better(self) -> None:
        """A second that is a fifth better is found within 3,000 events, and it is not called worse."""
        losses = np.random.default_rng(4).exponential(size=(3000, 2)) * [1.0, 0.8]
        evidence = Evidence()
        evidence.add(losses)

        assert evidence.better > 20
        assert evidence.worse < 1
        assert evidence.gain > 0.05

    def test_endless_losses(self) -> None:
        """An infinite loss is the worst there is, two of them say nothing, zeros neither."""
        evidence = Evidence()
        evidence.add(np.array([[1.0, np.inf], [np.inf, np.inf], [0.0, 0.0]]))

        assert (evidence.count, evidence.total) == (3, -1.0)


def test_scores_when_targets_arrive() -> None:
    """Horizon k's forecast is scored by the value k steps later, the one of a skipped step never."""
    scorer = Prequential(1, (1, 2), (0.5,), 1)
    slot = scorer.slots(["a", "a", "a", "a", "b"])
    steps, value = np.array([1, 2, 3, 5, 1]), np.array([0.0, 10.0, 20.0, 30.0, 9.0])
    quantiles = np.arange(1, 6, dtype=np.float32)[None, :, None, None] * np.array([1.0, 100.0], np.float32)[:, None]
    losses = scorer.score(slot, np.zeros(5, np.uint8), steps, value, quantiles)[:, 0]

    # step 2: 1 from step 1.  step 3: 2 from step 2, 100 from step 1.  step 5: 300 from step 3.
    expected = [np.nan, 4.5, (18 / 2 + 80 / 2) / 2, 270 / 2, np.nan]
    np.testing.assert_array_equal(losses, expected)


def test_scores_nothing_across_a_change_of_interval_and_each_step_once() -> None:
    """What was forecast before steps were others is not scored; a step with several events is scored by its first."""
    scorer = Prequential(1, (1,), (0.5,), 1)
    notes = np.array([0, 0, Note.SAME_STEP, 0, Note.NEW_INTERVAL, 0, Note.REOPENED], np.uint8)
    steps, value = np.array([1, 2, 2, 3, 4, 5, 6]), np.arange(7) * 10.0
    quantiles = np.ones((1, 7, 1, 1), np.float32) * np.arange(7, dtype=np.float32)[:, None, None]

    losses = scorer.score(scorer.slots(["a"] * 7), np.zeros(7, np.uint8), steps, value, quantiles, notes)[:, 0]

    np.testing.assert_array_equal(losses, [np.nan, 5.0, np.nan, 14.0, np.nan, 23.0, np.nan])


class TestShadow:
    """A model beside another."""

    def test_equals_its_own_life(self) -> None:
        """The same model as a shadow forecasts the same: no evidence, either way, not even by a bit."""
        live, batch = Forecaster(CONFIG), stream(600)
        live.observe(part(batch, 0, 150))
        shadow = Shadow.start(live, live.model, 10)
        shadow.observe(part(batch, 150, 600), live.observe(part(batch, 150, 600)))

        assert shadow.evidence.count > 300
        assert shadow.evidence.total == shadow.evidence.spread == 0.0

    @pytest.mark.parametrize("size", [1, 7])
    def test_batched_saved_and_resumed(self, size: int) -> None:
        """Batches, and a stop in the middle, do not change a bit of the evidence; the sample is what it was."""
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
        assert found[0].evidence.count > 100

    def test_leaves_the_live_one_alone(self) -> None:
        """A shadow, whatever its weights, changes nothing of the forecaster beside it."""
        batch, params = stream(300), Model.initial(CONFIG).params.copy()
        params[:] = 1e30
        plain, live = Forecaster(CONFIG), Forecaster(CONFIG)
        plain.observe(part(batch, 0, 150))
        live.observe(part(batch, 0, 150))
        shadow = Shadow.start(live, Model(CONFIG, params), 10)
        after = live.observe(part(batch, 150, 300))
        shadow.observe(part(batch, 150, 300), after)

        np.testing.assert_array_equal(after.quantiles, plain.observe(part(batch, 150, 300)).quantiles)


class TestDrift:
    """The drift test."""

    @staticmethod
    def statistics(noise: np.ndarray, size: int = 50) -> list[float]:
        """The statistic behind every part of a noisy level of two series."""
        live, test = Forecaster(CONFIG), DriftTest(10)
        n, found = len(noise), []
        batch = Batch(["a", "b"] * (n // 2), (np.arange(n) // 2) * 60_000, 100 + noise)
        for start in range(0, n, size):
            now = part(batch, start, start + size)
            test.observe(now, live.observe(now), CONFIG.quantiles)
            found.append(test.statistic)
        return found

    def test_rises_with_the_errors(self) -> None:
        """It stays low while all is as usual, and rises when errors become three times as large."""
        noise = np.random.default_rng(5).normal(size=2000)
        calm = self.statistics(noise)
        noise[1500:] *= 3
        changed = self.statistics(noise)

        assert max(calm) < 25
        assert changed[:29] == calm[:29]
        assert max(changed[30:]) > 50

    def test_batched_saved_and_resumed(self) -> None:
        """How events are batched does not matter, nor that the state was saved and read."""
        noise = np.random.default_rng(6).normal(size=600)
        assert self.statistics(noise, 600)[-1] == self.statistics(noise, 1)[-1]
        live, test = Forecaster(CONFIG), DriftTest(10)
        batch = Batch(["a", "b"] * 300, (np.arange(600) // 2) * 60_000, 100 + noise)
        for start in (0, 300):
            now = part(batch, start, start + 300)
            test.observe(now, live.observe(now), CONFIG.quantiles)
            copy = DriftTest(10)
            copy.restore(test.state())
            test = copy

        assert test.statistic == self.statistics(noise, 600)[-1]
