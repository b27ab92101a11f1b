"""Training: reproducible, effective, returns the best weights, rejects short histories, never crosses gap or cutoff."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from short_trainings import START, TRAIN, sines

from forecaster import (
    Batch,
    ConfigError,
    FitProgress,
    Forecaster,
    History,
    Model,
    TrainConfig,
    TrainingError,
    compare,
    fit,
    fit_from,
)
from forecaster.layout import calendar_weights, layout_of
from forecaster.training import dataset as windows_module
from forecaster.training.dataset import BURN_STEPS, Dataset, Streams, dataset, validation_windows
from forecaster.training.loop import choosing_slices, mean_losses
from forecaster.training.optim import Adam, clip_scale, global_norm, learning_rate


class TestFit:
    """The training loop."""

    def test_same_seed_same_bits(self) -> None:
        """Equal settings give equal weights, to the last bit; another seed does not."""
        first, second = fit(sines(), START, TRAIN), fit(sines(), START, TRAIN)
        other = fit(sines(), START, replace(TRAIN, seed=1))
        assert first.model.params.tobytes() == second.model.params.tobytes()
        assert first.final.params.tobytes() == second.final.params.tobytes()
        assert replace(first, model=START, final=START) == replace(second, model=START, final=START)
        assert other.model.sha256 != first.model.sha256

    @pytest.mark.parametrize("days", [1, 4, 20])
    def test_calendar_seen_twice(self, days: int) -> None:
        """Hour and weekday are trained if most series cover two days, or two weeks, however long the stream is."""
        config = replace(cases.GRU, calendar=True, interval_ms=600_000)
        start = Model.initial(config)
        many, step = 9, np.arange(144 * days)
        which = np.repeat(np.arange(many), step.size)
        ts = cases.T0 + 600_000 * (np.tile(step, many) + 144 * 30 * which)  # each in a different month
        value = (np.sin(np.tile(step, many) / 3.0) + which).astype(np.float32)
        short = TrainConfig(k1=4, k2=8, batch=8, max_steps=4, warmup_steps=1, evaluate_every=1)
        learnt = fit(History(which, ts, value, np.zeros((which.size, 0), np.float32)), start, short).model.params
        assert np.any(learnt != start.params)
        for of, needed in (("hour", 2), ("week", 14)):
            rows = calendar_weights(start.layout, hour=of == "hour", week=of == "week")
            assert rows.any()
            assert np.any(learnt[rows] != start.params[rows]) == (days * 0.85 > needed)

    def test_learns_a_sine(self) -> None:
        """A short training reaches a quarter of the naive loss where neither the last value nor a season helps."""
        report = fit(sines(), START, replace(TRAIN, max_steps=500, passes=1000))
        assert report.validation_loss < 0.25 * report.naive_loss
        untrained = compare(START, report.model, sines(), TRAIN)
        assert untrained.promote
        assert untrained.challenger_loss < 0.35 * untrained.champion_loss

    def test_what_was_learnt_shows_live(self) -> None:
        """The model adopted by `Forecaster.fit` halves the median's error on later events."""
        history = sines(series=1)
        before, after = Forecaster(START), Forecaster(START)
        for forecaster in (before, after):
            forecaster.observe(Batch(["a"] * 240, history.timestamp_ms[:240], history.value[:240].astype(np.float64)))
        report = after.fit(replace(TRAIN, max_steps=500, passes=1000))
        assert after.model is report.model
        rest = Batch(["a"] * 60, history.timestamp_ms[240:], history.value[240:].astype(np.float64))
        middle, horizon = cases.QUANTILES.index(0.5), cases.GRU.horizon
        errors = []
        for forecaster in (before, after):
            median = forecaster.observe(rest).quantiles[: 60 - horizon, :, middle]
            truth = np.array([rest.value[i + 1 : i + 1 + horizon] for i in range(60 - horizon)])
            errors.append(float(np.abs(median - truth).mean()))
        assert errors[1] < 0.5 * errors[0]

    def test_keeps_the_best(self) -> None:
        """With a destructive learning rate training stops early and returns the weights from before."""
        seen: list[FitProgress] = []
        train = replace(TRAIN, learning_rate=1.0, warmup_steps=0, patience=2, max_steps=400, passes=1000, average=0.0)
        report = fit(sines(), START, train, seen.append)
        assert report.stopped_early
        assert report.steps == report.best_step + 2 * train.evaluate_every < 400
        assert seen[-1].validation_loss > report.validation_loss
        evaluation = choosing_slices(START.layout, dataset(sines(), START.layout, train.validation_fraction), train)
        start, chosen, final = (evaluation.sums(model.params) for model in (START, report.model, report.final))
        assert mean_losses(chosen[:1])[0] == report.validation_loss
        assert report.validation_loss <= mean_losses(start[:1])[0]
        assert mean_losses(final)[0] <= min(mean_losses(start)[0], mean_losses(chosen)[0])

    def test_progress_leads_to_the_report(self) -> None:
        """Every evaluation is reported, and the best one determines the returned weights."""
        seen: list[FitProgress] = []
        report = fit(sines(), START, TRAIN, seen.append)
        best = min(seen, key=lambda p: p.validation_loss)
        assert (report.best_step, report.validation_loss) == (best.step, best.validation_loss)
        assert [p.step for p in seen] == [20, 40, 60]

    def test_counts_clipped_steps(self) -> None:
        """All steps are clipped under a tiny limit, none under a huge one."""
        assert fit(sines(), START, replace(TRAIN, clip_norm=1e-6)).clipped_steps == 60
        assert fit(sines(), START, replace(TRAIN, clip_norm=1e6)).clipped_steps == 0

    def test_missing_values(self) -> None:
        """Training with a third of the values missing stays finite."""
        report = fit(sines(missing=0.33), START, TRAIN)
        assert np.isfinite([report.loss, report.validation_loss, report.gradient_norm]).all()
        assert report.best_step > 0

    def test_values_at_the_limits(self) -> None:
        """Constant series, the largest floats and single spikes leave the weights finite."""
        history = sines(series=4)
        value = history.value.copy()
        value[:300] = 5.0
        value[300:600] = np.where(np.arange(300) % 2, 3.4e38, -3.4e38)
        value[700] = 1e30
        report = fit(replace(history, value=value), START, TRAIN)
        assert np.isfinite(report.model.params).all()
        assert np.isfinite(report.validation_loss)

    @pytest.mark.parametrize(
        ("history", "message"),
        [
            (sines(1), "no series has two events; let the stream run for longer"),
            (sines(6), r"got \d+ steps before the held-out slice, expected at least 48 \(min_windows 4 x k2 12\)"),
            (replace(sines(), value=np.full(900, np.nan, np.float32)), "every value is missing"),
            (replace(sines(), value=np.ones(900, np.float32)), "nothing to learn: none of 3 series has changed"),
        ],
    )
    def test_too_little_history(self, history: History, message: str) -> None:
        """Errors state what was found, what is required and the remedy."""
        with pytest.raises(TrainingError, match=message):
            fit(history, START, TRAIN)


