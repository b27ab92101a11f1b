"""Rows of series: eviction, growth, adoption of weights, memory."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Batch, ConfigError, Forecaster, Model, ModelConfig

MODEL = cases.rough_model(cases.GRU, 1)


def crowd(events: int, series: int, seed: int = 0) -> Batch:
    """Returns events of more series than there are rows, some of them frequent."""
    rng = np.random.RandomState(seed)
    which = np.minimum(rng.geometric(0.12, events) - 1, series - 1)
    ts = cases.T0 + np.arange(events) * cases.STEP_MS
    return Batch([f"s{s}" for s in which], ts, rng.normal(size=events))


class TestEviction:
    """The series silent for longest is evicted when no row is free."""

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(cuts=st.lists(st.integers(0, 300), max_size=10))
    def test_does_not_depend_on_batching(self, cuts: list[int]) -> None:
        """Any batching evicts the same series at the same events, with the same forecasts."""
        batch = crowd(300, 40)
        runs = []
        for ends in (list(range(301)), sorted({*cuts, 300})):
            forecaster, out, start = Forecaster(MODEL, max_series=8, history_events=100), [], 0
            for end in ends:
                if start < end:
                    out.append(forecaster.observe(cases.part(batch, start, end)).quantiles)
                start = end
            runs.append((
                np.concatenate(out).tobytes(), forecaster.series, forecaster.evicted_total,
                {key: array.tobytes() for key, array in forecaster.state().items()},
            ))  # fmt: skip
        assert runs[0] == runs[1]
        assert runs[0][2] > 10
        assert len(runs[0][1]) == 8

    def test_takes_the_longest_silent(self) -> None:
        """The series whose last event lies furthest back in the stream is evicted, even with the newest timestamp."""
        forecaster = Forecaster(MODEL, max_series=3)
        names = ["a", "b", "c", "a", "d"]
        ts = cases.T0 + np.array([1, 99, 1, 2, 1]) * cases.STEP_MS
        forecaster.observe(Batch(names, ts, np.ones(5)))
        assert sorted(forecaster.series) == ["a", "c", "d"]
        assert forecaster.evicted_total == 1

    def test_who_comes_back_starts_anew(self) -> None:
        """An evicted series that returns is forecast like a new series, whichever series had its row in between."""
        forecaster = Forecaster(MODEL, max_series=2)
        batch = Batch(list("aabacb"), cases.T0 + np.arange(6) * cases.STEP_MS, np.arange(6.0) ** 2)
        forecaster.observe(batch)
        assert forecaster.series == ["c", "b"]
        again = Batch(["a"] * 3, cases.T0 + np.arange(10, 13) * cases.STEP_MS, np.array([4.0, 5.0, 3.0]))
        fresh = Forecaster(MODEL).observe(again)
        back = forecaster.observe(again)
        assert back.quantiles.tobytes() == fresh.quantiles.tobytes()
        assert back.steps.tolist() == [1, 2, 3]

    def test_room_for_one(self) -> None:
        """A table of one row works: every other series evicts the previous one."""
        out = Forecaster(MODEL, max_series=1).observe(crowd(20, 5))
        assert np.isfinite(out.quantiles).all()

    def test_no_room_is_an_error(self) -> None:
        """A table without rows is rejected by name."""
        with pytest.raises(ConfigError, match="max_series: got 0"):
            Forecaster(MODEL, max_series=0)


class TestGrowth:
    """Rows are added with the first event of a series."""

    def test_copies_nothing(self) -> None:
        """Arrays keep their addresses as series are added: no row is moved."""
        forecaster = Forecaster(MODEL, max_series=5000)
        forecaster.observe(Batch(["a"], np.array([cases.T0]), np.ones(1)))
        before = [array.ctypes.data for array in forecaster.state().values()][:3]
        n = 4999
        forecaster.observe(Batch([f"n{i}" for i in range(n)], np.full(n, cases.T0), np.ones(n)))
        assert [array.ctypes.data for array in forecaster.state().values()][:3] == before
        assert forecaster.series_count == 5000

    def test_names_may_be_anything(self, tmp_path: object) -> None:
        """Empty, long, non-ASCII and undecodable identifiers survive saving and loading, in order."""
        names = ["", "x" * 5000, "größe/µ", "\udcff", "a\nb", "\x00"]
        forecaster = Forecaster(MODEL)
        forecaster.observe(Batch(names, np.full(len(names), cases.T0), np.ones(len(names))))
        forecaster.save(f"{tmp_path}/state")
        assert Forecaster.load(f"{tmp_path}/state").series == names


class TestAdoption:
    """New weights: each row re-encodes its own ring at its next event."""

    def _adopted(self, cuts: list[int]) -> Forecaster:
        batch = cases.stream(cases.GRU, 200, series=4, seed=2)
        forecaster, start = Forecaster(MODEL), 0
        for cut in [*cuts, 200]:
            forecaster.observe(cases.part(batch, start, cut))
            start = cut
        forecaster.adopt(cases.rough_model(cases.GRU, 9))
        return forecaster

    def _next(self, steps: int) -> Batch:
        """Returns an event per series, `steps` steps after its newest: no gap that would restart the row."""
        batch = cases.stream(cases.GRU, 200, series=4, seed=2)
        newest = [int(cases.only(batch, f"s{i}").timestamp_ms.max()) for i in range(4)]
        return Batch([f"s{i}" for i in range(4)], np.array(newest) + steps * cases.STEP_MS, np.arange(4.0))

    def test_is_a_pure_function_of_the_row(self) -> None:
        """Forecasts after an adoption depend on neither the batching nor the old hidden state."""
        event, later = self._next(1), self._next(2)
        a, b = self._adopted([]), self._adopted([7, 50, 51, 120])
        blank = self._adopted([])
        blank.state()["hidden"][:, : blank.model.layout.state_floats] = 123.0
        results = [(f.observe(event).quantiles.tobytes(), f.observe(later).quantiles.tobytes()) for f in (a, b, blank)]
        assert results[0] == results[1] == results[2]

    def test_changes_the_forecasts_of_every_row(self) -> None:
        """The old weights give other forecasts for the same events (control)."""
        later = self._next(1)
        new = self._adopted([])
        old = self._adopted([])
        old.adopt(MODEL)
        assert not np.array_equal(new.observe(later).quantiles, old.observe(later).quantiles)

    def test_fits(self) -> None:
        """Only networks that differ in their weights and the origin of these have the same shape."""
        forecaster = Forecaster(MODEL)
        assert forecaster.fits(Model.initial(replace(MODEL.config, seed=9)))
        assert not forecaster.fits(Model.initial(cases.plain("lstm")))


def test_memory_of_200_000_series() -> None:
    """The memory per series, observed once and twice, is printed and bounded by its arrays and its name."""
    series, batch_size = 200_000, 20_000
    process = psutil.Process()
    forecaster = Forecaster(MODEL, max_series=series, history_events=50_000)
    names = [f"series-{i}" for i in range(series)]
    compiled = Forecaster(MODEL, max_series=1, history_events=0)
    compiled.observe(Batch(["a"], np.array([cases.T0]), np.ones(1)))
    before = process.memory_info().rss
    peaks = []
    for round_ in range(2):
        for start in range(0, series, batch_size):
            ts = np.full(batch_size, cases.T0 + round_ * cases.STEP_MS)
            out = forecaster.observe(Batch(names[start : start + batch_size], ts, np.full(batch_size, 1.0 + round_)))
        peaks.append((process.memory_info().rss - before) / series)
    assert forecaster.series_count == series
    assert forecaster.evicted_total == 0
    assert (out.steps == 2).all()
    print(
        f"\n{series} series: {forecaster.bytes_per_series} bytes of arrays each; resident {peaks[0]:.0f} bytes per "
        f"series when each was seen once, {peaks[1]:.0f} when seen again"
    )
    assert forecaster.state_bytes == series * forecaster.bytes_per_series
    # besides the arrays: a dictionary entry and an int (some 150 bytes), the shared history ring (50,000 x 20 bytes),
    # the outputs of a batch of 20,000 (each horizon x levels float32); the margin of 60 % is far above all of that
    assert peaks[1] < 1.6 * forecaster.bytes_per_series + 300
    assert peaks[1] < 1.1 * peaks[0] + 50, "seeing a series again costs nothing"


@pytest.mark.parametrize(
    ("seasons", "limit"),
    [
        ((), 4096),
        ((24,), 4096),
        ((168,), 6144),
        ((336,), 6144),
        ((24, 168), 6144),
        ((48, 336), 6208),
        ((24, 168, 336), 7168),
    ],
)
def test_memory_as_documented(seasons: tuple[int, ...], limit: int) -> None:
    """A row with 64 units and 24 steps takes at most 6 KiB, with two long seasons 64 bytes more, with three 7 KiB."""
    config = ModelConfig(hidden_size=64, horizon=24, seasons=seasons)
    forecaster = Forecaster(config, max_series=1, history_events=0)
    assert forecaster.bytes_per_series <= limit
    assert sum(array.nbytes for array in forecaster._table.arrays) == forecaster.bytes_per_series
