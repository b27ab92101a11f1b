"""Time marks that no snapshot needs are deleted: few are stored after any time, and replays give the same bytes."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from parts import Bench
from test_idle_marks import SILENT_SECONDS, WINDOWS, QuietTransport, outputs, raws

from service.errors import SourceGoneError
from service.snapshots.file import newest_first
from service.transport.memory import MemoryLog, MemoryTransport

BURSTS = 12
KEPT = 3  # snapshots, see `Bench`
MOST = 2 * (KEPT + 1)  # marks: a snapshot for each, and the full ones that they build on


def burst(number: int) -> list[bytes]:
    """Returns four minutes of raw events; more than half an hour passes between two bursts."""
    return raws(2000 * number, 60)


def run_of(folder: Path, log: MemoryLog, bursts: list[int]) -> Bench:
    """Runs an engine that reads these bursts, each behind a silence, and stops behind the silence after the last."""
    bench = Bench(
        folder,
        log,
        {
            "aggregate": WINDOWS,
            "input": {"late": "dead-letter", "follow": True, "max_poll_records": 16},
            "state": {"snapshot_every": "1s"},
            "retrain": {"every_events": 0},
        },
    )
    left, until = list(bursts), bench.clock.now + SILENT_SECONDS

    def wait() -> None:
        nonlocal until
        bench.engine._writer.wait()  # in the time of the clock, writing a snapshot takes none
        if bench.clock.now < until:
            return
        if not left:
            bench.stop.set()
            return
        log.script["0"].extend(burst(left.pop(0)))  # type: ignore[attr-defined] # a list in this test
        until = bench.clock.now + SILENT_SECONDS

    bench.engine._connect = lambda: QuietTransport(log, bench.clock, wait)  # type: ignore[method-assign]
    bench.run()
    return bench


def copy_of(log: MemoryLog) -> MemoryLog:
    """Returns a log that can go on without the first."""
    script = {name: list(records) for name, records in log.script.items()}
    return dataclasses.replace(log, script=script, units=list(log.units), released=dict(log.released))


def stored(log: MemoryLog) -> int:
    """Returns the number of time marks that a sink still stores."""
    return len(MemoryTransport(log).marks("0", log.released.get("0", 0)))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> MemoryLog:
    """The log of an engine that was not restarted."""
    log = MemoryLog({"0": []}, ends=False)
    run_of(tmp_path_factory.mktemp("straight"), log, list(range(BURSTS + 1)))
    return log


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MemoryLog]:
    """The folder and the log of an engine that was restarted behind every burst but the last, which it has not had."""
    folder, log = tmp_path_factory.mktemp("restarted"), MemoryLog({"0": []}, ends=False)
    for number in range(BURSTS):
        run_of(folder, log, [number])
    return folder, log


def test_few_are_stored(straight: MemoryLog, restarted: tuple[Path, MemoryLog]) -> None:
    """However many marks there were, few are stored: those behind the oldest kept snapshot."""
    _, log = restarted
    marks = [unit.mark for unit in log.units if unit.mark is not None]

    assert len(marks) >= BURSTS
    assert stored(log) <= MOST
    assert stored(straight) <= MOST


@pytest.mark.parametrize("newer", range(KEPT))
def test_replayed_from_any_kept_snapshot(
    straight: MemoryLog, restarted: tuple[Path, MemoryLog], tmp_path: Path, newer: int
) -> None:
    """From the newest snapshot, and where newer ones are lost from each of those before it: the same bytes."""
    folder, before = restarted
    shutil.copytree(folder, tmp_path / "copy")
    paths = newest_first(next((tmp_path / "copy" / "snapshots").glob("*/")))
    assert len(paths) >= KEPT
    for path in paths[:newer]:
        path.unlink()
    log = copy_of(before)
    run_of(tmp_path / "copy", log, [BURSTS])

    assert outputs(log) == outputs(straight)


def test_replayed_from_before(restarted: tuple[Path, MemoryLog], tmp_path: Path) -> None:
    """Without any snapshot the marks are missing: the start is refused, and says so, instead of other bytes."""
    folder, before = restarted
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "snapshots")
    with pytest.raises(SourceGoneError, match="needs the time marks before"):
        run_of(tmp_path / "copy", copy_of(before), [BURSTS])
