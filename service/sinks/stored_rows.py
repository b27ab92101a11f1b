"""Writes compact forecasts and silences as rows of a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import repeat
from typing import Final

import numpy as np

from forecaster import SeriesLookup, chosen
from service.messages.compact import CompactSilence, columns_of, context_of, number_or_none, read_record
from service.ports import Unit

_MOST_NAMES: Final = 100_000  # numbers of series that are remembered

_INSERT: Final = f"INSERT INTO stored_forecasts VALUES (NULL{', ?' * 15})"
_INSERT_SILENCE: Final = "INSERT INTO stored_silences VALUES (NULL, ?, ?, ?, ?, ?, ?)"


class StoredRows:
    """Writes rows; remembers the numbers of series, models and levels that the file has given."""

    def __init__(self) -> None:
        self._series: dict[str, int] = {}
        self._lookup = SeriesLookup(self._series)
        self._contexts: dict[tuple[str, bytes], int] = {}

    def forget_names(self) -> None:
        """Forgets the numbers: of a transaction that was rolled back, or of names that were deleted."""
        self._series.clear()
        self._lookup.forget()
        self._contexts.clear()

    def write(self, database: sqlite3.Connection, unit: Unit) -> None:
        """Writes the forecasts of a unit, in its transaction.

        Args:
            database: of the file.
            unit: with records of `CompactFormat`; it has series and position of each.
        """
        self._note_series(database, unit.series)
        found = columns_of(unit.forecasts)
        if found is None:
            self._write_each(database, unit)
            return
        context, count = self._context(database, unit.partition, found.context), len(unit.forecasts)
        columns = (
            self._lookup.slots(unit.series).tolist(),
            found.origin_ms,
            repeat(context),
            unit.positions,
            found.interval_ms,
            found.missing,
            found.flagged,
            found.value,
            found.anomaly,
            found.least,
            found.greatest,
            found.digits,
            repeat(found.steps),
            found.quantiles,
            repeat(None, count),
        )
        database.executemany(_INSERT, zip(*columns, strict=False))

    def _write_each(self, database: sqlite3.Connection, unit: Unit) -> None:
        """Writes records of any kinds."""
        rows: list[tuple[object, ...]] = []
        silences: list[tuple[object, ...]] = []
        for series, position, record in zip(unit.series, unit.positions, unit.forecasts, strict=True):
            found = read_record(record)
            number = self._series[series]
            if isinstance(found, CompactSilence):
                silences.append((number, self._context(database, unit.partition, b""), position, *found))
                continue
            rows.append(
                (
                    number,
                    found.origin_ms,
                    self._context(database, unit.partition, found.context),
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
        database.executemany(_INSERT, rows)
        database.executemany(_INSERT_SILENCE, silences)

    def _note_series(self, database: sqlite3.Connection, names: Sequence[str]) -> None:
        """Gives every series a number."""
        new = np.flatnonzero(self._lookup.slots(names) < 0)
        if not len(new):
            return
        missing = set(chosen(names, new))
        if len(self._series) + len(missing) > _MOST_NAMES:
            self._series.clear()
            self._lookup.forget()
            missing = set(names)
        ordered = sorted(missing)  # so that the numbers do not depend on the order of a set
        database.executemany("INSERT OR IGNORE INTO series_names (name) VALUES (?)", ((name,) for name in ordered))
        for name in ordered:
            found = database.execute("SELECT id FROM series_names WHERE name = ?", (name,)).fetchone()
            self._series[name] = found[0]

    def _context(self, database: sqlite3.Connection, partition: str, context: bytes) -> int:
        """Returns the number of a partition, a model and its levels."""
        key = partition, context
        if key not in self._contexts:
            model, levels = context_of(context) if context else ("", [])
            values = partition, model.strip(), json.dumps(levels, separators=(",", ":"))
            database.execute("INSERT OR IGNORE INTO contexts (partition, model, levels) VALUES (?, ?, ?)", values)
            query = "SELECT id FROM contexts WHERE partition = ? AND model = ? AND levels = ?"
            self._contexts[key] = database.execute(query, values).fetchone()[0]
        return self._contexts[key]
