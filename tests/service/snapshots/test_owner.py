"""A data folder and its output, which is deleted, copied, replaced, moved, restored, or alternates with another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from parts import Bench, event
from sqlite_outputs import texts

from forecaster.state.checkpoint import read_checkpoint, write_checkpoint
from service.errors import ConfigurationError
from service.ports import OutputIdentity
from service.sinks import sqlite_sink
from service.sinks.sqlite_sink import SqliteSink
from service.snapshots.owner import FILE
from service.transport.build import build_local
from service.transport.memory import MemoryLog

LINES = [event(step, series) + b"\n" for step in range(40) for series in "ab"]


class Run:
    """Daemons over one folder and a growing file, each started as a process of its own.

    Args:
        folder: the parent of the input and the data folder.
        monkeypatch: gives every daemon a process name of its own.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch, self._count = folder, monkeypatch, 0
        self.input = folder / "in.jsonl"

    def until(self, count: int, output: str = "out.sqlite", sink: str = "sqlite") -> Bench:
        """Runs a daemon over the first `count` events, into an output."""
        self.input.write_bytes(b"".join(LINES[:count]))
        self._count += 1
        self._patch.setattr(sqlite_sink, "THIS_START", f"process {self._count}")
        sections: dict[str, dict[str, Any]] = {
            "input": {"files": [str(self.input)]}, "output": {"path": output, "sink": sink},
        }  # fmt: skip
        bench = Bench(self.folder / "data", MemoryLog({}), sections)
        bench.engine._connect = lambda: build_local(bench.config)
        bench.run()
        return bench

    @property
    def snapshots(self) -> list[Path]:
        """Restore points, oldest first."""
        return sorted((self.folder / "data" / "snapshots").glob("*/*.snapshot"))

    def forecasts(self, output: str = "out.sqlite") -> list[str]:
        """Returns the forecasts in an output."""
        return texts(self.folder / "data" / output)

    def copy(self, source: str, target: str) -> None:
        """Copies a closed output."""
        for path in (self.folder / "data").glob(f"{target}*"):
            path.unlink()
        shutil.copy(self.folder / "data" / source, self.folder / "data" / target)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Daemons over one folder."""
    return Run(tmp_path, monkeypatch)


@pytest.fixture
def straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The forecasts of an undisturbed daemon for all events of the file."""
    alone = Run(tmp_path, monkeypatch)
    alone.until(80)
    found = alone.forecasts()
    shutil.rmtree(tmp_path / "data")
    return found


def test_goes_on(run: Run, straight: list[str]) -> None:
    """A daemon continues after another on one output."""
    run.until(30)
    second = run.until(80)

    assert second.sample("replayed_events_total") == 0
    assert run.forecasts() == straight


def test_deleted(run: Run, straight: list[str]) -> None:
    """The state of a deleted output is deleted, and all forecasts are computed from the first event."""
    run.until(30)
    for path in (run.folder / "data").glob("out.sqlite*"):
        path.unlink()
    run.until(80)

    assert run.forecasts() == straight
    assert len(run.snapshots) == 1


def test_another_while_the_first_is_there(run: Run, straight: list[str]) -> None:
    """Another output is refused by name while the first exists, whose state stays and is used afterwards."""
    run.until(30)
    before = run.snapshots
    with pytest.raises(ConfigurationError) as caught:
        run.until(60, "other.sqlite")
    after = run.snapshots
    second = run.until(80)

    for part in ("other.sqlite", "out.sqlite", "state.data_dir", "snapshots", "rules", "settings"):
        assert part in str(caught.value)
    assert before == after
    assert second.sample("replayed_events_total") == 0
    assert run.forecasts() == straight


def test_what_the_message_advises(run: Run, straight: list[str]) -> None:
    """After the deletion of the named folders the other output is computed from its events."""
    run.until(30)
    with pytest.raises(ConfigurationError, match="to compute the state for this output again"):
        run.until(80, "other.sqlite")
    for name in ("snapshots", "rules", "settings"):
        shutil.rmtree(run.folder / "data" / name, ignore_errors=True)
    run.until(80, "other.sqlite")

    assert run.forecasts("other.sqlite") == straight


def test_replaced_by_one_of_another_folder(run: Run) -> None:
    """Another output in the place of the expected one, with forecasts of its own, does not delete the state."""
    run.until(50)
    run.copy("out.sqlite", "kept")
    shutil.move(run.folder / "data", run.folder / "elsewhere")
    run.until(30)
    shutil.copy(run.folder / "elsewhere" / "kept", run.folder / "data" / "out.sqlite")
    before = run.snapshots

    with pytest.raises(ConfigurationError, match="computed for"):
        run.until(80)
    assert run.snapshots == before


