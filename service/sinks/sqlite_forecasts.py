"""Reads the forecasts that a SQLite output holds, for the command line."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from service.errors import SinkFormatError
from service.messages.compact import CompactForecast, unpack
from service.messages.encode import UNKNOWN, silence_object
from service.messages.timestamps import format_times
from service.sinks.sqlite_reader import SqliteReader, tables_in
from service.sinks.stored_forecasts import Position, StoredForecast, StoredOutputs

_SERIES: Final = "SELECT name FROM series_names ORDER BY name"
_SERIES_OF_BATCHES: Final = "SELECT DISTINCT series FROM forecasts ORDER BY series"
_NEWEST: Final = """
SELECT origin, origin_ms, position, partition, model, levels, quantiles, revision FROM forecasts
WHERE series = ? AND origin_ms <= ? AND status <> 'unknown' ORDER BY origin_ms DESC, revision DESC, id DESC LIMIT ?"""
# A record with several events may have corrected a forecast several times: these have the same targets.
_TARGETS: Final = """
SELECT step, target FROM steps WHERE series = ? AND origin_ms = ? AND partition = ? AND position = ?"""
_NEWEST_MADE: Final = """
SELECT origin_ms, position, partition, model, quantiles FROM forecasts
WHERE series = ? AND origin_ms <= ? AND status <> 'unknown' AND revision = 0 ORDER BY origin_ms DESC, id DESC LIMIT 1"""
_CODES: Final = """
SELECT f.quantiles, f.least, f.greatest, f.digits
FROM stored_forecasts AS f JOIN series_names AS n ON n.id = f.series
WHERE n.name = ? AND f.origin_ms = ? AND f.position = ? AND f.steps > 0 ORDER BY f.id LIMIT 1"""
_ACTUALS: Final = """
SELECT step, actual FROM verified WHERE series = ? AND origin_ms = ? AND partition = ? AND position = ?"""

_FORECASTS_AFTER: Final = """
SELECT n.name, c.partition, c.model, c.levels, f.*
FROM stored_forecasts AS f JOIN contexts AS c ON c.id = f.context JOIN series_names AS n ON n.id = f.series
WHERE f.id > ? ORDER BY f.id LIMIT ?"""
_SILENCES_AFTER: Final = """
SELECT s.id, n.name, c.partition, s.position, s.last_ms, s.expected_ms, s.noticed_ms
FROM stored_silences AS s JOIN contexts AS c ON c.id = s.context JOIN series_names AS n ON n.id = s.series
WHERE s.id > ? ORDER BY s.id LIMIT ?"""
_BATCHES_AFTER: Final = "SELECT rowid, partition, position = next_position, forecasts FROM batches WHERE rowid > ?"
_OF_STORED: Final = tuple(name for name in CompactForecast._fields if name not in ("context", "more", "quantiles"))


class StoredOrigin(NamedTuple):
    """A stored forecast, and the event that it was made at.

    Attributes:
        series, origin_ms: of the event. partition, position: of its record.
        model: the first digits of its sha256.
        quantiles: as text shows them.
        codes: as they are stored: codes, least, greatest, digits (`CompactForecast`); None where they are JSON.
    """

    series: str
    origin_ms: int
    partition: str
    position: int
    model: str
    quantiles: list[list[float]]
    codes: tuple[bytes, float, float, int | None] | None


class _Place(NamedTuple):
    """A `Position` in a SQLite output.

    Attributes:
        output: the name that the file was created with.
        forecast, silence, batch: the numbers of the last rows that were read.
        marked: rows of batches that may be extended, by partition: number, and how many of its outputs were read.
    """

    output: str = ""
    forecast: int = 0
    silence: int = 0
    batch: int = 0
    marked: tuple[tuple[str, int, int], ...] = ()


class SqliteForecasts(SqliteReader, StoredOutputs):
    """`StoredOutputs` of a SQLite file.

    Args:
        path: the SQLite file; a daemon may be writing it, or has not created it yet.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, {"starts", "stored_forecasts", "stored_silences"})

    @property
    def place(self) -> str:
        """Returns the path."""
        return str(self._path)

    def newest(self, pattern: str, until_ms: int, last: int) -> Iterator[StoredForecast]:
        """Yields the newest forecasts of series, oldest first in each.

        Raises:
            SinkFormatError: there is no such file, or it is none of this program.
        """
        try:
            with closing(self.connect()) as database:
                tables = tables_in(database)
                if "verified" not in tables:
                    msg = (
                        f"{self._path}: got a file of another program or version; expected a SQLite output of this one"
                    )
                    raise SinkFormatError(msg)
                names = [str(name) for (name,) in database.execute(_SERIES)]
                if "batches" in tables:
                    names = sorted({*names, *(str(name) for (name,) in database.execute(_SERIES_OF_BATCHES))})
                for name in names:
                    if fnmatchcase(name, pattern):
                        yield from _of_series(database, name, until_ms, last)
        except sqlite3.Error as error:
            msg = f"{self._path}: cannot be read ({error}); expected the SQLite output of a daemon"
            raise SinkFormatError(msg) from error

    def made_up_to(self, series: str, until_ms: int) -> StoredOrigin | None:
        """Returns the newest forecast of a series up to an event time, without corrections; None without one.

        Raises:
            SinkFormatError: the file is none of this program.
        """

        def read(database: sqlite3.Connection, _name: str, _tables: frozenset[str]) -> StoredOrigin | None:
            found = database.execute(_NEWEST_MADE, (series, until_ms)).fetchone()
            if found is None:
                return None
            origin_ms, position, partition, model, quantiles = found
            row = database.execute(_CODES, (series, origin_ms, position)).fetchone()
            codes = None if row is None or row[0] is None else (bytes(row[0]), *row[1:])
            return StoredOrigin(series, origin_ms, partition, position, model, json.loads(quantiles), codes)

        return self.read(read, None)

    # Following -----------------------------------------------------------------------------------------------

    def end(self) -> Position | None:
        """Returns the position behind the newest output; None while there is no file.

        Raises:
            SinkFormatError: it is none of this program.
        """
        return self.read(_end, None)

    def after(self, position: Position | None, limit: int, series: str = "") -> tuple[list[dict[str, Any]], Position]:
        """Returns the outputs that follow a position; see `StoredOutputs`.

        Raises:
            SinkFormatError: the file is none of this program.
        """
        place = _Place() if position is None else _Place(*position)  # type: ignore[arg-type] # its own result

        def read(
            database: sqlite3.Connection, name: str, tables: frozenset[str]
        ) -> tuple[list[dict[str, Any]], Position]:
            start = place if place.output == name else _Place(name)
            found, end = _rows_after(database, start, limit, series)
            if "batches" in tables:
                more, end = _batches_after(database, end, limit, series)
                found += more
            return found, end

        nothing: tuple[list[dict[str, Any]], Position] = ([], place)
        return self.read(read, nothing)


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


