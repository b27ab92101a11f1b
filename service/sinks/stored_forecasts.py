"""Reads the forecasts that a SQLite output holds, for the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from service.errors import SinkFormatError

_SERIES = "SELECT name FROM series_names ORDER BY name"
_SERIES_OF_BATCHES = "SELECT DISTINCT series FROM forecasts ORDER BY series"
_NEWEST = """
SELECT origin, origin_ms, position, partition, model, levels, quantiles, revision FROM forecasts
WHERE series = ? AND origin_ms <= ? AND status <> 'unknown' ORDER BY origin_ms DESC, revision DESC, id DESC LIMIT ?"""
# A record with several events may have corrected a forecast several times: these have the same targets.
_TARGETS = """
SELECT step, target FROM steps WHERE series = ? AND origin_ms = ? AND partition = ? AND position = ?"""
_ACTUALS = """
SELECT step, actual FROM verified WHERE series = ? AND origin_ms = ? AND partition = ? AND position = ?"""


class StoredForecast(NamedTuple):
    """A forecast that was published.

    Attributes:
        series, origin, model: of the forecast; the origin in ISO-8601.
        levels: the quantile levels.
        targets: the time of every step in ISO-8601, None while the interval is not known.
        quantiles: of every step.
        actuals: the value that was observed at the target of every step, None where none was.
    """

    series: str
    origin: str
    model: str
    levels: list[float]
    targets: list[str | None]
    quantiles: list[list[float]]
    actuals: list[float | None]


def stored_forecasts(path: Path, pattern: str, until_ms: int, last: int) -> Iterator[StoredForecast]:
    """Yields the newest forecasts of series, oldest first in each.

    Args:
        path: the SQLite file; a daemon may be writing it.
        pattern: glob of the names of series.
        until_ms: the latest origin, epoch milliseconds.
        last: how many of each series.

    Raises:
        SinkFormatError: there is no such file, or it is none of this program.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if "verified" not in tables:
                msg = f"{path}: got a file of another program or version; expected a SQLite output of this one"
                raise SinkFormatError(msg)
            names = [str(name) for (name,) in database.execute(_SERIES)]
            if "batches" in tables:
                names = sorted({*names, *(str(name) for (name,) in database.execute(_SERIES_OF_BATCHES))})
            for name in names:
                if fnmatchcase(name, pattern):
                    yield from _of_series(database, name, until_ms, last)
    except sqlite3.Error as error:
        msg = f"{path}: cannot be read ({error}); expected the SQLite output of a daemon"
        raise SinkFormatError(msg) from error


def _of_series(database: sqlite3.Connection, name: str, until_ms: int, last: int) -> Iterator[StoredForecast]:
    found = database.execute(_NEWEST, (name, until_ms, last)).fetchall()
    for origin, origin_ms, position, partition, model, levels, quantiles, _ in reversed(found):
        rows: list[list[float]] = json.loads(quantiles)
        place = (name, origin_ms, partition, position)
        targets: dict[int, str | None] = dict(database.execute(_TARGETS, place).fetchall())
        actuals = dict(database.execute(_ACTUALS, place).fetchall())
        yield StoredForecast(
            name,
            origin,
            model,
            json.loads(levels),
            [targets.get(step) for step in range(1, len(rows) + 1)],
            rows,
            [actuals.get(step) for step in range(1, len(rows) + 1)],
        )
