"""Kills around time marks, for files and topics: events in bursts, a daemon that is killed, and what it should write.

The bursts have the times of the clock and silences between them, in which windows close by time marks. When a mark
comes is up to the clock; what follows from it is not: `undisturbed` runs an engine once over the same records, gives it
the marks that the killed daemon has recorded, and returns the bytes that it writes.

    CHAOS_IDLE_KILLS=200 pytest tests/e2e/test_idle_kill.py tests/broker/test_idle_kill_on_kafka.py     the long form
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.config.sections import Config
from service.engine.idle_marks import IdleMarks
from service.engine.loop import Engine
from service.lifecycle import SystemClock
from service.messages.timestamps import parse_time
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.partition import Partition
from service.ports import TimeMark
from service.registry.models import Registry
from service.snapshots.store import SnapshotStore
from service.trainer.supervisor import Trainer
from service.transport.build import connector

KILLED = -9
KILLS = int(os.environ.get("CHAOS_IDLE_KILLS", "6"))
SECTIONS: dict[str, dict[str, Any]] = {
    "aggregate": {"interval": "1s", "functions": ["count", "max", "p90"], "grace": "200ms", "idle": "300ms"},
    "input": {"max_poll_records": 20, "late": "dead-letter", "max_ahead": 0},
    "model": {"hidden_size": 16, "head_size": 16, "horizon": 4, "seasons": [12], "interval": "auto"},
    "state": {"snapshot_every": "0.1s"},
    "retrain": {"every_events": 0},
    "http": {"port": 0},
}
PER_BURST, BETWEEN_SECONDS, SILENT_SECONDS = 40, 0.02, 2.5
STEPS = ("", "", "", "step:3:2", "step:4:1", "step:4:3", "step:5:2", "step:2:3")


class Bursts(threading.Thread):
    """Sends bursts of events of three series, with silences between them, until it is closed.

    Args:
        send: takes the next event.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        super().__init__(daemon=True)
        self._send, self._ends, self.error = send, threading.Event(), ""

    def run(self) -> None:
        """Sends them; the last one is followed by a silence too."""
        try:
            while not self._ends.is_set():
                for at in range(PER_BURST):
                    one = {"series": "abc"[at % 3], "timestamp": int(time.time() * 1000), "value": at % 11}
                    self._send(json.dumps(one).encode())
                    time.sleep(BETWEEN_SECONDS)
                time.sleep(SILENT_SECONDS)
        except Exception as error:  # noqa: BLE001 - reported by `close`
            self.error = repr(error)

    def close(self) -> None:
        """Ends the bursts, and waits for the end of the last one."""
        self._ends.set()
        self.join(60)
        assert self.error == ""


def killed(run: Callable[[float, str], int], kills: int, longest: float, seed: int = 18) -> None:
    """Kills a daemon at random moments and in random steps.

    Args:
        run: runs the daemon for so many seconds, or to a step at which it is killed; returns its exit status.
        kills: the number of kills.
        longest: seconds that the longest life lasts.
        seed: of the moments.
    """
    rng = random.Random(seed)
    for _ in range(kills):
        assert run(rng.uniform(0.3, longest), rng.choice(STEPS)) == KILLED


def killed_behind(run: Callable[[float], int], marked: Callable[[], bool]) -> None:
    """Kills a daemon once it has recorded the time mark of the silence at the end."""
    for seconds in (6.0, 6.0, 12.0, 24.0, 48.0, 96.0):  # a busy machine may need long for a start
        assert run(seconds) == KILLED
        if marked():
            return
    pytest.fail("no time mark in the silence at the end")


def marks_in(texts: Iterable[str]) -> dict[str, list[TimeMark]]:
    """Returns the time marks that forecasts name, by partition, in their order."""
    found: dict[str, set[TimeMark]] = {}
    for source in (json.loads(text)["source"] for text in texts):
        if "mark" in source:
            mark = TimeMark(source["position"], parse_time(source["mark"]))
            found.setdefault(source["partition"], set()).add(mark)
    return {name: sorted(marks) for name, marks in found.items()}


class _GivenMarks(IdleMarks):
    """Yields recorded marks at their positions, in place of the clock's."""

    def __init__(self, marks: Mapping[str, list[TimeMark]]) -> None:
        super().__init__(0.0, SystemClock())
        self._left = {name: list(found) for name, found in marks.items()}

    def due(
        self, partitions: Iterable[Partition], read_lag: Callable[[], Mapping[str, int]]
    ) -> Iterator[tuple[Partition, TimeMark]]:
        """Yields the marks at the positions that the partitions have reached."""
        del read_lag
        for partition in partitions:
            left = self._left.get(partition.name, [])
            while left and left[0].position == partition.position:
                yield partition, left.pop(0)


def undisturbed(config: Config, marks: Mapping[str, list[TimeMark]]) -> tuple[list[str], list[tuple[int, bytes]]]:
    """Returns forecasts and rejects of an engine that reads record by record and has these time marks.

    Args:
        config: with an input that ends, `max_poll_records = 1` and a SQLite file of its own.
        marks: by partition.
    """
    clock, metrics, folder = SystemClock(), Metrics(CollectorRegistry()), config.state.data_dir
    registry = Registry(folder / "models", clock)
    engine = Engine(
        config, connector(config, registry), registry, SnapshotStore(folder / "snapshots", 3, metrics),
        Trainer(config, metrics, clock), metrics, Health(clock), clock,
    )  # fmt: skip
    engine._idle = _GivenMarks(marks)
    engine.run(threading.Event())
    return outputs_of(config.output_path)


def outputs_of(path: Path) -> tuple[list[str], list[tuple[int, bytes]]]:
    """Returns the forecasts of a SQLite file in the order of their commits, and the position and bytes of rejects."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        # Several marks at one position share a row.
        texts = database.execute("SELECT one.value FROM batches, json_each(forecasts) AS one ORDER BY batches.rowid")
        rejects = database.execute("SELECT position, value FROM rejects ORDER BY position")
        return [text for (text,) in texts], list(rejects)


def marks_of(path: Path) -> list[TimeMark]:
    """Returns the time marks in a SQLite file, in order."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [TimeMark(*row) for row in database.execute("SELECT position, time_ms FROM marks ORDER BY 1, 2")]


def assert_once(texts: list[str]) -> None:
    """Asserts that no window was forecast twice."""
    places = [(one["series"], one["origin"]) for one in map(json.loads, texts)]
    assert len(set(places)) == len(places)
