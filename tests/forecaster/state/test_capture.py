"""A capture read block by block while the forecaster continues equals the state at its start, bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from captures import assert_same_arrays, batch, read_between
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import AnomalyConfig, CheckpointError, Forecaster, Model
from forecaster.state import capture
from forecaster.state.checkpoint import read_checkpoint, write_checkpoint
from forecaster.state.checkpoint_stream import Streamed, stream_checkpoint

MODEL = Model.initial(cases.GRU)
SERIES = 40


def warm(max_series: int = SERIES, **more: Any) -> Forecaster:
    """Returns a forecaster that has observed three events of each series."""
    found = Forecaster(MODEL, max_series=max_series, history_events=64, **more)
    for step in range(3):
        found.observe(batch([f"s{i}" for i in range(SERIES)], step))
    return found


def frozen(forecaster: Forecaster) -> dict[str, NDArray[Any]]:
    """Returns a copy of the forecaster's state."""
    return {name: array.copy() for name, array in forecaster.state().items()}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes blocks of a few rows, so that many events fit between two blocks."""
    monkeypatch.setattr(capture, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(capture, "_NAMES", 7)


@given(st.lists(st.lists(st.integers(0, SERIES - 1), min_size=1, max_size=6), max_size=12))
@settings(max_examples=25, deadline=None)
def test_any_events_in_between(batches: list[list[int]]) -> None:
    """Events during reading change neither the capture nor, by being captured, any forecast."""
    read, alone = warm(), warm()
    before, step = frozen(read), 3
    todo = iter(batches)

    def go_on() -> None:
        nonlocal step
        names = [f"s{i}" for i in next(todo, [])]
        step += 1
        if names:
            a, b = read.observe(batch(names, step)), alone.observe(batch(names, step))
            np.testing.assert_array_equal(a.quantiles, b.quantiles)

    assert_same_arrays(read_between(read.capture(threading.Lock()), go_on, go_on), before)
    assert_same_arrays(frozen(read), frozen(alone))


def test_evictions_and_new_series_in_between() -> None:
    """A capture holds the old series of rows that are reassigned during reading."""
    forecaster = warm()
    before, number = frozen(forecaster), iter(range(10_000))

    def go_on() -> None:
        forecaster.observe(batch([f"new{next(number)}"], 9))

    read = read_between(forecaster.capture(threading.Lock()), go_on, go_on)
    assert forecaster.evicted_total > 5
    assert_same_arrays(read, before)


def test_silences_in_between() -> None:
    """Silences detected during reading, and a change of the rules, do not change the capture."""
    forecaster = warm(anomaly=AnomalyConfig(silent_after=2))
    before, steps = frozen(forecaster), iter(range(9, 10_000))

    def go_on() -> None:
        step = next(steps)
        forecaster.observe(batch(["s0"], step))
        if step == 12:
            forecaster.judge_by(AnomalyConfig())

    assert_same_arrays(read_between(forecaster.capture(threading.Lock()), go_on, go_on), before)
    assert (forecaster._table.counters[:SERIES, 8] == 0).all()


def test_two_at_once_and_none_left() -> None:
    """Two captures at once stay separate; after both are read, no capture remains registered."""
    forecaster = warm()
    first, before = forecaster.capture(threading.Lock()), frozen(forecaster)
    forecaster.observe(batch(["s3", "s30"], 5))
    second, between = forecaster.capture(threading.Lock()), frozen(forecaster)
    forecaster.observe(batch(["s3", "s7"], 6))
    assert_same_arrays(read_between(second, lambda: None), between)
    assert_same_arrays(read_between(first, lambda: None), before)
    assert forecaster._table.captures == []


def test_a_reader_in_another_thread() -> None:
    """A capture read in one thread stays unchanged while another thread observes without pause."""
    forecaster, stop = warm(), threading.Event()
    before, taken = frozen(forecaster), forecaster.capture(threading.Lock())
    found: list[dict[str, NDArray[Any]]] = []

    def read() -> None:
        found.append(read_between(taken, lambda: None))
        stop.set()

    thread = threading.Thread(target=read)
    thread.start()
    step = 3
    while not stop.is_set():
        step += 1
        forecaster.observe(batch([f"s{i}" for i in range(step % 3, SERIES, 3)], step))
    thread.join()
    assert_same_arrays(found[0], before)


def test_the_file_is_the_same_to_a_reader(tmp_path: Path) -> None:
    """Files written in blocks and as a whole have the same arrays, header and checksum."""
    arrays = frozen(warm()) | {"none": np.zeros((0, 3), np.float32), "flags": np.array([True, False])}
    streamed: dict[str, Any] = dict(arrays)
    streamed["hidden"] = Streamed(
        arrays["hidden"].shape, arrays["hidden"].dtype, lambda: iter(np.array_split(arrays["hidden"], 7))
    )
    whole = write_checkpoint(tmp_path / "whole", arrays, {"a": 1}, "test")
    assert stream_checkpoint(tmp_path / "streamed", streamed, {"a": 1}, "test") == whole
    got, header = read_checkpoint(tmp_path / "streamed", "test")
    assert header == {"a": 1}
    assert_same_arrays(got, arrays)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["streamed", "whole"]


def test_a_stream_of_another_size_is_refused(tmp_path: Path) -> None:
    """A stream of another size than declared is rejected, and no file remains."""
    short = Streamed((5,), np.dtype(np.int64), lambda: iter([np.arange(4)]))
    with pytest.raises(CheckpointError, match="x: got -8 bytes beside its shape"):
        stream_checkpoint(tmp_path / "file", {"x": short}, {}, "test")
    assert not list(tmp_path.iterdir())


def test_large_arrays_stay_in_the_file(tmp_path: Path) -> None:
    """Large arrays are memory-mapped on request: verified, equal bit for bit, and read-only."""
    arrays = {
        "large": np.random.default_rng(0).normal(size=(5000, 3)),
        "small": np.arange(7),
        "bytes": np.ones(9000, np.uint8),
    }
    write_checkpoint(tmp_path / "file", arrays, {}, "test")
    got, _ = read_checkpoint(tmp_path / "file", "test", mapped=True)
    assert_same_arrays(got, arrays)
    assert [isinstance(got[name], np.memmap) for name in ("large", "bytes", "small")] == [True, True, False]
    with pytest.raises(ValueError, match="read-only"):
        got["large"][0, 0] = 1.0
