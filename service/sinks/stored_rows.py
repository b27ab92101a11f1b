"""Writes compact forecasts and silences as rows of a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from service.messages.compact import CompactSilence, columns_of, number_or_none, read_record
from service.ports import Unit
from service.sinks.given_numbers import Context, GivenNumbers

_INSERT: Final = "INSERT INTO stored_forecasts VALUES (NULL, {})"
_COLUMNS: Final = 15
_INSERT_SILENCE: Final = "INSERT INTO stored_silences VALUES (NULL, ?, ?, ?, ?, ?, ?)"


class StoredRows:
    """Writes rows.

    Attributes:
        numbers: of series, models and levels, which the file has given.
    """

    def __init__(self) -> None:
        self.numbers = GivenNumbers(_series_numbers, _context_number)

    def write(self, database: sqlite3.Connection, unit: Unit) -> None:
        """Writes the forecasts of a unit, in its transaction.

        Args:
            database: of the file.
            unit: with records of `CompactFormat`; it has series and position of each.
        """
        series, found = self.numbers.series(database, unit.series), columns_of(unit.forecasts)
        if found is None:
            self._write_each(database, unit, series)
            return
        context = self.numbers.context(database, unit.partition, found.context)
        columns = (
            series,
            found.origin_ms,
            context,
            unit.positions,
            found.interval_ms,
            found.missing,
            found.flagged,
            found.value,
            found.anomaly,
            found.least,
            found.greatest,
            found.digits,
            found.steps,
            found.quantiles,
            None,
        )
        # What all rows have in common is part of the statement: a parameter costs time for each of them.
        statement = _INSERT.format(", ".join(map(_parameter, columns)))
        database.executemany(statement, zip(*(one for one in columns if isinstance(one, Sequence)), strict=True))

    def _write_each(self, database: sqlite3.Connection, unit: Unit, series: Sequence[int]) -> None:
        """Writes records of any kinds."""
        rows: list[tuple[object, ...]] = []
        silences: list[tuple[object, ...]] = []
        for number, position, record in zip(series, unit.positions, unit.forecasts, strict=True):
            found = read_record(record)
            if isinstance(found, CompactSilence):
                silences.append((number, self.numbers.context(database, unit.partition, b""), position, *found))
                continue
            rows.append(
                (
                    number,
                    found.origin_ms,
                    self.numbers.context(database, unit.partition, found.context),
                    position,
                    found.interval_ms,
                    found.missing,
                    found.flagged,
                    number_or_none(found.value),
                    number_or_none(found.anomaly),
                    found.least,
                    found.greatest,
                    found.digits,
                    found.steps,
                    found.quantiles or None,
                    found.more or None,
                )
            )
        database.executemany(_INSERT.format(", ".join("?" * _COLUMNS)), rows)
        database.executemany(_INSERT_SILENCE, silences)


def _parameter(column: Sequence[object] | int | None) -> str:
    """Returns the SQL of a column: its number, or a parameter."""
    if isinstance(column, Sequence):
        return "?"
    return "NULL" if column is None else f"{column:d}"


def _series_numbers(database: sqlite3.Connection, names: Sequence[str]) -> dict[str, int]:
    database.executemany("INSERT OR IGNORE INTO series_names (name) VALUES (?)", ((name,) for name in names))
    query = "SELECT id FROM series_names WHERE name = ?"
    return {name: database.execute(query, (name,)).fetchone()[0] for name in names}


def _context_number(database: sqlite3.Connection, context: Context) -> int:
    values = context.partition, context.model, json.dumps(context.levels, separators=(",", ":"))
    database.execute("INSERT OR IGNORE INTO contexts (partition, model, levels) VALUES (?, ?, ?)", values)
    query = "SELECT id FROM contexts WHERE partition = ? AND model = ? AND levels = ?"
    return int(database.execute(query, values).fetchone()[0])
