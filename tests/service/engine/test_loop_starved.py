"""Exhausted resources, descriptors or memory: the engine restarts as after any failure."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from parts import Bench, event
from prometheus_client import CollectorRegistry

from forecaster import Forecaster
from service.engine.replay_settings import SettingsNotes
from service.monitoring.metrics import Metrics
from service.snapshots import owner
from service.snapshots.store import SnapshotStore
from service.sources import catalog
from service.transport.memory import MemoryLog

EVENTS = [event(step) for step in range(60)]


def failing(method: Callable[..., object], at: set[int], error: BaseException) -> Callable[..., object]:
    """Returns the method with some calls, counted from 0, that raise."""
    calls = iter(range(1_000_000))

    def call(*given: object, **named: object) -> object:
        if next(calls) in at:
            raise error
        return method(*given, **named)

    return call


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()], ids=["files", "memory"]
)
def test_it_starts_again_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Exhaustion in mid-stream, after rows are updated and before a commit, changes no output byte."""
    sections = {"input": {"max_poll_records": 7}}
    quiet = Bench(tmp_path / "quiet", MemoryLog({"0": EVENTS}), sections)
    quiet.run()
    starved = Bench(tmp_path / "starved", MemoryLog({"0": EVENTS}), sections)
    monkeypatch.setattr(Forecaster, "observe", failing(Forecaster.observe, {4, 9}, error))
    starved.run()

    assert starved.log.forecasts("0") == quiet.log.forecasts("0")
    assert starved.sample("restarts_total") == 2


def test_what_cannot_even_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error before the first run is raised, because a person must fix its cause."""
    bench = Bench(tmp_path, MemoryLog({"0": EVENTS}))
    refused = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(bench.registry, "recover", failing(bench.registry.recover, {0}, refused))
    with pytest.raises(PermissionError):
        bench.run()


@pytest.mark.parametrize("reader", ["owner", "settings notes", "anomaly rules", "renamed files"])
def test_a_file_that_cannot_be_opened_is_not_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Without descriptors a reader raises; only where the file is missing it returns the value for that."""
    store = SnapshotStore(tmp_path / "snapshots", 3, Metrics(CollectorRegistry()))
    readers: dict[str, tuple[Callable[[], object], object]] = {
        "owner": (lambda: owner._owner(tmp_path), {}),
        "settings notes": (lambda: SettingsNotes(tmp_path).of("0"), []),
        "anomaly rules": (lambda: store.noted_rules("0"), {}),
        "renamed files": (lambda: catalog._inodes(tmp_path / "missing"), {}),
    }
    read, missing = readers[reader]
    assert read() == missing

    error = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(Path, "read_text", failing(Path.read_text, {0}, error))
    monkeypatch.setattr(os, "scandir", failing(os.scandir, {0}, error))
    with pytest.raises(OSError, match="Too many open files"):
        read()
