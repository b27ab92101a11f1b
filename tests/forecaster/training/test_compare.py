"""Champion against challenger: disjoint data for choice and comparison, promotion of the better, not of chance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from unittest import mock

import cases
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import (
    Comparison,
    FitReport,
    History,
    Model,
    NothingToLearnError,
    TrainConfig,
    TrainingError,
    challenge,
    compare,
    fit,
)
from forecaster.layout import layout_of
from forecaster.training.compare import BLOCKS, PROMOTION_LEVEL, judging_slice, student_quantile, verdict
from forecaster.training.dataset import Dataset, Windows, dataset, judging_cutoff
from forecaster.training.loop import choosing_slices

TRAIN = TrainConfig(k1=6, k2=12, batch=8, max_steps=6, warmup_steps=2, evaluate_every=3)
START = Model.initial(cases.GRU)
LEVELS = pytest.mark.parametrize("level", [PROMOTION_LEVEL, 0.95], ids=["as used", "strict"])


def at_level(level: float) -> Any:
    """Sets the promotion level."""
    return mock.patch("forecaster.training.compare.PROMOTION_LEVEL", level)


def of_differences(differences: NDArray[np.float64], targets: NDArray[np.float64], margin: float = 0.0) -> Comparison:
    """Returns the verdict where the champion's loss is 10 in every block and the challenger's less by `differences`."""
    return verdict(10.0 * targets, (10.0 - differences) * targets, targets, margin)


class TestChance:
    """The promotion rule on simulated losses of known difference."""

    @LEVELS
    @pytest.mark.parametrize("blocks", [2, 4, 8, 16])
    @pytest.mark.parametrize("tail", ["normal", "heavy"])
    @pytest.mark.parametrize("alike", [True, False])
    def test_equals_are_promoted_by_chance_alone(self, level: float, blocks: int, tail: str, alike: bool) -> None:
        """At most 1.3 times the nominal share of 4,000 equal pairs is promoted, for any block sizes."""
        rng = np.random.default_rng([blocks, tail == "heavy", alike])
        promoted = 0
        for _ in range(4000):
            drawn = rng.standard_t(3, size=blocks) if tail == "heavy" else rng.normal(size=blocks)
            targets = np.full(blocks, 100.0) if alike else rng.integers(50, 150, blocks).astype(np.float64)
            with at_level(level):
                promoted += of_differences(drawn, targets).promote
        assert promoted / 4000 < 1.3 * (1.0 - level)

    def test_memory_of_the_differences(self) -> None:
        """Blocks account for autocorrelated differences, single steps do not."""
        rng, steps = np.random.default_rng(0), 400
        found = {"blocks": 0, "steps": 0}
        for _ in range(1000):
            drawn = rng.normal(size=steps)
            for i in range(1, steps):
                drawn[i] += 0.7 * drawn[i - 1]
            means = drawn.reshape(BLOCKS, -1).mean(axis=1)
            with at_level(0.95):
                found["blocks"] += of_differences(means, np.full(BLOCKS, 25.0)).promote
                found["steps"] += of_differences(drawn, np.ones(steps)).promote
        assert found["blocks"] < 80
        assert found["steps"] > 150

    @pytest.mark.parametrize("stretches", [3, 5, 8])
    def test_series_that_move_together(self, stretches: int) -> None:
        """Correlated series are no independent blocks: without stretches over 12 % of equals would be promoted."""
        rng, groups = np.random.default_rng(stretches), -(-BLOCKS // stretches)
        times = np.repeat(np.arange(stretches), groups)
        targets, promoted, by_blocks = np.full(times.size, 50.0), 0, 0
        for _ in range(1000):
            drawn = rng.normal(size=stretches)[times] + 0.3 * rng.normal(size=times.size)
            losses = 10.0 * targets, (10.0 - drawn) * targets, targets, 0.0
            with at_level(0.95):
                promoted += verdict(*losses, times).promote
                by_blocks += verdict(*losses).promote
        assert promoted < 80
        assert by_blocks > 120

    @pytest.mark.parametrize(("second", "promoted"), [(0.2, True), (-0.2, False)])
    def test_two_stretches(self, second: float, promoted: bool) -> None:
        """Both stretches must favour the challenger, however large its lead over all blocks."""
        times, targets = np.repeat(np.arange(2), 8), np.full(16, 50.0)
        drawn = np.where(times == 0, 2.0, second)
        found = verdict(10.0 * targets, (10.0 - drawn) * targets, targets, 0.0, times)
        assert found.promote == promoted
        assert verdict(10.0 * targets, (10.0 - drawn) * targets, targets, 0.0).promote

    def test_series_of_their_own(self) -> None:
        """A better challenger on independent series is mostly promoted, also with only two stretches of time."""
        rng, times = np.random.default_rng(2), np.repeat(np.arange(2), 8)
        targets = np.full(16, 50.0)
        drawn = 1.5 + rng.normal(size=(500, 16))
        found = [verdict(10.0 * targets, (10.0 - one) * targets, targets, 0.0, times).promote for one in drawn]
        assert np.mean(found) > 0.6

    def test_the_better_is_promoted(self) -> None:
        """A challenger four standard errors better is nearly always promoted; the reason states the standard error."""
        rng = np.random.default_rng(1)
        found = [of_differences(1.0 + rng.normal(size=BLOCKS), np.full(BLOCKS, 9.0)) for _ in range(500)]
        assert np.mean([one.promote for one in found]) > 0.95
        assert f"(standard error {found[0].standard_error / 10:.2%} of 16 blocks)" in found[0].reason

    def test_one_block_proves_nothing(self) -> None:
        """One block promotes nothing without a negative margin: its standard error is unknown."""
        for margin, promoted in ((0.0, False), (0.1, False), (-0.1, True)):
            found = of_differences(np.array([9.0]), np.array([50.0]), margin)
            assert found.promote == promoted
            assert math.isnan(found.standard_error)
        assert "too little held out" in of_differences(np.array([9.0]), np.array([50.0])).reason

    @given(
        differences=st.lists(st.floats(-5, 5), min_size=1, max_size=20),
        margin=st.floats(0, 0.5),
        power=st.integers(-20, 20),
        seed=st.integers(0, 99),
    )
    def test_laws(self, differences: list[float], margin: float, power: int, seed: int) -> None:
        """A promoted challenger is better by the margin; units, block order and empty blocks change nothing."""
        d = np.array(differences)
        targets = np.random.default_rng(seed).integers(1, 100, d.size).astype(np.float64)
        found = of_differences(d, targets, margin)
        assert not found.promote or found.challenger_loss < found.champion_loss * (1 - margin) + 1e-9
        assert not of_differences(d - d @ targets / targets.sum(), targets, margin + 1e-6).promote
        unit = 2.0**power
        again = verdict(10.0 * targets * unit, (10.0 - d) * targets * unit, targets, margin)
        assert again.promote == found.promote
        padded = verdict(*(np.append(c, 0.0) for c in (10.0 * targets, (10.0 - d) * targets, targets)), margin)
        assert (padded.promote, padded.blocks) == (found.promote, found.blocks)
        mean, needed = found.champion_loss - found.challenger_loss, found.standard_error
        assume(math.isnan(needed) or abs(mean - student_quantile(PROMOTION_LEVEL, max(1, d.size - 1)) * needed) > 1e-9)
        assume(abs(mean - margin * found.champion_loss) > 1e-9)
        order = np.random.default_rng(seed).permutation(d.size)
        assert of_differences(d[order], targets[order], margin).promote == found.promote

    def test_quantiles(self) -> None:
        """Quantiles equal a table of Student's t."""
        table = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 8: 1.860, 15: 1.753, 30: 1.697}
        assert {n: student_quantile(0.95, n) for n in table} == pytest.approx(table, rel=1e-3)


