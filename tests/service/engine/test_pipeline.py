"""Partitions over threads: output and its order do not depend on the number of threads."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kafka.structs import TopicPartition
from parts import Bench, event

from forecaster import Batch, Forecaster, Forecasts
from service.engine.pipeline import InFlightBatch, Observed, Pipeline
from service.kafka.columns import in_turns
from service.messages.decode import Decoded
from service.partitions.partition import Piece
from service.ports import Records, Unit
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

# Of unequal length, so that rounds shrink towards the end; one partition has records that are rejected.
LINES: dict[str, list[bytes | Script]] = {
    "a": [event(step, f"a{step % 3}") for step in range(90)],
    "b": [event(step, "b") if step % 11 else b"nonsense" for step in range(60)],
    "c": [event(step, "c") for step in range(35)],
}


def run(folder: Path, workers: int, lines: dict[str, list[bytes | Script]] = LINES, **sections: Any) -> Bench:
    """Runs an engine with this many workers to the end of all partitions."""
    sections["input"] = {"max_poll_records": 7, "workers": workers}
    bench = Bench(folder, MemoryLog({name: list(line) for name, line in lines.items()}), sections)
    bench.run()
    return bench


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    """The units that one worker publishes."""
    return run(tmp_path_factory.mktemp("alone"), 1).log.units


@pytest.mark.parametrize("workers", [2, 3])
def test_same_units_in_the_same_order(tmp_path: Path, alone: list[Unit], workers: int) -> None:
    """Several workers publish the units of one worker in the same order."""
    assert run(tmp_path, workers).log.units == alone


def test_a_crash_in_a_round_leaves_no_trace(tmp_path: Path, alone: list[Unit]) -> None:
    """A crash within a round, with partitions observed but not published, changes no output byte."""
    lines = {name: list(line) for name, line in LINES.items()}
    for name, at, what in [("a", 20, ABORT_PUBLISH), ("b", 21, ABORT_PUBLISHED), ("c", 14, ABORT_POLL)]:
        lines[name].insert(at, what)
    bench = run(tmp_path, 2, lines)

    assert bench.sample("restarts_total") == 3
    for name in LINES:
        assert bench.log.forecasts(name) == [f for unit in alone if unit.partition == name for f in unit.forecasts]


def test_a_training_ends_a_round(tmp_path: Path) -> None:
    """No partition is observed ahead of a training that may change its model; units equal those of one worker."""
    units = []
    for workers in (1, 3):
        bench = Bench(
            tmp_path / str(workers), MemoryLog(dict(LINES)),
            {"retrain": {"every_events": 25}, "input": {"max_poll_records": 10, "workers": workers}},
            command=(sys.executable, "-c", "raise SystemExit('no luck today')"),
        )  # fmt: skip
        skipped: list[int] = []
        bench.engine._groups[""].training.on_training_due = lambda partition, partitions, stop, s=skipped: s.append(  # type: ignore[method-assign]
            sum(one.ahead for one in partitions)
        )
        bench.run()
        units.append(bench.log.units)
        assert skipped
        assert not any(skipped)  # no partition is ahead of its commit
    assert units[0] == units[1]


def test_they_observe_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers observe two partitions concurrently: each waits for the other within its observation."""
    both, plain, calls = threading.Barrier(2, timeout=60), Forecaster.observe, iter(range(1_000_000))

    def observe(self: Forecaster, batch: Batch, *forget: Any) -> Forecasts:
        if threading.current_thread().name.startswith("observe") and next(calls) > 0:
            both.wait()
        return plain(self, batch, *forget)

    monkeypatch.setattr(Forecaster, "observe", observe)
    lines = {name: list(LINES["a"][:28]) for name in "xy"}
    lines["x"] = lines["x"] + list(LINES["a"][28:35])  # its first batch is observed alone: that of y follows later
    assert len(run(tmp_path, 2, lines).log.units) == 9


def test_an_error_in_a_thread_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: list[Unit]) -> None:
    """An error in a worker restarts the session like any other error, and nothing is lost."""
    plain, calls = Forecaster.observe, iter(range(1_000_000))

    def observe(self: Forecaster, batch: Batch, *forget: Any) -> Forecasts:
        if next(calls) == 9:
            raise MemoryError
        return plain(self, batch, *forget)

    monkeypatch.setattr(Forecaster, "observe", observe)
    bench = run(tmp_path, 2)

    assert bench.sample("restarts_total") == 1
    for name in LINES:
        assert bench.log.forecasts(name) == [f for unit in alone if unit.partition == name for f in unit.forecasts]