@pytest.fixture(scope="module")
def better() -> Model:
    """A model that was trained on the sines."""
    return fit(sines(), START, TRAIN).model


class TestCompare:
    """The comparison of challenger and champion."""

    def test_promotes_the_better(self, better: Model) -> None:
        """A better challenger is promoted; the reason states both losses."""
        verdict = compare(START, better, sines(), TRAIN)
        assert verdict.promote
        assert verdict.challenger_loss < verdict.champion_loss
        assert verdict.targets > 100
        assert f"{verdict.challenger_loss:.5f} instead of {verdict.champion_loss:.5f}" in verdict.reason

    def test_never_the_equal_nor_the_worse(self, better: Model) -> None:
        """An equal challenger is never promoted, even with a negative margin; a worse one is not either."""
        for margin in (0.0, -0.5):
            assert not compare(START, START, sines(), replace(TRAIN, margin=margin)).promote
        assert not compare(better, START, sines(), TRAIN).promote

    def test_the_margin_counts(self, better: Model) -> None:
        """A challenger better by less than the margin is not promoted; the reason states the margin."""
        verdict = compare(START, better, sines(), replace(TRAIN, margin=1.0))
        assert not verdict.promote
        assert "needed 100.00%" in verdict.reason

    def test_never_nan(self) -> None:
        """A challenger of non-finite loss is never promoted; a champion of non-finite loss is always replaced."""
        broken = Model(cases.GRU, np.full_like(START.params, 3e38))
        verdict = compare(START, broken, sines(), TRAIN)
        assert not np.isfinite(verdict.challenger_loss)
        assert not verdict.promote
        assert not compare(broken, broken, sines(), TRAIN).promote
        assert compare(broken, START, sines(), TRAIN).promote

    @pytest.mark.parametrize(
        "change", [{"horizon": START.config.horizon + 1}, {"quantiles": (0.15, *START.config.quantiles[1:])}], ids=str
    )
    def test_only_of_the_same_targets(self, change: dict[str, Any]) -> None:
        """Networks with another horizon or other levels are not compared; what they are is named."""
        (name,) = change
        other = Model.initial(replace(START.config, **change))
        with pytest.raises(ConfigError, match=rf"{name}.*the champion's"):
            compare(START, other, sines(), TRAIN)

    def test_another_cell(self) -> None:
        """A network of another cell is compared on the same targets."""
        found = compare(START, Model.initial(replace(START.config, cell="lstm")), sines(), TRAIN)
        assert found.targets == compare(START, START, sines(), TRAIN).targets > 0
        assert np.isfinite(found.challenger_loss)


