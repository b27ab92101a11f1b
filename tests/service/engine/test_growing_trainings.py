"""Trainings without settings: they follow the growth of the stream."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from parts import Bench, event

import service.partitions.partition
import service.partitions.schedule
from service.transport.memory import MemoryLog

FAILING = (sys.executable, "-c", "raise SystemExit('no')")


@pytest.fixture(autouse=True)
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.partitions.schedule, "FIRST_TRAINING", 20)
    monkeypatch.setattr(service.partitions.partition, "_STEPS_TO_LEARN_FROM", 15)


def stream(series: int, steps: int) -> MemoryLog:
    """Returns a log of several series in turns."""
    return MemoryLog({"0": [event(step, f"s{number}") for step in range(steps) for number in range(series)]})


def run(folder: Path, log: MemoryLog, **retrain: object) -> Bench:
    """Runs an engine whose trainings fail, to the end of the log."""
    bench = Bench(folder, log, {"retrain": retrain} if retrain else {}, command=FAILING)
    bench.run()
    return bench


def test_a_default_daemon_trains(tmp_path: Path) -> None:
    """Without settings a training falls due when the events have doubled, at the end of a unit; with 0 none does."""
    bench = run(tmp_path / "auto", stream(1, 90))
    assert bench.trainer.trainings.ended == 3
    assert {20, 40, 80} <= {unit.next_position for unit in bench.log.units}
    assert run(tmp_path / "never", stream(1, 90), every_events=0).trainer.trainings.ended == 0


def test_many_series_wait_for_more(tmp_path: Path) -> None:
    """A training waits until the series have events enough each: not at 20 and 40 events of 4 series, but at 80."""
    assert run(tmp_path / "few", stream(4, 19)).trainer.trainings.ended == 0
    assert run(tmp_path / "enough", stream(4, 20)).trainer.trainings.ended == 1
