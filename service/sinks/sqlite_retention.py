"""Deletes the oldest outputs of a SQLite file, a few with every unit, so that the file stays within its bounds.

The time at which rows were written is known to the hour (table `written`), whatever the times of their events are. By
size: while the used pages take more than the bound, every unit deletes about twice as many rows as it adds, of all
tables those of the oldest hour, so that no table displaces newer rows of another one. Deleted pages are used again;
where more than an eighth of a file is unused, every unit gives some pages back to the file system. Positions, adoptions
and counts stay, and so does the newest row of every table: its number is not used again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from service.ports import Unit
from service.sinks.unit_rows import report_bound

_HOUR_MS: Final = 3_600_000
_LEAST_ROWS: Final = 64  # deleted with a unit that adds nothing, so that a backlog of old rows ends
_PAGES: Final = 256  # given back with a unit
_LEAST_FREE: Final = 1024  # pages below which nothing is given back
# Tables by the column of their numbers, in the order of the columns of `written`.
_TABLES: Final = {"stored_forecasts": "id", "stored_silences": "id", "batches": "rowid", "rejects": "rowid"}

WRITTEN: Final = """
CREATE TABLE IF NOT EXISTS written ( -- the hours in which something was written, as far as it is kept
    hour INTEGER PRIMARY KEY,        -- since 1970
    stored_forecasts INTEGER NOT NULL, -- the greatest number in each table before the hour
    stored_silences INTEGER NOT NULL,
    batches INTEGER NOT NULL,
    rejects INTEGER NOT NULL
)"""
PRUNED_REJECTS: Final = """
CREATE TABLE IF NOT EXISTS pruned_rejects ( -- counts of deleted rejects, for the counts over all runs
    partition TEXT NOT NULL,
    reason TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (partition, reason)
)"""
_COUNT_PRUNED: Final = """
INSERT INTO pruned_rejects SELECT partition, reason, count(*) FROM rejects WHERE rowid <= ? GROUP BY 1, 2
ON CONFLICT (partition, reason) DO UPDATE SET n = n + excluded.n"""
_FORGET_SERIES: Final = {
    table: f"""