def history_of(values: list[list[float]], gap: int = 0) -> History:
    """Returns parallel series with an event per step; with `gap`, all pause that long in the middle."""
    lengths = [len(one) for one in values]
    step = np.concatenate([np.arange(n) + gap * (np.arange(n) >= n // 2) for n in lengths])
    value = np.concatenate([np.array(one, np.float32) for one in values])
    ts = cases.T0 + step * cases.STEP_MS
    return History(np.repeat(np.arange(len(values)), lengths), ts, value, np.zeros((value.size, 0), np.float32))


def noise(steps: int, series: int = 3, seed: int = 0) -> list[list[float]]:
    """Returns noise, which cannot be forecast."""
    return np.random.RandomState(seed).normal(size=(series, steps)).tolist()


def scored(data: Dataset, batches: list[Windows]) -> set[int]:
    """Returns the origins of the data set's scored forecasts."""
    found: set[int] = set()
    for windows in batches:
        for first, steps, lead in zip(windows.first, windows.steps, windows.loss_from, strict=True):
            found |= set(range(int(first + lead), int(first + steps)))
    return found


class TestSlices:
    """The parts of the held-out slice for choosing weights and for judging."""

    @pytest.mark.parametrize("gap", [0, 40])
    @pytest.mark.parametrize(("steps", "series"), [(60, 1), (300, 3), (300, 40), (2000, 2)])
    def test_apart(self, steps: int, series: int, gap: int) -> None:
        """The parts share no targets, and together they are the held-out slice."""
        layout = layout_of(cases.GRU)
        data = dataset(history_of(noise(steps, series), gap), layout, 0.15)
        middle = judging_cutoff(data)
        older, rest = choosing_slices(layout, data, TRAIN)._groups
        newer = [windows for group in judging_slice(layout, data, TRAIN)[0]._groups for windows in group]

        for windows in older:
            for first, limit in zip(windows.first, windows.limit, strict=True):
                assert (data.ts[first:limit] < middle).all()
                assert limit <= data.end[first]
        chosen, judged = scored(data, older), scored(data, newer)
        assert all(data.ts[at] >= middle for at in scored(data, rest))
        held = int((data.ts >= data.cutoff_ms).sum())
        assert all(data.cutoff_ms <= data.ts[at] < middle for at in chosen)
        assert all(data.ts[at] >= middle for at in judged)
        assert held - 3 * series * (1 + BLOCKS) <= len(chosen) + len(judged) <= held or series == 40
        assert abs(len(chosen) - len(judged)) < 0.2 * held + 3 * series

    def test_blocks(self) -> None:
        """A long history has 16 blocks of time, a short one of many series groups of series, a very short one 1."""
        layout = layout_of(cases.GRU)

        def blocks(steps: int, series: int) -> int:
            data = dataset(history_of(noise(steps, series)), layout, 0.15)
            return len(judging_slice(layout, data, TRAIN)[0]._groups)

        assert blocks(2000, 1) == blocks(2000, 40) == BLOCKS
        assert blocks(40, 40) >= BLOCKS
        assert blocks(40, 1) == 1

    def test_what_judges_chose_nothing(self) -> None:
        """Values of the judging part change neither the chosen weights nor their loss."""
        values = noise(300)
        data = dataset(history_of(values), START.layout, TRAIN.validation_fraction)
        at = int(np.searchsorted(data.ts[data.start == 0], judging_cutoff(data)))
        other = [[*one[:at], *(10.0 * v for v in one[at:])] for one in values]
        one, two = (fit(history_of(v), START, TRAIN) for v in (values, other))
        assert one.model.sha256 == two.model.sha256
        assert one.validation_loss == two.validation_loss

    def test_targets_of_the_comparison(self) -> None:
        """Equal weights have equal losses and are not promoted, even with a negative margin."""
        found = compare(START, START, history_of(noise(300)), TrainConfig(k1=6, k2=12, margin=-0.5))
        assert (found.promote, found.standard_error, found.champion_loss) == (False, 0.0, found.challenger_loss)
        assert found.targets > 100


WAVES = history_of((np.sin(np.arange(600) / 3.0) + 0.1 * np.array(noise(600, 4))).tolist())


@pytest.fixture(scope="module")
def trained() -> FitReport:
    """Returns a training whose weights fit the waves."""
    return fit(WAVES, START, TrainConfig(k1=6, k2=12, batch=16, max_steps=150))


class TestBack:
    """Fallback to the initial weights after a training without gain."""

    def test_champion_worse_than_no_training(self, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """Initial weights better than the champion replace it, with a reason; a better challenger takes precedence."""
        good = trained.model
        monkeypatch.setattr("forecaster.training.compare.start_model", lambda _: good)
        model, found = challenge(START, replace(trained, model=START, final=START), WAVES, TRAIN)
        assert found.promote
        assert model is good
        assert found.reason.startswith("the weights before any training: loss ")
        model, found = challenge(START, trained, WAVES, TRAIN)
        assert (model, found) == (trained.final, compare(START, trained.model, WAVES, TRAIN))

    def test_the_whole_slice_chooses_what_is_promoted(self, trained: FitReport) -> None:
        """The model judged is chosen on the older half, the model promoted on the full slice."""
        final = Model(START.config, trained.model.params * np.float32(1.01))
        model, found = challenge(START, replace(trained, final=final), WAVES, TRAIN)
        assert found.promote
        assert (model, found) == (final, compare(START, trained.model, WAVES, TRAIN))

    def test_champion_better_than_no_training(self, trained: FitReport) -> None:
        """The verdict on the challenger is returned if the champion is better than the initial weights."""
        other = Model(START.config, START.params * np.float32(0.5))
        good, poor = trained.model, replace(trained, model=other)
        assert challenge(good, poor, WAVES, TRAIN) == (other, compare(good, other, WAVES, TRAIN))
        assert not compare(good, other, WAVES, TRAIN).promote


class TestNothingToLearn:
    """Histories without change are not a training failure."""

    FLAT, MISSING = [5.0] * 200, [math.nan] * 200

    @pytest.mark.parametrize(
        "values",
        [
            [FLAT],
            [FLAT, [0.1] * 200, [-3e38] * 200],
            [FLAT, MISSING],
            [MISSING],
            [MISSING, MISSING],
            [[5.0, math.nan] * 100, FLAT],
            [[0.0] * 20],
            [[5.0] * 190 + [6.0] * 10],
            [[1.0, 2.0] * 20, *[[5.0] * 200] * 2],
        ],
    )
    def test_constant_and_missing(self, values: list[list[float]]) -> None:
        """Constant series, missing series, or changes only in the held-out slice raise NothingToLearnError."""
        with pytest.raises(NothingToLearnError, match="nothing to learn"):
            fit(history_of(values), START, TRAIN)

    @pytest.mark.parametrize("values", [[[5.0]], [[1.0, 2.0, 3.0]], [[1.0, 2.0] * 10]])
    def test_too_little_is_another_matter(self, values: list[list[float]]) -> None:
        """A short history with changes raises a TrainingError: not enough history."""
        with pytest.raises(TrainingError) as caught:
            fit(history_of(values), START, TRAIN)
        assert not isinstance(caught.value, NothingToLearnError)
        assert "not enough history" in str(caught.value)

    def test_one_that_changes_is_enough(self) -> None:
        """Constant and missing series do not prevent training on a series that changes."""
        report = fit(history_of([self.FLAT, self.MISSING, *noise(200, 1)]), START, TRAIN)
        assert report.validation_targets > 0
