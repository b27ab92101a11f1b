"""Outputs that are in no Parquet file yet, and the list of files, in the SQLite file of the positions.

A forecast is first stored with its position, in one transaction. Which outputs a file holds is decided and stored
before it is written, so a file that is written again after a crash has the same outputs under the same name, and takes
the place of the first one: at any moment every output is in one file at most. In the transaction that marks a file as
complete its rows in `pending` are over; they are deleted a few with every unit, as large rows take long.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.ports import Unit

HOUR_MS: Final = 3_600_000
TABLES: Final = (
    """
CREATE TABLE IF NOT EXISTS pending ( -- published outputs that no complete file holds, by unit
    id INTEGER PRIMARY KEY,          -- the number of the first output
    n INTEGER NOT NULL,              -- outputs
    written_ms INTEGER NOT NULL,
    partition TEXT NOT NULL,
    series TEXT NOT NULL,            -- JSON array
    positions BLOB NOT NULL,         -- 8 bytes each
    sizes BLOB NOT NULL,             -- of the records, 4 bytes each
    records BLOB NOT NULL            -- of ExactFormat, one after the other
)""",
    """
CREATE TABLE IF NOT EXISTS parquet_files (
    number INTEGER PRIMARY KEY,
    hour INTEGER NOT NULL,           -- since 1970, in which its outputs were published
    first INTEGER NOT NULL,          -- the number of its first output
    next INTEGER NOT NULL,           -- behind its last output
    state INTEGER NOT NULL,          -- 0: to be written, 1: complete, 2: to be deleted
    forecast_bytes INTEGER NOT NULL, -- 0: no such file
    silence_bytes INTEGER NOT NULL
)""",
    """
CREATE TABLE IF NOT EXISTS parquet_next ( -- numbers
    output INTEGER NOT NULL,               -- of the next output
    file INTEGER NOT NULL,                 -- of the next file
    waiting INTEGER NOT NULL               -- of the first output that is in no complete file: rows before it are over
)""",
    """
INSERT INTO parquet_next SELECT 1, 1, 1 WHERE NOT EXISTS (SELECT 1 FROM parquet_next)""",
)


class State(IntEnum):
    """What is known of a file."""

    BEGUN = 0
    COMPLETE = 1
    EXPIRED = 2


class ParquetFile(NamedTuple):
    """A row of `parquet_files`."""

    number: int
    hour: int
    first: int
    next: int
    state: int = State.BEGUN
    forecast_bytes: int = 0
    silence_bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.forecast_bytes + self.silence_bytes


class PendingUnit(NamedTuple):
    """A row of `pending`.

    Attributes:
        id: the number of the first output; the others follow.
        partition: of all of them.
        series, positions, sizes: of each.
        records: all of them.
    """

    id: int
    partition: str
    series: list[str]
    positions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    records: bytes


def add(database: sqlite3.Connection, unit: Unit, number: int, now_ms: int) -> int:
    """Stores the forecasts and silences of a unit, in its transaction.

    Args:
        database: of the positions.
        unit: with records of `ExactFormat`.
        number: of its first output.
        now_ms: the wall clock.

    Returns:
        The bytes that they take.
    """
    records = b"".join(unit.forecasts)
    if unit.forecasts:
        database.execute(
            "INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                len(unit.forecasts),
                now_ms,
                unit.partition,
                json.dumps(list(unit.series)),
                np.array(unit.positions, "<i8").tobytes(),
                np.array([len(one) for one in unit.forecasts], "<u4").tobytes(),
                records,
            ),
        )
        database.execute("UPDATE parquet_next SET output = ?", (number + len(unit.forecasts),))
    return len(records)


def units(database: sqlite3.Connection, first: int, end: int) -> Iterator[PendingUnit]:
    """Yields the stored units that have outputs in [first, end), in order."""
    query = (
        "SELECT id, partition, series, positions, sizes, records FROM pending WHERE id < ? AND id + n > ? ORDER BY id"
    )
    for number, partition, series, positions, sizes, records in database.execute(query, (end, first)):
        yield PendingUnit(
            number,
            partition,
            json.loads(series),
            np.frombuffer(positions, "<i8").astype(np.int64),
            np.frombuffer(sizes, "<u4").astype(np.int64),
            records,
        )


def delete_over(database: sqlite3.Connection, count: int) -> bool:
    """Deletes rows of complete files, in a transaction.

    Args:
        database: of the positions.
        count: how many at most; negative: all.

    Returns:
        Whether some may be left.
    """
    over = "SELECT id FROM pending WHERE id < (SELECT waiting FROM parquet_next) ORDER BY id LIMIT ?"
    return database.execute(f"DELETE FROM pending WHERE id IN ({over})", (count,)).rowcount == count  # noqa: S608


def files(database: sqlite3.Connection, state: State) -> list[ParquetFile]:
    """Returns the files in a state, by rising number."""
    query = "SELECT * FROM parquet_files WHERE state = ? ORDER BY number"
    return [ParquetFile(*row) for row in database.execute(query, (state,))]
