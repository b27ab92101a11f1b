"""What the soak saw, and whether that is good."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(slots=True)
class Life:
    """One process from its start to its end.

    Attributes:
        ended_by: the signal.
        ready_after: seconds from the start of the process until it was ready; not a number if it never was.
        stood: of these, seconds in which somebody had stopped all of the soak.
        samples: (seconds since the start of the soak, seconds of this life, resident bytes, lag in bytes).
        descriptors: open files and sockets, at every sample.
        counted: its counters at the last look.
    """

    ended_by: str = ""
    ready_after: float = float("nan")
    stood: float = 0.0
    samples: list[tuple[float, float, int, float]] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    counted: dict[str, float] = field(default_factory=dict)

    def told(self, settle: float) -> str:
        """A line for whoever waits: how it began, where memory stood once settled and where it ended, the most lag."""
        late = [size / 2**20 for _, at, size, _ in self.samples if at >= settle]
        memory = f"memory {late[0]:.1f} to {late[-1]:.1f} MiB after {settle:.0f} s" if late else "never settled"
        lag = max((lag for *_, lag in self.samples), default=float("nan"))
        ready = f"ready after {self.ready_after - self.stood:.1f} s"
        if self.stood:
            ready += f" and {self.stood:.0f} s in which all was stopped"
        return f"{ready}, {memory}, lag at most {lag / 1024:.0f} KiB, {self.ended_by}"


def floors(life: Life, settle: float, window: float) -> list[tuple[float, int]]:
    """The least memory of every whole window of a life once it has settled, with its time.

    Memory goes up by some megabytes when the daemon catches up behind a training, and comes back within ten seconds:
    what leaks is what does not come back. All samples together would say where in a life the last burst fell: with one
    of 9 MiB for 10 s in every 50 s, a line through three minutes of them is off by up to 27 MiB an hour.
    """
    late = [(at, size) for _, at, size, _ in life.samples if at >= settle]
    windows = int((late[-1][0] - settle) / window) if late else 0
    parts = [[one for one in late if (one[0] - settle) // window == i] for i in range(windows)]
    return [min(part, key=lambda one: one[1]) for part in parts if part]


def slope_per_hour(lives: list[Life], settle: float, window: float = 30.0) -> tuple[float, float]:
    """Growth of memory within lives, their first `settle` seconds left out, in bytes per hour, with its standard error.

    One slope for all lives, each with a level of its own: ordinary least squares through the least of every window.
    """
    times, sizes = [], []
    for life in lives:
        late = floors(life, settle, window)
        if len(late) > 2:
            t, s = np.array(late, float).T
            times.append(t - t.mean())
            sizes.append(s - s.mean())
    t, s = np.concatenate(times), np.concatenate(sizes)
    slope = float(t @ s / (t @ t))
    spread = float(np.sqrt(np.sum((s - slope * t) ** 2) / max(1, len(t) - 1 - len(times)) / (t @ t)))
    return slope * 3600, spread * 3600


def growth(lives: list[Life], settle: float, window: float, hours: float) -> tuple[float, float]:
    """By what share memory grows within lives in so many hours, with the standard error of it."""
    slope, spread = slope_per_hour(lives, settle, window)
    level = float(np.median([size for life in lives for _, size in floors(life, settle, window)]))
    return slope * hours / level, spread * hours / level


def descriptors(lives: list[Life]) -> tuple[int, int]:
    """The most open descriptors in the first third of what was seen of all lives, and in the last."""
    third = max(1, sum(len(life.descriptors) for life in lives) // 3)
    seen = [count for life in lives for count in life.descriptors]
    return max(seen[:third]), max(seen[-third:])


def forecasts(path: Path) -> Iterator[dict[str, Any]]:
    """All of an output, in order."""
    with closing(sqlite3.connect(f"file:{path / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        for (text,) in database.execute("SELECT forecasts FROM batches ORDER BY position, next_position"):
            yield from json.loads(text)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in an output."""
    with closing(sqlite3.connect(f"file:{path / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def compare(soaked: Path, quiet: Path) -> dict[str, int]:
    """How two outputs differ: forecasts lost, doubled, of other bytes; rejects, models and positions likewise."""
    found = {"forecasts": 0, "lost": 0, "doubled": 0, "different": 0}
    seen, expected = forecasts(soaked), forecasts(quiet)
    one, other, last = next(seen, None), next(expected, None), -1
    while one is not None or other is not None:
        here = math.inf if one is None else one["source"]["position"]
        there = math.inf if other is None else other["source"]["position"]
        found["different"] += one != other
        if here <= there:
            found["forecasts"] += 1
            found["doubled"] += here <= last
            last, one = here, next(seen, None)
        else:
            found["lost"] += 1
        if there <= here:
            other = next(expected, None)
    for name, query in {
        "rejects": "SELECT position, reason, value FROM rejects ORDER BY 1",
        "models": "SELECT model FROM adoptions ORDER BY position",
        "positions": "SELECT * FROM positions",
    }.items():
        here, there = rows(soaked, query), rows(quiet, query)
        found[name] = len(here)
        found["different"] += here != there
    return found
