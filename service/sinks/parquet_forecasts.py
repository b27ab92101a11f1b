"""Reads the forecasts of a folder of Parquet files, for the command line. Needs the extra `parquet`."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from service.errors import SinkFormatError
from service.messages.encode import UNKNOWN
from service.messages.exact_columns import levels_in
from service.messages.timestamps import format_times
from service.sinks.parquet_columns import (
    TIME,
    Tables,
    forecast_objects,
    forecast_schema,
    level_columns,
    silence_objects,
    tables_of,
)
from service.sinks.parquet_files import KINDS, path_of
from service.sinks.parquet_pending import ParquetFile, State, files, units
from service.sinks.sqlite_reader import SqliteReader
from service.sinks.stored_forecasts import Position, StoredForecast, StoredOutputs

_ALL: Final = 1 << 62
_KEYS: Final = ("series", "origin", "revision", "id", "status")
_EVENTS: Final = ("series", "partition", "origin", "value")


class _Found(NamedTuple):
    """A forecast among the newest of its series: origin, revision and number, by which the newest is found."""

    origin_ms: int
    revision: int
    id: int


class ParquetForecasts(SqliteReader, StoredOutputs):
    """`StoredOutputs` of the sink parquet: the complete files, and the outputs that wait for their file.

    Args:
        folder: of the files; a daemon may be writing it, or has not created it yet.
        database: the SQLite file with the positions.
    """

    def __init__(self, folder: Path, database: Path) -> None:
        super().__init__(database, {"starts", "pending", "parquet_files", "parquet_next"})
        self._folder = folder

    @property
    def place(self) -> str:
        """Returns the folder."""
        return str(self._folder)

    # Following -----------------------------------------------------------------------------------------------

    def end(self) -> Position | None:
        """Returns the position behind the newest output; None while there is no folder.

        Raises:
            SinkFormatError: it is none of this program.
        """

        def read(database: sqlite3.Connection, name: str, _: frozenset[str]) -> Position:
            return name, database.execute("SELECT output FROM parquet_next").fetchone()[0] - 1

        return self.read(read, None)

    def after(self, position: Position | None, limit: int, series: str = "") -> tuple[list[dict[str, Any]], Position]:
        """Returns the outputs that follow a position; see `StoredOutputs`.

        Raises:
            SinkFormatError: the folder is none of this program.
        """
        output, last = ("", 0) if position is None else (str(position[0]), int(str(position[1])))

        def read(
            database: sqlite3.Connection, name: str, _: frozenset[str]
        ) -> tuple[ParquetFile | None, Tables | None, tuple[str, int]]:
            start = last if name == output else 0
            row = "SELECT * FROM parquet_files WHERE state = ? AND next > ? ORDER BY number LIMIT 1"
            file = database.execute(row, (State.COMPLETE, start + 1)).fetchone()
            if file is not None:
                return ParquetFile(*file), None, (name, start)
            end, waiting = database.execute("SELECT output, waiting FROM parquet_next").fetchone()
            begin = max(start + 1, waiting)
            until = min(end, begin + limit)
            return None, _between(_pending(database, begin, until), begin, until), (name, until - 1)

        nothing: tuple[ParquetFile | None, Tables | None, tuple[str, int]] = (None, None, (output, last))
        file, tables, (name, reached) = self.read(read, nothing)
        if file is not None:
            begin = max(file.first, reached + 1)
            reached = min(begin + limit, file.next) - 1
            tables = self._tables(file, begin, reached + 1)
        if tables is None:
            return [], (name, reached)
        found = zip(
            [*tables.forecasts["id"].to_pylist(), *tables.silences["id"].to_pylist()],
            [*forecast_objects(tables.forecasts), *silence_objects(tables.silences)],
            strict=True,
        )
        ordered = [one for _, one in sorted(found, key=lambda one: one[0])]
        return [one for one in ordered if series in ("", one["series"])], (name, reached)

    def _tables(self, file: ParquetFile, begin: int, end: int) -> Tables:
        """Returns the outputs of a file with numbers in [begin, end); none where the file has been deleted."""
        where = [("id", ">=", begin), ("id", "<", end)]
        empty = tables_of([], [])
        found = [
            self._table(file, kind, where) if size else None
            for kind, size in zip(KINDS, (file.forecast_bytes, file.silence_bytes), strict=True)
        ]
        return Tables(*(other if one is None else one for one, other in zip(found, empty, strict=True)))

    def _table(
        self, file: ParquetFile, kind: str, where: list[Any] | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table | None:
        try:
            with path_of(self._folder, kind, file).open("rb") as opened:  # as an open file, no columns from its folders
                return parquet.read_table(opened, filters=where, columns=None if columns is None else list(columns))
        except FileNotFoundError:
            return None

    # The newest of each series -------------------------------------------------------------------------------

    def newest(self, pattern: str, until_ms: int, last: int) -> Iterator[StoredForecast]:
        """Yields the newest forecasts of series, oldest first in each.

        Raises:
            SinkFormatError: there is no such folder, or it is none of this program.
        """

        def read(database: sqlite3.Connection, _: str, __: frozenset[str]) -> tuple[list[ParquetFile], pa.Table] | None:
            waiting = database.execute("SELECT waiting FROM parquet_next").fetchone()[0]
            return files(database, State.COMPLETE), _pending(database, waiting, _ALL).forecasts

        found = self.read(read, None)
        if found is None:
            msg = f"{self._folder}: cannot be read; expected the folder of a daemon with output.sink = parquet"
            raise SinkFormatError(msg)
        complete, waiting = [file for file in found[0] if file.forecast_bytes], found[1]
        best = dict[str, list[_Found]]()
        _take_newest(best, waiting.select(_KEYS), pattern, until_ms, last)
        for file in reversed(complete):
            table = self._table(file, "forecasts", [("origin", "<=", _time(until_ms))], _KEYS)
            if table is not None:
                _take_newest(best, table, pattern, until_ms, last)
        numbers = pa.array(sorted(one.id for rows in best.values() for one in rows), pa.int64())
        if not len(numbers):
            return
        tables = [waiting.filter(compute.is_in(waiting["id"], numbers))]
        least, most = numbers[0].as_py(), numbers[-1].as_py()
        for file in complete:
            if file.first <= most and file.next > least:
                table = self._table(file, "forecasts", [("id", "in", numbers)])
                tables += [] if table is None else [table]
        chosen = [row for table in tables if table.num_rows for row in _rows(table)]
        actuals = self._actuals(chosen, complete, waiting)
        for row in sorted(chosen, key=lambda one: (one["series"], one["origin"], one["revision"], one["id"])):
            yield _stored(row, actuals)

    def _actuals(
        self, chosen: Sequence[dict[str, Any]], complete: Iterable[ParquetFile], waiting: pa.Table
    ) -> dict[tuple[str, str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Returns times and values of events of the chosen series, by series and partition, by rising time."""
        times = [target for row in chosen for target in row["targets"] or ()]
        if not times:
            return {}
        margin = max(row["interval_ms"] for row in chosen)
        first, end = _time(min(times) - margin), _time(max(times) + margin)
        names = pa.array({row["series"] for row in chosen}, pa.string())
        near = [("origin", ">=", first), ("origin", "<=", end), ("series", "in", names)]
        tables = [waiting.select(_EVENTS).filter(compute.is_in(waiting["series"], names))]
        tables += [table for file in complete if (table := self._table(file, "forecasts", near, _EVENTS)) is not None]
        events = dict[tuple[str, str], list[tuple[int, float]]]()
        for table in tables:
            columns = (table[name].to_pylist() for name in ("series", "partition", "value"))
            for name, partition, value, at in zip(*columns, _milliseconds(table["origin"]), strict=True):
                if value is not None:
                    events.setdefault((name, partition), []).append((at, value))
        found = {}
        for key, rows in events.items():
            rows.sort(key=lambda one: one[0])
            found[key] = np.array([at for at, _ in rows]), np.array([value for _, value in rows])
        return found


