"""Live quality: sums of coverage, width, loss and skill against a twin that stores all forecasts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forecaster import (
    Batch,
    Forecaster,
    Forecasts,
    ModelConfig,
    Note,
    QualityWatch,
    Status,
    member_names,
    mixture_weights,
)
from forecaster.ensemble.weights import tracked_horizons
from forecaster.evaluation.quality import FIRST, LARGEST, USUAL_RATE, Quality, interval_pairs

CONFIG = ModelConfig(
    hidden_size=16, head_size=16, horizon=5, quantiles=(0.05, 0.25, 0.5, 0.75, 0.95), seasons=(4,), interval_ms=1000
)


def stream(n: int = 300, names: int = 3) -> Batch:
    """Interleaved seasonal series with gaps, missing values, a duplicate and an outlier."""
    rng = np.random.default_rng(5)
    series = [f"s{i % names}" for i in range(n)]
    step = np.arange(n) // names
    step[n // 2 :] += 2  # two missing steps of every series
    value = 10 + 3 * np.sin(step * np.pi / 2) + rng.normal(0, 0.5, n)
    value[40], value[101], value[n - 20] = np.nan, np.nan, 1e6
    ts = step * 1000
    ts[61] = ts[61 - names]
    return Batch(series, ts.astype(np.int64), value)


def twin(batch: Batch, answers: Forecasts) -> Quality:
    """Computes the sums from dictionaries from which nothing is removed."""
    config, season = CONFIG, 4
    tracked, pairs = tracked_horizons(config.horizon), interval_pairs(config.quantiles)
    out = Quality.nothing(len(tracked), len(pairs))
    values: dict[tuple[str, int], float] = {}
    made: dict[tuple[str, int], np.ndarray] = {}
    usual: dict[str, tuple[float, int]] = {}
    for i, name in enumerate(batch.series):
        if answers.status[i] > 1:
            continue
        step, y = int(answers.steps[i]), float(batch.value[i])
        scale, count = usual.get(name, (0.0, 0))
        scale = scale if count >= FIRST else 0.0
        if np.isfinite(y):
            for index, k in enumerate(tracked):
                if (name, step - k) not in made:
                    continue
                q = made[name, step - k][k - 1].astype(float)
                out.scored[index] += 1
                for j, (low, high, _) in enumerate(pairs):
                    out.covered[index, j] += q[low] <= np.float32(y) <= q[high]
                if not scale:
                    continue
                out.scaled[index] += 1
                miss = np.clip((y - q) / scale, -LARGEST, LARGEST)
                levels = np.array(config.quantiles)
                out.pinball[index] += np.where(miss >= 0, miss * levels, miss * (levels - 1)).mean()
                for j, (low, high, _) in enumerate(pairs):
                    out.width[index, j] += min((q[high] - q[low]) / scale, LARGEST)
                naive = values.get((name, step - season * -(-k // season)), np.nan)
                if np.isfinite(naive):
                    out.paired[index] += 1
                    out.error[index] += min(abs(y - q[2]) / scale, LARGEST)
                    out.naive_error[index] += min(abs(y - naive) / scale, LARGEST)
            before = values.get((name, step - season), np.nan)
            if np.isfinite(before):
                mean, count = usual.get(name, (0.0, 0))
                mean += (abs(y - before) - mean) * max(1 / (count + 1), USUAL_RATE)
                usual[name] = mean, count + 1
        values[name, step], made[name, step] = y, answers.quantiles[i]
    return out


def part(batch: Batch, start: int, end: int) -> Batch:
    """Returns the events start..end-1 of a batch."""
    return Batch(batch.series[start:end], batch.timestamp_ms[start:end], batch.value[start:end])


def watched(batch: Batch, size: int, limit: int = 100) -> tuple[Quality, Forecaster]:
    """Returns the sums for the stream in batches of `size`, and the live forecaster."""
    live, watch = Forecaster(CONFIG), QualityWatch(CONFIG, limit)
    for start in range(0, len(batch), size):
        some = part(batch, start, start + size)
        watch.observe(some, live.observe(some), live.series_count)
    return watch.take(), live


def test_like_the_twin() -> None:
    """Every sum equals that of a scorer that stores all forecasts, with gaps, missing values and duplicates."""
    batch = stream()
    found, _ = watched(batch, len(batch))
    expected = twin(batch, Forecaster(CONFIG).observe(batch))

    for name in Quality.__slots__:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, err_msg=name)
    assert found.paired.min() > 50


def test_batches_do_not_matter() -> None:
    """Events in batches of one and of fifty give equal sums, bit for bit."""
    batch = stream()
    one, many = watched(batch, 1)[0], watched(batch, 50)[0]

    assert all(np.array_equal(getattr(one, name), getattr(many, name)) for name in Quality.__slots__)


def test_the_sample_is_bounded_and_renewed() -> None:
    """The number of scored series is limited; silent series are replaced by active ones."""
    live, watch = Forecaster(CONFIG), QualityWatch(CONFIG, 2)
    for round_ in range(200):
        names = ["a", "b", "c"] if round_ < 20 else ["c", "d"]
        batch = Batch(names, np.full(len(names), round_ * 1000), np.arange(len(names), dtype=float))
        watch.observe(batch, live.observe(batch), len(names))
        if round_ == 19:
            assert watch.take().scored[0] == 2 * 19

    assert watch.take().scored[0] > 20


def test_a_large_level() -> None:
    """Forecasts and values at a level of 1e9 with changes of 1 are scored like those around zero."""
    batch = stream()
    answers = Forecaster(CONFIG).observe(batch)
    plain, large = QualityWatch(CONFIG, 100), QualityWatch(CONFIG, 100)
    plain.observe(batch, answers, 3)
    moved = Batch(batch.series, batch.timestamp_ms, batch.value + 1e9)
    large.observe(moved, dataclasses.replace(answers, quantiles=answers.quantiles.astype(np.float64) + 1e9), 3)

    one, other = plain.take(), large.take()
    assert one.covered.min() > 0
    for name in Quality.__slots__:
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-6, err_msg=name)


def test_a_constant_is_covered() -> None:
    """A constant that float32 cannot represent lies within its forecast interval of zero width."""
    batch = Batch(["a"] * 30, np.arange(30, dtype=np.int64) * 1000, np.full(30, 0.7))
    quantiles = np.full((30, 5, 5), np.float32(0.7))
    made = Forecasts(
        np.zeros(30, np.uint8), batch.timestamp_ms, np.full(30, 1000), np.arange(1, 31), quantiles,
        np.zeros(30, np.float32), np.zeros(30, np.uint8),
    )  # fmt: skip
    watch = QualityWatch(CONFIG, 100)
    watch.observe(batch, made, 1)

    found = watch.take()
    assert (found.covered == found.scored[:, None]).all()
    assert found.scored.min() > 20


def test_nothing_known_is_not_scored() -> None:
    """An event of status UNKNOWN, without a forecast, adds nothing to the scores."""
    batch = stream()
    answers = Forecaster(CONFIG).observe(batch)
    status, quantiles = answers.status.copy(), answers.quantiles.copy()
    status[:150], quantiles[:150] = Status.UNKNOWN, np.nan
    found, rest = QualityWatch(CONFIG, 100), QualityWatch(CONFIG, 100)
    found.observe(batch, dataclasses.replace(answers, status=status, quantiles=quantiles), 3)
    later = {f.name: getattr(answers, f.name)[150:] for f in dataclasses.fields(answers) if f.name != "silences"}
    rest.observe(part(batch, 150, 300), Forecasts(**later), 3)

    one, other = found.take(), rest.take()
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Quality.__slots__)


def test_sums_fade() -> None:
    """Rolling sums decay by the given factor per horizon."""
    sums, more = Quality.nothing(2, 1), Quality.nothing(2, 1)
    more.scored[:], more.covered[:] = 10, 9
    sums.add(more)
    sums.add(more, np.array([0.5, 0.0]))

    assert sums.scored.tolist() == [15, 10]
    assert sums.covered[:, 0].tolist() == [13.5, 9]


def test_weights_of_the_pool() -> None:
    """Members' weights sum to one at every tracked horizon; they are nan before the first score."""
    assert np.isnan(mixture_weights(Forecaster(CONFIG))).all()
    weights = mixture_weights(watched(stream(), 100)[1])

    assert weights.shape == (len(tracked_horizons(5)), len(member_names(CONFIG)))
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert member_names(CONFIG)[2] == "seasonal_naive_4"


