"""Kills around time marks, for files and topics: events in bursts, a daemon that is killed, and what it should write.

The bursts have the times of the clock and silences between them, in which windows close by time marks. When a mark
comes is up to the clock; what follows from it is not: `undisturbed` runs an engine once over the same records, gives it
the marks that the killed daemon has recorded, and returns the bytes that it writes.

    CHAOS_IDLE_KILLS=200 pytest tests/e2e/test_idle_kill.py tests/broker/test_idle_kill_on_kafka.py     the long form
"""

from __future__ import annotations

import functools
import json
import operator
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry
from sqlite_outputs import texts

from service.config.sections import Config
from service.engine.idle_marks import IdleMarks
from service.engine.loop import Engine
from service.lifecycle import SystemClock
from service.messages.timestamps import parse_time
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
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
LONGEST_SECONDS = 240.0  # of a run on a busy machine
STEPS = ("step:3:2", "step:4:1", "step:4:3", "step:5:2", "step:2:3")


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


class KilledDaemon:
    """A daemon that is started and killed, again and again: in a step, at a random moment, or behind a new time mark.

    It takes as long as the machine needs: a run to a step or to a mark lasts until that is reached, and the random
    moments are within the seconds that the last run to a mark took.

    Args:
        start: starts the daemon, to be killed at a step or, with "", at none; returns its pid.
        wait: waits so many seconds for its end, or kills it then; returns its exit status.
        newest: returns the newest time mark that is committed, None before the first.
        failures: runs that may end by an error and are repeated: a starved broker may cost a restart.
    """

    def __init__(
        self,
        start: Callable[[str], int],
        wait: Callable[[float], int],
        newest: Callable[[], TimeMark | None],
        failures: int = 0,
    ) -> None:
        self._start, self._wait, self._newest, self._failures = start, wait, newest, failures
        self._seconds = 4.0

    def kill(self, kills: int, seed: int = 18) -> None:
        """Kills it so many times; of three, one is in a step, one at a random moment and one behind a new mark."""
        rng = random.Random(seed)
        for number in range(kills):
            if number % 3 == 0:
                self._run(lambda pid: True, LONGEST_SECONDS, rng.choice(STEPS))
            elif number % 3 == 1:
                self._run(lambda pid: True, rng.uniform(0.1, 1.0 + self._seconds))
            else:
                self.kill_behind(functools.partial(operator.ne, self._newest()), rng.uniform(0.0, 0.5))

    def kill_behind(self, is_reached: Callable[[TimeMark | None], bool], seconds: float = 0.0) -> None:
        """Kills it so many seconds after the newest mark is the one that is waited for."""
        self._run(lambda pid: self._reached(pid, is_reached), seconds)

    def _run(self, until: Callable[[int], bool], seconds: float, step: str = "") -> None:
        """Runs it until something is reached and for some seconds more, or to a step; repeats runs that failed."""
        while True:
            began, reached = time.monotonic(), until(self._start(step))
            status = self._wait(seconds if reached else 0.0)
            if status == KILLED:
                assert reached, f"no new time mark in {LONGEST_SECONDS} s"
                assert not step or time.monotonic() < began + seconds, f"{step} not in {seconds} s"
                return
            self._failures -= 1
            assert self._failures >= 0, f"exit status {status}"

    def _reached(self, pid: int, is_reached: Callable[[TimeMark | None], bool]) -> bool:
        """Waits for a mark; returns whether it is there, which it is not where the daemon ended before."""
        began, daemon = time.monotonic(), psutil.Process(pid)
        while time.monotonic() < began + LONGEST_SECONDS and daemon.status() != psutil.STATUS_ZOMBIE:
            if is_reached(self._newest()):
                self._seconds = time.monotonic() - began
                return True
            time.sleep(0.1)
        return False


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
        rejects = database.execute("SELECT position, value FROM rejects ORDER BY position")
        return texts(path), list(rejects)


def marks_of(path: Path) -> list[TimeMark]:
    """Returns the time marks in a SQLite file, in order."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [TimeMark(*row) for row in database.execute("SELECT position, time_ms FROM marks ORDER BY 1, 2")]


def assert_once(texts: list[str]) -> None:
    """Asserts that no window was forecast twice."""
    places = [(one["series"], one["origin"]) for one in map(json.loads, texts)]
    assert len(set(places)) == len(places)