def _end(database: sqlite3.Connection, name: str, tables: frozenset[str]) -> Position:
    newest = [
        int(database.execute(f"SELECT max({key}) FROM {table}").fetchone()[0] or 0) if table in tables else 0
        for table, key in (("stored_forecasts", "id"), ("stored_silences", "id"), ("batches", "rowid"))
    ]
    marked: tuple[tuple[str, int, int], ...] = ()
    if "batches" in tables:
        rows = "SELECT partition, max(rowid), n FROM batches WHERE position = next_position GROUP BY partition"
        marked = tuple(database.execute(rows).fetchall())
    return _Place(name, newest[0], newest[1], newest[2], marked)


def _rows_after(
    database: sqlite3.Connection, place: _Place, limit: int, series: str
) -> tuple[list[dict[str, Any]], _Place]:
    """Returns forecasts and silences that are stored as numbers, each silence behind the forecast that revealed it."""
    forecasts = database.execute(_FORECASTS_AFTER, (place.forecast, limit)).fetchall()
    silences = database.execute(_SILENCES_AFTER, (place.silence, limit)).fetchall()
    columns = [str(column[1]) for column in database.execute("PRAGMA table_info(stored_forecasts)")]
    found, waiting = list[dict[str, Any]](), list(reversed(silences))

    def reveal(before: Mapping[str, float]) -> int:
        """Adds silences revealed before a position of their partition; returns the number of the last one."""
        last = place.silence
        while waiting and waiting[-1][3] < before.get(waiting[-1][2], -math.inf):
            last, name, *values = waiting.pop()
            if series in ("", name):
                found.append(_silence_object(name, *values))
        return last

    reached = dict[str, float]()
    for name, partition, model, levels, *values in forecasts:
        row = dict(zip(columns, values, strict=True))
        reached[partition] = row["position"]
        place = place._replace(forecast=row["id"], silence=reveal(reached))
        if series in ("", name):
            found.append(forecast_object(name, partition, model, json.loads(levels), row))
    if len(forecasts) < limit:  # nothing follows that may belong before them
        reached = dict.fromkeys((one[2] for one in waiting), math.inf)
    return found, place._replace(silence=reveal(reached))