def test_a_step_is_scored_once_and_nothing_across_a_change_of_interval() -> None:
    """A further event of a step is not scored, and its forecasts replace the first; a new interval restarts scoring."""
    n = 60
    plain = Batch(["a"] * n, 1000 * np.arange(n), np.sin(np.arange(n)))
    ts = np.repeat(plain.timestamp_ms, 2) + np.tile([0, 100], n)
    live, watch = Forecaster(CONFIG), QualityWatch(CONFIG, 5)
    twice = Batch(["a"] * 2 * n, ts, np.repeat(plain.value, 2))
    watch.observe(twice, live.observe(twice), 1)
    assert watch.take().scored.tolist() == watched(plain, n)[0].scored.tolist()

    learnt = dataclasses.replace(CONFIG, interval_ms=0)
    live, watch = Forecaster(learnt), QualityWatch(learnt, 5)
    steps = 1000 * np.concatenate((np.arange(n), n + 15 * np.arange(n)))
    both = Batch(["a"] * 2 * n, steps, np.sin(np.arange(2 * n)))
    out = live.observe(both)
    watch.observe(both, out, 1)
    (change,) = np.flatnonzero(out.notes & Note.NEW_INTERVAL)
    assert watch.take().scored[0] == n + (2 * n - 1 - change)


def test_nothing_across_a_repair_that_changes_the_steps() -> None:
    """Where late events change the interval of a series, forecasts from before are not scored against other times."""
    learnt = dataclasses.replace(CONFIG, interval_ms=0)
    live, watch = Forecaster(learnt, late_within=8), QualityWatch(learnt, 5)
    steps, scored = [(0, 0)], {}
    for at in (0, 2, 4, 6, 1, 3, 5, 7, 8, 9):
        batch = Batch(["a"], np.array([1000 * at]), np.array([np.sin(at)]))
        out = live.observe(batch)
        watch.observe(batch, out, 1)
        steps.append((int(out.interval_ms[0]), int(out.steps[0])))
        scored[at] = int(watch.take().scored.sum())
        is_repaired = out.status[0] == Status.REPAIRED
        assert bool(out.notes[0] & Note.RENUMBERED) == (is_repaired and steps[-1] != steps[-2])
    assert (steps[4][0], steps[-1][0]) == (2000, 1000)
    assert [scored[at] for at in (1, 3, 5, 7)] == [0] * 4
    assert scored[8] == 1
