"""The interval of a series: robust learning, adaptation, and the events that belong to one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, Forecasts, History, Note, Status
from forecaster.training.cadence import begin_steps, pieces
from forecaster.training.dataset import dataset

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
LEARNT = cases.rough_model(cases.POOLED["elman-1-pool-bare-learnt"], 1)
CONFIGURED = cases.rough_model(replace(cases.POOLED["elman-1-pool-bare-learnt"], interval_ms=MINUTE), 1)
Times = NDArray[np.int64]


def at(*parts: object) -> Times:
    """Returns stretches of times (milliseconds), each after the one before."""
    found = np.zeros(1, np.int64)
    for part in parts:
        found = np.concatenate((found, found[-1] + np.asarray(part, np.int64)))
    return cases.T0 + found


def every(gap: int, count: int) -> Times:
    """Returns the next `count` events, one per gap."""
    return gap * np.arange(1, count + 1)


def run(ts: Times, model: object = LEARNT, values: NDArray[np.float64] | None = None) -> Forecasts:
    """Returns the forecasts for one series."""
    values = np.sin(np.arange(len(ts)) / 3.0) if values is None else values
    return Forecaster(model, max_series=2, history_events=0).observe(Batch(["a"] * len(ts), ts, values))  # type: ignore[arg-type]


def changes(out: Forecasts) -> list[tuple[int, int, int]]:
    """Returns event, interval before and interval after of every change."""
    found = np.flatnonzero(out.notes & Note.NEW_INTERVAL)
    return [(int(i), int(out.noted_ms[i]), int(out.interval_ms[i])) for i in found]


class TestLearns:
    """Streams whose first gaps differ from the interval, or whose cadence changes."""

    def test_the_median_of_the_first_gaps(self) -> None:
        """The interval is the lower median of the first seven gaps, and stays while no other gaps agree."""
        gaps = np.array([60, 10, 60, 60, 500, 60, 61, 59, 60, 150, 95, 45, 200]) * SECOND
        out = run(cases.T0 + np.concatenate([[0], np.cumsum(gaps)]))
        expected = [0] + [sorted(gaps[: min(n, 7)])[(min(n, 7) - 1) // 2] for n in range(1, 14)]
        assert out.interval_ms.tolist() == expected

    @pytest.mark.parametrize("burst", [3, 10, 20])
    def test_a_burst_at_the_start(self, burst: int) -> None:
        """The interval becomes an hour after a burst of events a second apart and then hourly events."""
        out = run(at(every(SECOND, burst), every(HOUR, 30)))
        assert out.interval_ms[-15:].tolist() == [HOUR] * 15
        assert len(changes(out)) <= 1

    @pytest.mark.parametrize(("offset", "scrapers"), [(600, 2), (620, 2), (5000, 2), (20_000, 2), (400, 3), (300, 8)])
    def test_several_scrapers(self, offset: int, scrapers: int) -> None:
        """Several events shortly after one another every five minutes form one step."""
        gap = 5 * MINUTE
        ts = at([offset * k + gap * i for i in range(40) for k in range(scrapers)])[1:]
        out = run(ts)
        assert abs(int(out.interval_ms[-1]) - gap) <= offset
        tail = out.notes[-10 * scrapers :] & Note.SAME_STEP
        assert np.count_nonzero(tail) == 10 * (scrapers - 1)
        assert out.steps[-1] - out.steps[-1 - 10 * scrapers] == 10
        assert (out.status == Status.OK).all()
        assert np.isfinite(out.quantiles).all()

    @pytest.mark.parametrize(
        ("before", "after", "within"),
        [
            (MINUTE, 15 * MINUTE, 6), (HOUR, 5 * MINUTE, 12), (5 * MINUTE, HOUR, 6), (HOUR, SECOND, 12),
            (10 * SECOND, 24 * HOUR, 6), (MINUTE, 2 * MINUTE, 12), (10 * MINUTE, 5 * MINUTE, 12),
            (MINUTE, 75 * SECOND, 24), (MINUTE, 45 * SECOND, 24),
        ],
    )  # fmt: skip
    def test_the_cadence_changes(self, before: int, after: int, within: int) -> None:
        """The interval changes after the given number of events of the new cadence; all events have forecasts."""
        out = run(at(every(before, 100), every(after, 60)))
        assert changes(out) == [(100 + within, before, after)]
        assert out.steps[-1] - out.steps[100 + within] == 60 - within
        assert (out.status == Status.OK).all()

    def test_and_back(self) -> None:
        """The interval follows from an hour to five minutes, for a day, and back."""
        out = run(at(every(HOUR, 48), every(5 * MINUTE, 288), every(HOUR, 48)))
        assert [change[1:] for change in changes(out)] == [(HOUR, 5 * MINUTE), (5 * MINUTE, HOUR)]

    @pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
    @pytest.mark.parametrize("jitter", [0.0, 0.1, 0.2])
    def test_jitter_and_missing_scrapes_change_nothing(self, share: float, jitter: float) -> None:
        """Jitter and missing steps, single or in a row, change no interval."""
        rng = np.random.RandomState(7)
        there = np.flatnonzero((rng.rand(3000) >= share) | (np.arange(3000) < 10))
        there = there[(there % 500 < 400) | (there < 500)]
        ts = cases.T0 + ((there + rng.uniform(-jitter, jitter, len(there))) * MINUTE).astype(np.int64)
        out = run(ts)
        assert changes(out) == []
        assert abs(int(out.interval_ms[-1]) - MINUTE) <= (jitter + 1e-9) * MINUTE

    @pytest.mark.parametrize("after", [15 * MINUTE, 10 * SECOND])
    def test_a_configured_interval_is_kept_and_the_contradiction_noted_once(self, after: int) -> None:
        """Gaps that agree on another interval than the configured one are noted once, with that interval."""
        out = run(at(every(MINUTE, 30), every(after, 60)), CONFIGURED)
        assert set(out.interval_ms.tolist()) == {MINUTE}
        (where,) = np.flatnonzero(out.notes & Note.CONTRADICTED)
        assert out.noted_ms[where] == after
        assert where <= 30 + 12
        assert not (run(at(every(MINUTE, 90)), CONFIGURED).notes).any()


class TestOneStep:
    """Events less than half an interval after the newest step."""

    @pytest.mark.parametrize("model", [LEARNT, cases.rough_model(cases.STREAMING["none"], 1)], ids=["elman", "none"])
    def test_the_last_value_counts(self, model: object) -> None:
        """The forecast follows the last value of a step, and the step is counted once."""
        step = model.config.interval_ms or 10 * MINUTE  # type: ignore[attr-defined]
        ts, values = at(every(step, 40)), np.sin(np.arange(41.0))
        twice = np.insert(ts, 41, ts[-1] + step // 3)
        out = run(twice, model, np.append(values, 0.25))
        assert out.notes[-1] == Note.SAME_STEP
        assert out.steps[-1] == out.steps[-2] == 41
        assert np.isnan(out.anomaly[-1])
        plain = run(ts, model, np.append(values[:-1], 0.25))
        if model is not LEARNT:  # a recurrent network's state, and the scale, have used the first value
            np.testing.assert_allclose(out.quantiles[-1], plain.quantiles[-1], rtol=0, atol=0.05)
        assert not np.array_equal(out.quantiles[-1], out.quantiles[-2])

    def test_a_value_behind_a_missing_one(self) -> None:
        """A value after a missing value of its step is observed; a missing value replaces nothing."""
        ts = at(every(MINUTE, 20), [500], [MINUTE - 500], [500])
        values = np.sin(np.arange(len(ts)) / 3.0)
        values[20] = np.nan
        values[-1] = np.nan
        forecaster = Forecaster(LEARNT, max_series=2, history_events=0)
        out = forecaster.observe(Batch(["a"] * len(ts), ts, values))
        assert out.notes.tolist()[-3:] == [Note.SAME_STEP, 0, Note.SAME_STEP]
        assert out.status.tolist()[-4:] == [Status.MISSING, Status.OK, Status.OK, Status.MISSING]
        assert forecaster._table.stats[0, 2] == np.float32(values[-2])
        np.testing.assert_array_equal(out.quantiles[-1], out.quantiles[-2])


def rough_times(seed: int, n: int) -> Times:
    """Returns changes of cadence, bunches, missing and late events, jitter, and times in the far future."""
    rng = np.random.RandomState(seed)
    now, found, gap = cases.T0, [], MINUTE
    for _ in range(n):
        if rng.rand() < 0.03:
            gap = int(rng.choice([MINUTE, 15 * MINUTE, 620, HOUR]))
        draw = rng.rand()
        if draw < 0.6:
            jump = gap
        elif draw < 0.7:
            jump = gap * rng.randint(1, 8)
        elif draw < 0.9:
            jump = rng.randint(1, 2 * gap)
        else:
            jump = -rng.randint(0, 5 * gap) if draw < 0.97 else 10**10
        found.append(now + jump)
        now = max(now, now + jump) if draw < 0.97 else now
    return np.array(found, np.int64)


@pytest.mark.parametrize("model", [LEARNT, CONFIGURED], ids=["learnt", "configured"])
def test_batched_single_and_saved_are_the_same_bits(model: object, tmp_path: Path) -> None:
    """Outputs are equal bit for bit in one batch, event by event, and saved and loaded in between."""
    series = [rough_times(seed, 250) for seed in (1, 2, 3)]
    rng = np.random.RandomState(0)
    order = rng.permutation(np.repeat(np.arange(3), 250))
    taken = [0, 0, 0]
    ts = np.empty(750, np.int64)
    for i, which in enumerate(order):
        ts[i] = series[which][taken[which]]
        taken[which] += 1
    whole = Batch([f"s{which}" for which in order], ts, rng.normal(size=750))

    def parts(cuts: list[int], reload: Callable[[Forecaster], Forecaster] = lambda one: one) -> list[bytes]:
        forecaster, found = Forecaster(model, max_series=5, history_events=100), []  # type: ignore[arg-type]
        for start, end in zip([0, *cuts], [*cuts, 750], strict=True):
            out = forecaster.observe(cases.part(whole, start, end))
            found.append((out.status, out.interval_ms, out.steps, out.quantiles, out.anomaly, out.notes, out.noted_ms))
            forecaster = reload(forecaster)
        return [np.concatenate(column).tobytes() for column in zip(*found, strict=True)]

    def saved(forecaster: Forecaster) -> Forecaster:
        forecaster.save(tmp_path / "f")
        return Forecaster.load(tmp_path / "f")

    once = parts([])
    assert once == parts(list(range(1, 750)))
    assert once == parts([100, 101, 333, 600], saved)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    cadence=st.lists(st.tuples(st.integers(1, 5000), st.integers(30, 60)), min_size=1, max_size=4),
    unit=st.sampled_from([10, 1000, MINUTE]),
)
def test_any_cadence_that_lasts_is_learnt(cadence: list[tuple[int, int]], unit: int) -> None:
    """The gap of any stretch of at least thirty regular events is the interval at its end, within a 20th."""
    ts = at(*(every(gap * unit, count) for gap, count in cadence))
    out, end = run(ts), 0
    for gap, count in cadence:
        end += count
        assert abs(int(out.interval_ms[end]) - gap * unit) <= gap * unit // 19 + 1


class TestHistory:
    """Training on a history whose cadence changed."""

    def history(self, ts: Times, interval: int, values: NDArray[np.float32] | None = None) -> History:
        """Returns the history of one series."""
        n = len(ts)
        values = np.sin(np.arange(n)).astype(np.float32) if values is None else values
        return History(np.zeros(n, np.int64), ts, values, np.zeros((n, 0), np.float32), {0: "a"}, {0: interval})

    @pytest.mark.parametrize(("before", "after"), [(MINUTE, 15 * MINUTE), (HOUR, 5 * MINUTE), (5 * MINUTE, HOUR)])
    def test_is_cut_where_the_cadence_changed(self, before: int, after: int) -> None:
        """Each part has steps of its own interval; neither part becomes rows of missing steps."""
        ts = at(every(before, 300), every(after, 300))
        data = dataset(self.history(ts, after), LEARNT.layout, 0.1)
        assert len(data.y) <= len(ts) + 2
        assert {int(one) for one in np.unique(data.interval)} == {before, after}
        assert np.isfinite(data.y).mean() > 0.99

    def test_of_one_cadence_is_not_cut(self) -> None:
        """A history with jitter and missing events stays one piece, with the interval of the live path."""
        rng = np.random.RandomState(0)
        there = np.flatnonzero(rng.rand(2000) > 0.2)
        ts = cases.T0 + ((there + rng.uniform(-0.1, 0.1, len(there))) * MINUTE).astype(np.int64)
        ((events, interval),) = pieces(ts, MINUTE, configured=False)
        assert (len(events), interval) == (len(ts), MINUTE)

    def test_the_last_value_of_a_step_counts(self) -> None:
        """Two events every five minutes form one step with the second value; a missing value replaces nothing."""
        ts = cases.T0 + np.array([300_000 * i + 620 * k for i in range(50) for k in (0, 1)], np.int64)
        values = np.arange(100, dtype=np.float32)
        values[41] = np.nan
        data = dataset(self.history(ts, 5 * MINUTE, values), LEARNT.layout, 0.1)
        expected = np.arange(1, 100, 2, dtype=np.float32)
        expected[20] = 40
        np.testing.assert_array_equal(data.y, expected)
        assert begin_steps(ts, 5 * MINUTE).tolist() == [True, False] * 50

    def test_a_wrong_time_is_left_out(self) -> None:
        """An event of the year 9999 in a history adds neither a step nor a gap."""
        ts = np.insert(at(every(MINUTE, 200)), 100, 253_402_300_799_000)
        data = dataset(self.history(ts, MINUTE), LEARNT.layout, 0.1)
        assert len(data.y) == 201
        assert data.ts.max() == ts[-1]