def test_moved(run: Run, straight: list[str]) -> None:
    """A moved output keeps its identity."""
    run.until(30)
    shutil.move(run.folder / "data" / "out.sqlite", run.folder / "data" / "moved.sqlite")
    second = run.until(80, "moved.sqlite")
    third = run.until(80, "moved.sqlite")

    assert second.sample("replayed_events_total") == third.sample("replayed_events_total") == 0
    assert run.forecasts("moved.sqlite") == straight


def test_copied_and_both_go_on(run: Run, straight: list[str]) -> None:
    """State computed for one of two copies after the copy is never used for the other, in either order."""
    run.until(30)
    run.copy("out.sqlite", "copy.sqlite")
    first = run.until(50, "copy.sqlite")
    second = run.until(40)
    third = run.until(80, "copy.sqlite")
    fourth = run.until(80)

    assert first.sample("replayed_events_total") == 0  # the state before the copy belongs to both
    assert second.sample("snapshots_refused_total", reason="ahead") == 1
    assert third.sample("snapshots_refused_total", reason="foreign") == 1  # the other output's snapshot at 40
    assert fourth.sample("snapshots_refused_total", reason="ahead") == 1
    assert run.forecasts() == run.forecasts("copy.sqlite") == straight


def test_put_back_from_a_backup(run: Run, straight: list[str]) -> None:
    """An older copy in the place of the output continues from its position."""
    run.until(30)
    run.copy("out.sqlite", "backup")
    run.until(60)
    run.copy("backup", "out.sqlite")
    third = run.until(80)

    assert third.sample("replayed_events_total") == 0
    assert run.forecasts() == straight


def test_of_an_older_release(run: Run, straight: list[str]) -> None:
    """A folder and snapshots without an output's name belong to the first output they are started with."""
    run.until(30)
    (run.folder / "data" / "snapshots" / FILE).unlink()
    for path in run.snapshots:
        arrays, header = read_checkpoint(path, "snapshot")
        del header["output"]
        write_checkpoint(path, arrays, header, "snapshot")
    second = run.until(80)

    assert second.sample("replayed_events_total") == 0
    assert run.forecasts() == straight
    with pytest.raises(ConfigurationError, match="computed for"):
        run.until(80, "other.sqlite")


def test_standard_output(run: Run) -> None:
    """With standard output, the state belongs to the file of positions."""
    run.until(30, sink="stdout")
    second = run.until(50, sink="stdout")

    assert second.sample("replayed_events_total") == 0
    with pytest.raises(ConfigurationError, match="computed for"):
        run.until(50, "other.sqlite", "stdout")


def test_kafka_is_no_file(tmp_path: Path) -> None:
    """A Kafka output's topics cannot be checked for deletion, so another output is always refused."""
    events = [line.strip() for line in LINES]
    names = [OutputIdentity(f"kafka/c/{group}/t", place=f"group {group}") for group in "ab"]
    first = Bench(tmp_path, MemoryLog({"0": events[:30]}, identity=names[0]))
    first.run()
    second = Bench(tmp_path, MemoryLog({"0": events[:50]}, units=first.log.units, identity=names[0]))
    second.run()
    third = Bench(tmp_path, MemoryLog({"0": events}, identity=names[1]))

    assert second.sample("replayed_events_total") == 0
    with pytest.raises(ConfigurationError, match="got the output group b, expected group a"):
        third.run()


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff{", b'{"name": 7}'])
def test_a_damaged_claim(run: Run, damage: bytes, straight: list[str]) -> None:
    """A damaged claim is rewritten; snapshots hold the name of their output."""
    run.until(30)
    path = run.folder / "data" / "snapshots" / FILE
    path.write_bytes(damage)
    second = run.until(80)

    assert second.sample("replayed_events_total") == 0
    assert run.forecasts() == straight
    assert json.loads(path.read_text())["path"].endswith("out.sqlite")


def test_starts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output keeps its name and the newest starts."""
    monkeypatch.setattr(sqlite_sink, "MOST_STARTS", 3)
    run = Run(tmp_path, monkeypatch)
    for count in range(10, 80, 10):
        run.until(count)
    sink = SqliteSink(tmp_path / "data" / "out.sqlite")
    sink.open()
    starts = sink.identity.starts
    sink.close()

    assert starts[1:] == ("process 5", "process 6", "process 7")
    assert starts[0] == sink.identity.name