class TestWindows:
    """The position of training windows."""

    def _history(self, seed: int) -> History:
        rng = np.random.RandomState(seed)
        parts = []
        for s in range(3):
            jumps = rng.choice([1, 1, 1, 1, 1, 1, 1, 1, 2, 5, 9, 40], rng.randint(40, 160))
            parts.append((np.full(jumps.size, s), cases.T0 + (rng.randint(20) + np.cumsum(jumps)) * cases.STEP_MS))
        series, ts = (np.concatenate(column) for column in zip(*parts, strict=True))
        value = rng.normal(size=series.size).astype(np.float32)
        return History(series, ts, value, np.zeros((series.size, 0), np.float32))

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 10_000), balance=st.sampled_from([0.0, 0.5, 1.0]), half=st.sampled_from([0.0, 0.2]))
    def test_never_cross_a_gap_nor_the_cutoff(self, seed: int, balance: float, half: float) -> None:
        """Any window lies in one series, in one stretch without a long gap, and on one side of the cutoff."""
        layout = layout_of(cases.GRU)
        data = dataset(self._history(seed), layout, 0.2)
        k1, k2 = 4, 9
        streams = Streams(data, k1, k2, 6, np.random.default_rng(seed), balance=balance, half_life=half)
        inside = np.full(len(data.y), -1)
        for number, (a, b) in enumerate(data.segment):
            inside[a:b] = number
            assert (np.diff(data.ts[a:b]) < (cases.GRU.max_gap + 2) * cases.STEP_MS).all()
        following = np.full(6, -1)
        for _ in range(20):
            windows, fresh = streams.next()
            for i, (first, steps, loss_from, limit) in enumerate(zip(*vars(windows).values(), strict=True)):
                assert 0 < steps <= k2
                assert len(set(inside[first : first + steps])) == 1
                assert inside[first] >= 0
                assert (data.ts[first : first + steps] < data.cutoff_ms).all()
                assert (data.ts[first:limit] < data.cutoff_ms).all(), "targets too lie before the cutoff"
                assert inside[limit - 1] == inside[first]
                assert loss_from == (BURN_STEPS if fresh[i] else k2 - k1)
                assert fresh[i] or first == following[i], "a stream goes on k1 steps later"
                following[i] = first + k1
        held = validation_windows(data, 8, 16, 100)
        for first, steps, lead, limit in zip(*vars(held).values(), strict=True):
            assert len(set(inside[first : first + steps])) == 1
            assert (data.ts[first + lead : first + steps] >= data.cutoff_ms).all(), "no training step is scored"
            assert limit == data.end[first]

    def _long_and_short(self) -> Dataset:
        """Returns a series of 9000 steps and one of 1000, with equal ends."""
        step = np.concatenate([np.arange(9000), np.arange(8000, 9000)])
        series = np.repeat([0, 1], [9000, 1000])
        value = np.random.RandomState(0).normal(size=10_000).astype(np.float32)
        history = History(series, cases.T0 + step * cases.STEP_MS, value, np.zeros((10_000, 0), np.float32))
        return dataset(history, layout_of(cases.GRU), 0.1)

    def _drawn(self, data: Dataset, **how: float) -> NDArray[np.int64]:
        streams = Streams(data, 1, 1, 4000, np.random.default_rng(0), **how)
        return streams.next()[0].first

    def test_balanced_over_series(self) -> None:
        """Series are drawn in proportion to their steps, to the square root of their steps, or equally."""
        data = self._long_and_short()
        ends = data.segment[:, 1]
        held = [int((data.ts[a:b] < data.cutoff_ms).sum()) for a, b in data.segment]
        for balance, power in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
            share = np.mean(self._drawn(data, balance=balance) >= ends[0])
            expected = held[1] ** power / (held[0] ** power + held[1] ** power)
            assert share == pytest.approx(expected, abs=0.03)

    def test_weighted_to_the_recent(self) -> None:
        """A half life of a quarter of the span doubles the draws from each quarter to the next."""
        data = self._long_and_short()
        drawn = self._drawn(data, half_life=0.25)
        drawn = drawn[drawn < data.segment[0, 1]]
        before = int((data.ts[: data.segment[0, 1]] < data.cutoff_ms).sum())
        counts = np.histogram(drawn, np.linspace(0, before, 5))[0]
        np.testing.assert_allclose(counts / counts.sum(), np.array([1, 2, 4, 8]) / 15, atol=0.03)

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each series drops an equal share of its oldest steps if gaps expand the data beyond the maximum."""
        monkeypatch.setattr(windows_module, "MOST_STEPS", 3000)
        step = 5 * np.arange(1000)  # four missing steps between two events
        ts = cases.T0 + np.concatenate([step, step[:500]]) * cases.STEP_MS
        history = History(
            np.repeat([0, 1], [1000, 500]), ts, np.ones(1500, np.float32), np.zeros((1500, 0), np.float32)
        )
        data = dataset(history, layout_of(cases.GRU), 0.1)
        assert 2900 < len(data.y) <= 3000
        lengths = data.segment[:, 1] - data.segment[:, 0]
        assert lengths[0] == pytest.approx(2 * lengths[1], rel=0.01)
        assert data.ts[: lengths[0]].max() == ts[999], "the newest are kept"

    @pytest.mark.parametrize("change", [{"clip_value": 1e-4}, {"average": 0.0}, {"loss_on": "last"}, {"balance": 1.0}])
    def test_options_count(self, change: dict[str, Any]) -> None:
        """Each option changes the trained weights."""
        short = replace(TRAIN, max_steps=20, evaluate_every=10)
        plain, other = (fit(sines(), START, t) for t in (short, replace(short, **change)))
        assert plain.best_step > 0
        assert plain.model.sha256 != other.model.sha256

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 10_000))
    def test_inputs_know_no_future(self, seed: int) -> None:
        """Changed values from some time on change no input and no statistic of earlier steps."""
        layout, history = layout_of(cases.GRU), self._history(seed)
        cut = int(np.median(history.timestamp_ms))
        changed = np.where(history.timestamp_ms >= cut, 100 - history.value, history.value)
        a, b = dataset(history, layout, 0.2), dataset(replace(history, value=changed), layout, 0.2)
        before = a.ts < cut
        assert a.x[before].tobytes() == b.x[before].tobytes()
        assert a.stats[before].tobytes() == b.stats[before].tobytes()
        assert a.x[~before].tobytes() != b.x[~before].tobytes()

    def test_held_out_values_teach_nothing(self) -> None:
        """Other values after the cutoff leave the weights of the first evaluation equal, bit for bit."""
        history = sines()
        cutoff = dataset(history, START.layout, TRAIN.validation_fraction).cutoff_ms
        value = np.where(history.timestamp_ms >= cutoff, history.value * 1.01, history.value)
        one_look = replace(TRAIN, max_steps=30, evaluate_every=30)
        a, b = (fit(h, START, one_look) for h in (history, replace(history, value=value)))
        assert a.best_step == b.best_step == 30
        assert a.model.params.tobytes() == b.model.params.tobytes()
        assert a.validation_loss != b.validation_loss


class TestOptimiser:
    """Adam, clipping and the schedule against their formulas."""

    def test_adam(self) -> None:
        """Three steps equal the published algorithm in float64, with decay on matrices only."""
        layout = layout_of(cases.GRU)
        rng = np.random.RandomState(0)
        params = rng.normal(size=layout.n_params)
        decay = np.zeros(layout.n_params)
        for name, view in layout.views(decay).items():
            view[...] = 0.0 if name.endswith(("bias", ".c", ".d", ".L")) else 0.01
        expected, m, v = params.copy(), np.zeros(layout.n_params), np.zeros(layout.n_params)
        adam = Adam(layout, 0.01)
        for t in (1, 2, 3):
            g = rng.normal(size=layout.n_params)
            adam.step(params, g, 0.1, 0.5)
            m, v = 0.9 * m + 0.1 * (g / 2), 0.999 * v + 0.001 * (g / 2) ** 2
            step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            expected -= 0.1 * (step + decay * expected)
        np.testing.assert_allclose(params, expected, rtol=1e-12, atol=1e-14)

    def test_clipping(self) -> None:
        """A gradient longer than the limit is scaled to it, a shorter one is unchanged, and nan propagates."""
        g = np.array([3.0, 4.0], np.float32)
        assert global_norm(g) == 5.0
        assert clip_scale(5.0, 1.0) == 0.2
        assert clip_scale(0.5, 1.0) == 1.0
        assert np.isnan(global_norm(np.array([1.0, np.nan])))

    def test_schedule(self) -> None:
        """The rate rises linearly and falls by a half cosine to a tenth."""
        assert learning_rate(0, 100, 1.0, 10) == 0.1
        assert learning_rate(9, 100, 1.0, 10) == 1.0
        assert learning_rate(55, 100, 1.0, 10) == pytest.approx(0.55)
        assert learning_rate(100, 100, 1.0, 10) == pytest.approx(0.1)


class TestStarts:
    """The initial weights of a training."""

    def test_the_better_end(self) -> None:
        """With both starts the result of lower validation loss is returned, bit for bit as from that start alone."""
        short = replace(TRAIN, max_steps=20, evaluate_every=10)
        spoilt = Model(START.config, START.params + np.float32(3.0))
        warm, cold, both = (fit_from(sines(), spoilt, start, short) for start in ("warm", "cold", "both"))

        assert warm.model.sha256 == fit(sines(), spoilt, short).model.sha256
        assert cold.model.sha256 == fit(sines(), Model.initial(START.config), short).model.sha256
        assert cold.validation_loss < warm.validation_loss
        assert both.model.sha256 == cold.model.sha256
        learnt = fit(sines(), START, TRAIN).model
        assert fit_from(sines(), learnt, "both", short).model.sha256 == fit(sines(), learnt, short).model.sha256

    def test_unknown(self) -> None:
        """An unknown start is rejected."""
        with pytest.raises(ConfigError, match="warm, cold, both"):
            fit_from(sines(), START, "tepid", TRAIN)
