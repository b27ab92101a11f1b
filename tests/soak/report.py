"""Measurements of the soak, and their evaluation."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlite_outputs import outputs


@dataclass(slots=True)
class Life:
    """One process from its start to its end.

    Attributes:
        ended_by: the signal that ended the process.
        ready_after: seconds from the start of the process until it was ready; NaN if it never was.
        stood: of these, seconds in which the whole soak was stopped from outside.
        samples: (seconds since the start of the soak, seconds of this life, resident bytes, lag in bytes).
        descriptors: open files and sockets, at every sample.
        counted: metrics at the last sample.
    """

    ended_by: str = ""
    ready_after: float = float("nan")
    stood: float = 0.0
    samples: list[tuple[float, float, int, float]] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    counted: dict[str, float] = field(default_factory=dict)

    def summary(self, settle: float) -> str:
        """Returns a line of progress: time until ready, memory once settled and at the end, maximum lag."""
        late = [size / 2**20 for _, at, size, _ in self.samples if at >= settle]
        memory = f"memory {late[0]:.1f} to {late[-1]:.1f} MiB after {settle:.0f} s" if late else "never settled"
        lag = max((lag for *_, lag in self.samples), default=float("nan"))
        ready = f"ready after {self.ready_after - self.stood:.1f} s"
        if self.stood:
            ready += f" and {self.stood:.0f} s in which all was stopped"
        return f"{ready}, {memory}, lag at most {lag / 1024:.0f} KiB, {self.ended_by}"


def floors(life: Life, settle: float, window: float) -> list[tuple[float, int]]:
    """Returns time and size of the minimum memory in every whole window of a life after `settle` seconds.

    Memory rises by some megabytes when the daemon catches up after a training, and falls within 10 s; only memory
    that does not fall again is a leak. A fit of all samples would depend on the time of the last burst: with a burst of
    9 MiB for 10 s in every 50 s, a line through three minutes of samples is off by up to 27 MiB an hour.
    """
    late = [(at, size) for _, at, size, _ in life.samples if at >= settle]
    windows = int((late[-1][0] - settle) / window) if late else 0
    parts = [[one for one in late if (one[0] - settle) // window == i] for i in range(windows)]
    return [min(part, key=lambda one: one[1]) for part in parts if part]


def slope_per_hour(lives: list[Life], settle: float, window: float = 30.0) -> tuple[float, float]:
    """Returns the memory growth within lives after `settle` seconds, in bytes per hour, and its standard error.

    One slope for all lives, each with its own level: ordinary least squares through the minimum of every window.
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
    """Returns the relative memory growth within lives in `hours` hours, and its standard error."""
    slope, spread = slope_per_hour(lives, settle, window)
    level = float(np.median([size for life in lives for _, size in floors(life, settle, window)]))
    return slope * hours / level, spread * hours / level


def descriptors(lives: list[Life]) -> tuple[int, int]:
    """Returns the maximum number of open descriptors in the first and in the last third of all samples."""
    third = max(1, sum(len(life.descriptors) for life in lives) // 3)
    seen = [count for life in lives for count in life.descriptors]
    return max(seen[:third]), max(seen[-third:])


def forecasts(path: Path) -> Iterator[dict[str, Any]]:
    """Yields all forecasts of an output, in order."""
    yield from (one for one in outputs(path / "forecasts.sqlite") if "kind" not in one)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a query of an output."""
    with closing(sqlite3.connect(f"file:{path / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def compare(soaked: Path, quiet: Path) -> dict[str, int]:
    """Counts the differences of two outputs: forecasts lost, duplicated, different; rejects, models, positions."""
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