def _pending(database: sqlite3.Connection, begin: int, end: int) -> Tables:
    """Returns the stored units with outputs in [begin, end)."""
    stored = list(units(database, begin, end))
    levels = {level for unit in stored for level in levels_in(unit.records, unit.sizes)}
    return tables_of(stored, sorted(levels))


def _between(tables: Tables, begin: int, end: int) -> Tables:
    kept = (
        table.filter(compute.and_(compute.greater_equal(table["id"], begin), compute.less(table["id"], end)))
        for table in tables
    )
    return Tables(*kept)


def _time(milliseconds: int) -> pa.Scalar:
    return pa.scalar(milliseconds, pa.int64()).cast(TIME)


def _milliseconds(column: Any) -> list[int]:
    found: list[int] = column.cast(TIME).cast(pa.int64()).to_pylist()
    return found


def _take_newest(best: dict[str, list[_Found]], table: pa.Table, pattern: str, until_ms: int, last: int) -> None:
    """Keeps the newest forecasts of the series that match, of those before and those of a table."""
    table = table.filter(compute.not_equal(table["status"], UNKNOWN))
    wanted = [name for name in compute.unique(table["series"]).to_pylist() if fnmatchcase(name, pattern)]
    table = table.filter(compute.is_in(table["series"], pa.array(wanted, pa.string())))
    columns = (table[name].to_pylist() for name in ("series", "revision", "id"))
    for name, revision, number, origin in zip(*columns, _milliseconds(table["origin"]), strict=True):
        if origin > until_ms:
            continue
        rows, found = best.setdefault(name, []), _Found(origin, revision, number)
        if len(rows) < last:
            rows.append(found)
            rows.sort()
        elif found > rows[0]:
            rows[0] = found
            rows.sort()


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Returns forecasts with their times in milliseconds, and `levels` with their `quantiles` by step."""
    columns = level_columns(table.column_names)
    kinds = {TIME: pa.int64(), pa.list_(TIME): pa.list_(pa.int64())}
    schema = pa.schema([(field.name, kinds.get(field.type, field.type)) for field in forecast_schema(columns.values())])
    found: list[dict[str, Any]] = (
        table.select(schema.names).cast(forecast_schema(columns.values())).cast(schema).to_pylist()
    )
    for row in found:
        used = [name for name in columns if row[name] is not None]
        row["levels"] = [columns[name] for name in used]
        row["quantiles"] = [list(one) for one in zip(*(row[name] for name in used), strict=True)]
    return found


def _stored(
    row: dict[str, Any], actuals: dict[tuple[str, str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
) -> StoredForecast:
    steps, targets = len(row["quantiles"]), row["targets"]
    nothing = np.zeros(0, np.int64), np.zeros(0)
    times, values = actuals.get((row["series"], row["partition"]), nothing)
    found: list[float | None] = [None] * steps
    for step, target in enumerate(targets or ()):
        at = int(np.searchsorted(times, target + row["interval_ms"] // 2, "right")) - 1
        if at >= 0 and times[at] > target - math.ceil(row["interval_ms"] / 2):
            found[step] = float(values[at])
    return StoredForecast(
        row["series"],
        format_times(np.array([row["origin"]]))[0],
        row["model"],
        row["levels"],
        [None] * steps if targets is None else list(format_times(np.array(targets, np.int64))),
        row["quantiles"],
        found,
    )