def _batches_after(
    database: sqlite3.Connection, place: _Place, limit: int, series: str
) -> tuple[list[dict[str, Any]], _Place]:
    """Returns forecasts and silences that are stored as batches of JSON.

    Time marks behind the same record extend the newest row of their partition, so this row is read again.
    """
    found, marked = list[dict[str, Any]](), {partition: (row, n) for partition, row, n in place.marked}
    for partition, (row, n) in list(marked.items()):
        again = database.execute("SELECT n, forecasts FROM batches WHERE rowid = ?", (row,)).fetchone()
        if again is not None and again[0] > n:
            found += json.loads(again[1])[n:]
            marked[partition] = row, again[0]
    last = place.batch
    for row, partition, of_mark, text in database.execute(_BATCHES_AFTER, (place.batch,)):
        objects, last = json.loads(text), row
        found += objects
        marked.pop(partition, None)
        if of_mark:
            marked[partition] = row, len(objects)
        if len(found) >= limit:
            break
    rows = tuple((partition, *one) for partition, one in marked.items())
    return [one for one in found if series in ("", one["series"])], place._replace(batch=last, marked=rows)


def forecast_object(
    series: str, partition: str, model: str, levels: list[float], row: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns a row of `stored_forecasts` as the JSON format has it."""
    more = json.loads(row["more"] or "{}")
    fields = {name: row[name] for name in _OF_STORED}
    stored = CompactForecast(context=b"", more="", quantiles=row["quantiles"] or b"", **fields)
    quantiles = unpack(stored, len(levels))
    return {
        "series": series,
        "origin": format_times(np.array([row["origin_ms"]]))[0],
        "interval_ms": row["interval_ms"],
        **{name: more[name] for name in ("interval", "targets") if name in more},
        "levels": levels,
        "quantiles": more.get("quantiles") if quantiles is None else quantiles.tolist(),
        "anomaly": row["anomaly"],
        "flagged": bool(row["flagged"]),
        "model": model,
        "source": {"partition": partition, "position": row["position"], **more.get("source", {})},
        "status": "missing" if row["missing"] else "ok" if row["steps"] else UNKNOWN,
        **{name: more[name] for name in ("revision", "suppressed") if name in more},
    }


def _silence_object(
    series: str, partition: str, position: int, last_ms: int, expected_ms: int, noticed_ms: int
) -> dict[str, Any]:
    times = format_times(np.array([last_ms, expected_ms, noticed_ms]))
    return silence_object(series, times, {"partition": partition, "position": position})