DELETE FROM series_names WHERE id IN (SELECT series FROM {table} WHERE id <= ?)
AND NOT EXISTS (SELECT 1 FROM {table} WHERE series = series_names.id AND id > ?)
AND NOT EXISTS (SELECT 1 FROM {other} WHERE series = series_names.id)"""
    for table, other in (("stored_forecasts", "stored_silences"), ("stored_silences", "stored_forecasts"))
}
_MOST_HOURS: Final = 100  # noted hours without a row that a unit passes


@dataclass(slots=True)
class SqliteRetention:
    """Deletes the oldest outputs of a file; `note_hour` and `prune` belong into the transaction of a unit.

    Attributes:
        keep_ms: outputs written longer ago are deleted; 0: none by age.
        max_bytes: bound of the used pages; 0: none.
        now_ms: the wall clock.
        spare_bytes: unused pages that are not given back, as they are soon used again.
        forgotten: number of series whose names were deleted, with their last forecasts.
    """

    keep_ms: int = 0
    max_bytes: int = 0
    now_ms: Callable[[], int] = lambda: 0
    spare_bytes: int = 0
    forgotten: int = 0
    _reported: bool = field(default=False, init=False)

    def prune(self, database: sqlite3.Connection, unit: Unit, tables: frozenset[str]) -> None:
        """Deletes outputs that are too old or too many, and gives pages back.

        Args:
            database: in the transaction of the unit, after its rows were written.
            unit: its rows say how many are deleted.
            tables: the tables that the file has.
        """
        if not self.keep_ms and not self.max_bytes:
            return
        count = 2 * max(len(unit.forecasts), len(unit.rejects)) + _LEAST_ROWS
        if self.keep_ms:
            self._prune_by_age(database, tables, count)
        size, pages, free = (
            int(database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_size", "page_count", "freelist_count")
        )
        if self.max_bytes and (pages - free) * size > self.max_bytes:
            if not self._reported:
                self._reported = True
                report_bound(self.max_bytes)
            if not self._prune_oldest_hour(database, tables, count):
                for table in _TABLES.keys() & tables:
                    few = 2 * len(unit.rejects) if table == "rejects" else _most(table, count)
                    self._delete(database, table, None, few)
        if free > max(_LEAST_FREE, pages // 8, self.spare_bytes // size):
            database.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()

    def note_hour(self, database: sqlite3.Connection, tables: frozenset[str]) -> None:
        """Notes the greatest numbers at the first unit of an hour.

        Args:
            database: in the transaction of a unit, before its rows are written.
            tables: the tables that the file has.
        """
        if not self.keep_ms and not self.max_bytes:
            return
        hour = self.now_ms() // _HOUR_MS
        if database.execute("SELECT 1 FROM written WHERE hour = ?", (hour,)).fetchone():
            return
        newest = [_newest(database, table) if table in tables else 0 for table in _TABLES]
        database.execute("INSERT INTO written VALUES (?, ?, ?, ?, ?)", (hour, *newest))

    def _prune_by_age(self, database: sqlite3.Connection, tables: frozenset[str], count: int) -> None:
        last = (self.now_ms() - self.keep_ms) // _HOUR_MS
        found = database.execute("SELECT * FROM written WHERE hour <= ? ORDER BY hour DESC LIMIT 1", (last,)).fetchone()
        if found is None:
            return
        left = False
        for table, until in zip(_TABLES, found[1:], strict=True):
            if table in tables:
                left |= self._delete(database, table, until, count) == count
        if not left:
            database.execute("DELETE FROM written WHERE hour < ?", (found[0],))

    def _prune_oldest_hour(self, database: sqlite3.Connection, tables: frozenset[str], count: int) -> int:
        """Deletes the oldest rows of all tables, of one hour; returns their number, 0 where all are of this hour."""
        noted = database.execute("SELECT * FROM written ORDER BY hour LIMIT ?", (_MOST_HOURS,)).fetchall()
        for hour, *before in noted:
            ends = [(table, until) for table, until in zip(_TABLES, before, strict=True) if table in tables]
            if deleted := sum(self._delete(database, table, until, _most(table, count)) for table, until in ends):
                return deleted
            # The newest hour stays, so that it is not noted again with later numbers.
            database.execute("DELETE FROM written WHERE hour = ? AND hour < (SELECT max(hour) FROM written)", (hour,))
        return 0

    def _delete(self, database: sqlite3.Connection, table: str, until: int | None, count: int) -> int:
        """Deletes the oldest rows of a table, at most `count` and those up to a number, without the newest row.

        Returns:
            The number of deleted rows.
        """
        key = _TABLES[table]
        newest = _newest(database, table)
        limit = newest - 1 if until is None else min(until, newest - 1)
        rows = f"SELECT {key} FROM {table} WHERE {key} <= ? ORDER BY {key} LIMIT ?"
        found = database.execute(f"SELECT max({key}), count(*) FROM ({rows})", (limit, count)).fetchone()
        if found[0] is None:
            return 0
        if table == "rejects":
            database.execute(_COUNT_PRUNED, (found[0],))
        if table in _FORGET_SERIES:
            self.forgotten += database.execute(_FORGET_SERIES[table], (found[0], found[0])).rowcount
        database.execute(f"DELETE FROM {table} WHERE {key} <= ?", (found[0],))
        return int(found[1])


def _most(table: str, count: int) -> int:
    """Returns how many rows of a table are deleted with a unit; a batch has many forecasts."""
    return 2 if table == "batches" else count


def _newest(database: sqlite3.Connection, table: str) -> int:
    """Returns the greatest number of a table, 0 where it is empty."""
    return int(database.execute(f"SELECT max({_TABLES[table]}) FROM {table}").fetchone()[0] or 0)