def test_a_stop_keeps_what_was_observed(tmp_path: Path) -> None:
    """A stop within a round takes effect after the round: all observed events are committed and in snapshots."""
    bench = Bench(tmp_path, MemoryLog(dict(LINES)), {"input": {"max_poll_records": 7, "workers": 2}})
    bench.on_unit = lambda _: bench.stop.set() if len(bench.log.units) == 4 else None
    bench.run()

    assert [unit.partition for unit in bench.log.units] == ["a", "b", "c", "a", "b", "c"]
    assert len(list(tmp_path.glob("snapshots/*/*.snapshot"))) == 3


def test_a_poll_of_kafka_is_cut_into_turns() -> None:
    """A poll is split into turns of a limited number of records per partition, in order."""
    x, y = TopicPartition("t", 0), TopicPartition("t", 1)
    assert list(in_turns({x: [1, 2, 3, 4, 5], y: [6, 7]}, 2)) == [(x, [1, 2]), (y, [6, 7]), (x, [3, 4]), (x, [5])]
    assert not list(in_turns({}, 2))


def sized(events_per_record: float = 1.0) -> Pipeline:
    """Returns a pipeline of which only the sizes of batches are used."""
    pipeline = Pipeline(1, None, None, None, None, None)  # type: ignore[arg-type]
    pipeline._events_per_record = events_per_record
    return pipeline


def pass_batch(pipeline: Pipeline, records: int, seconds: float, values: int = 0) -> None:
    """Passes a batch of some records, and as many seconds to observe the values of its two pieces."""

    def observe() -> Observed:
        return Observed([], seconds / 2)

    times, at = np.arange(values), list(range(values))
    decoded = Decoded(["a"] * values, times, np.ones(values), None, at, at, [], 0)
    one, other = (Piece(decoded, *bounds, due=False) for bounds in ((0, 1), (1, records)))
    pipeline._adopt = lambda *_: ()
    pipeline._here = lambda *_: observe  # type: ignore[method-assign]
    batch = InFlightBatch(
        SimpleNamespace(ahead=False), Records("a", range(records), records, [b""] * records),  # type: ignore[arg-type]
        0.0, one, iter([other]), (), observe,
    )  # fmt: skip
    for piece in pipeline.pieces(batch):
        piece.observe()


@pytest.mark.parametrize(
    ("seconds", "events_per_record", "expected"),
    [(0.0, 1, 100), (0.01, 1, 100), (0.5, 1, 4), (1.0, 2, 2), (60.0, 1, 1)],
)
@pytest.mark.parametrize("values", [0, 1, 5000])
def test_a_batch_takes_some_seconds_at_most(seconds: float, events_per_record: int, expected: int, values: int) -> None:
    """Where a record takes long to observe, the next batch is made smaller, whatever number of values it becomes."""
    pipeline = sized(float(events_per_record))

    assert pipeline.limit(100) == 100 // events_per_record
    pass_batch(pipeline, 3, 3 * seconds, values)
    assert pipeline.limit(100) == expected


def test_batches_grow_again() -> None:
    """Batches that take no time, also those without values of windows, grow again; a batch without records is none."""
    pipeline = sized()
    pass_batch(pipeline, 1, 60.0, values=1)
    assert pipeline.limit(10_000) == 1
    pass_batch(pipeline, 0, 0.0, values=1000)  # of a time mark
    assert pipeline.limit(10_000) == 1
    limits = list[int]()
    while not limits or (limits[-1] < 10_000 and len(limits) < 100):
        pass_batch(pipeline, pipeline.limit(10_000), 0.0)
        limits.append(pipeline.limit(10_000))
    assert limits == sorted(limits)
    assert limits[-1] == 10_000


def test_windows_that_close_now_and_then() -> None:
    """Where one record of ten thousand closes windows, which takes a second, batches are not small between two."""
    pipeline, batches, until = sized(), 0, 0
    for closing in range(1, 20):
        until, batches = closing * 10_000, 0
        at = until - 10_000
        while at < until:
            records = min(pipeline.limit(10_000), until - at)
            at, batches = at + records, batches + 1
            pass_batch(pipeline, records, 1.0 if at == until else 0.0, values=10_000 if at == until else 0)
    assert batches < 20
