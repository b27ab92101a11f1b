"""Sink of forecasts, rejects, adoptions and positions in one SQLite file, one transaction per batch.

A forecast is a row of numbers in binary, with an index by series and time; with `output.format = "json"` the forecasts
of a batch are one JSON text in one row. The views show both. Any SQLite client can read them while the daemon runs:

    SELECT origin, quantiles FROM forecasts WHERE series = 'cpu' ORDER BY origin_ms DESC LIMIT 1;

Durable means `synchronous = FULL`: a unit survives a power loss once `publish` has returned.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import orjson

from service.errors import SinkFormatError, SinkUnavailableError, TransportError
from service.folder_lock import FolderLock, identity_of
from service.ports import Adoption, Outcomes, OutputIdentity, TimeMark, Unit, marks_from, models_from
from service.sinks import Sink
from service.sinks.sqlite_retention import SqliteRetention
from service.sinks.sqlite_schema import GROUP_ADOPTIONS, add_batches, has_batches, prepare
from service.sinks.stored_rows import StoredRows
from service.sinks.unit_rows import (
    FILE_COLUMNS,
    MOST_STARTS,
    THIS_START,
    file_entry,
    file_rows,
    header_pairs,
    order_error,
)
from service.sources.manifest import FileEntry

Write = Callable[[sqlite3.Connection], None]
"""Writes in an open transaction."""

_BUSY_MS = 1000  # maximum wait for a reader that converts the journal, or a backup
# The text is given as bytes, which avoids a copy into a Python str. Several time marks behind the same record have one
# row, as both of its positions are the same.
_INSERT_BATCH: Final = """
INSERT INTO batches VALUES (?, ?, ?, ?, CAST(? AS TEXT))
ON CONFLICT (partition, position, next_position) DO UPDATE SET n = n + excluded.n,
    forecasts = substr(forecasts, 1, length(forecasts) - 1) || ',' || substr(excluded.forecasts, 2)
    WHERE position = next_position"""
_NOTE_DELETED_MARKS: Final = """
INSERT INTO deleted_marks SELECT partition, max(position) + 1 FROM marks WHERE partition = ? AND position < ?
GROUP BY partition ON CONFLICT (partition) DO UPDATE SET before = excluded.before"""
_TABLES: Final = frozenset({"stored_forecasts", "stored_silences", "rejects"})  # of outputs

# Certainly nothing was committed, and the cause may be temporary: the unit may be retried.
_RETRIABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FOREIGN = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT}


class SqliteSink(Sink):
    """Sink to a SQLite file. One thread at a time; exclusive between processes from `open` to `close` or exit.

    Args:
        path: the SQLite file; it and its folder are created when missing. its name with .lock is the lock file.
        retention: deletes the oldest outputs.

    Attributes:
        folder_identity: what the folder of the open file keeps when it is renamed, see `identity_of`.
    """

    def __init__(self, path: Path, retention: SqliteRetention | None = None) -> None:
        self.path = path
        self._retention = retention or SqliteRetention()
        self._stored = StoredRows()
        self._tables: frozenset[str] = _TABLES
        self._database: sqlite3.Connection | None = None
        self._identity = self.folder_identity = (0, 0)  # of the open file and its folder
        self._starts: tuple[str, ...] = ()
        self._start = THIS_START  # of the process: all of its transports continue from its commits
        self._released: dict[str, int] = {}  # by partition: time marks before it go with the next unit
        there = path.resolve()  # a symbolic link leads to the lock of its file
        self._lock = FolderLock(there.with_name(f"{there.name}.lock"), path, "end it, or set another output.path")

    def open(self) -> None:
        """Takes the lock, then opens or creates the file.

        Raises:
            TransportBusyError: another process has the file open.
            SinkFormatError: the file was not written by this program, or has another format version.
            SinkUnavailableError: the file cannot be created or is locked.
        """
        self.close()
        self._take_lock()
        try:
            self._database = sqlite3.connect(
                self.path, isolation_level=None, timeout=_BUSY_MS / 1000, check_same_thread=False
            )
            prepare(self._database, self.path)
            self._stored = StoredRows()
            self._note_tables()
            self._starts = self._read_starts()
            self._identity, self.folder_identity = identity_of(self.path), identity_of(self.path.parent)
        except (sqlite3.Error, UnicodeError) as error:
            self.close()
            raise self._translated(error) from error
        except BaseException:
            self.close()
            raise

    def open_to_read(self) -> None:
        """Opens the file to read what is committed now, also while a daemon writes it; takes no lock.

        Raises:
            SinkFormatError: there is no such file, or it was not written by this program.
        """
        self.close()
        try:
            place = f"{self.path.absolute().as_uri()}?mode=ro"
            self._database = sqlite3.connect(place, uri=True, isolation_level=None)
            self._database.execute("BEGIN")  # all queries see the same commit
            self._note_tables()
            self._starts = self._read_starts()
        except sqlite3.Error as error:
            self.close()
            msg = f"{self.path}: cannot be read ({error}); expected the SQLite output of a daemon"
            raise SinkFormatError(msg) from error

    def _take_lock(self) -> None:
        try:
            self._lock.take()
        except OSError as error:
            msg = f"{self.path}.lock: cannot be opened ({error.strerror}); expected a writable folder"
            raise SinkUnavailableError(msg) from error

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            msg = f"{self.path}: is not open"
            raise TransportError(msg)
        return self._database

    def _translated(self, error: sqlite3.Error | UnicodeError) -> TransportError:
        """Converts an SQLite error to a transport error; a damaged file may also cause a UnicodeError."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
        if code in _RETRIABLE:
            return SinkUnavailableError(f"{self.path}: cannot be written now ({error}); nothing was written")
        if code in _FOREIGN or isinstance(error, UnicodeError):
            return SinkFormatError(f"{self.path}: not a SQLite file, or damaged ({error}); restore it")
        return TransportError(f"{self.path}: {error}")

    # Reading ------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> OutputIdentity:
        """Returns the name created with the file, and the starts stored in it."""
        path = str(self.path.absolute())
        return OutputIdentity(self._starts[0], self._starts, path, path) if self._starts else OutputIdentity()

    def _note_tables(self) -> None:
        self._tables = _TABLES | {"batches"} if has_batches(self._connection()) else _TABLES

    def _read_starts(self) -> tuple[str, ...]:
        return tuple(str(start) for (start,) in self.rows("SELECT start FROM starts ORDER BY rowid"))

    def committed(self, partition: str) -> int | None:
        """Returns the committed source position, or None."""
        rows = self.rows("SELECT next_position FROM positions WHERE partition = ?", partition)
        if rows and not isinstance(rows[0][0], int):
            msg = f'{self.path}: damaged: got the position {rows[0][0]!r} of partition "{partition}", expected a number'
            raise SinkFormatError(msg)
        return int(str(rows[0][0])) if rows else None

    def adoptions(self, partition: str) -> list[Adoption]:
        """Returns all committed adoptions, by rising position."""
        query = "SELECT position, model, '' FROM adoptions WHERE partition = ?"
        found = self.rows(query, partition)
        if self.rows("SELECT 1 FROM sqlite_master WHERE name = 'group_adoptions'"):
            query = "SELECT position, model, group_name FROM group_adoptions WHERE partition = ?"
            found += self.rows(query, partition)
        adoptions = [Adoption(int(str(position)), str(model), str(group)) for position, model, group in found]
        return sorted(adoptions, key=lambda one: (one.position, one.group))

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks from a position on, in order.

        Raises:
            SourceGoneError: some of them were deleted.
        """
        query = "SELECT position, time_ms FROM marks WHERE partition = ? AND position >= ? ORDER BY position, time_ms"
        marks = [TimeMark(int(str(position)), int(str(time))) for position, time in self.rows(query, partition, start)]
        deleted = self.rows("SELECT before FROM deleted_marks WHERE partition = ?", partition)
        return marks_from(partition, marks, start, int(str(deleted[0][0])) if deleted else None)

    def run(self, partition: str) -> int:  # noqa: ARG002 - positions are in the same file as the forecasts
        """Returns 1: the first run is the only one."""
        return 1

    def models_needed(self, earliest: Callable[[str], int]) -> set[str]:
        """Returns the models in force for events that the source still holds; of partitions not read now, all."""
        names = [str(name) for (name,) in self.rows("SELECT DISTINCT partition FROM adoptions")]
        return {sha for name in names for sha in models_from(self.adoptions(name), earliest(name))}

    def files(self, partition: str) -> list[FileEntry]:
        """Returns the entries of the input files at the committed position, in order."""
        query = f"SELECT {', '.join(FILE_COLUMNS)} FROM files WHERE partition = ? ORDER BY base, path"  # noqa: S608 - fixed names
        return [file_entry(row) for row in self._connection().execute(query, (partition,))]

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """Returns the outcome counters of all committed records of these partitions.

        For a file that an older program wrote, the number of forecasts stands for that of events; without forecasts,
        the counters are unknown.
        """
        names = json.dumps(list(partitions))
        mine = "partition IN (SELECT value FROM json_each(?))"
        counts = self.rows(f"SELECT sum(events), sum(late), sum(duplicates) FROM outcomes WHERE {mine}", names)[0]  # noqa: S608 - a constant
        if counts[0] is None and "batches" not in self._tables:
            return Outcomes()
        if counts[0] is None:
            ((made,),) = self.rows(f"SELECT sum(n) FROM batches WHERE {mine}", names)  # noqa: S608
            if not made:
                return Outcomes()
            counts = (made, 0, 0)
        reasons = self.rows(
            f"SELECT reason, sum(n) FROM (SELECT reason, count(*) AS n FROM rejects WHERE {mine} GROUP BY reason "  # noqa: S608
            f"UNION ALL SELECT reason, n FROM pruned_rejects WHERE {mine}) GROUP BY reason",
            names,
            names,
        )
        first = self.rows(f"SELECT detail FROM rejects WHERE {mine} ORDER BY rowid LIMIT 1", names)  # noqa: S608
        events, late, duplicates = (int(str(count or 0)) for count in counts)
        rejects = {str(reason): int(str(count)) for reason, count in reasons if reason != "late"}
        return Outcomes(events, late, duplicates, rejects, str(first[0][0]) if first else "")

    # Writing ------------------------------------------------------------------------------------------------

    def release(self, partition: str, position: int) -> None:
        """Deletes the time marks before a position with the next unit of the partition."""
        self._released[partition] = position

    def publish(
        self,
        unit: Unit,
        files: Sequence[FileEntry] = (),
        removed: Sequence[tuple[int, str]] = (),
        *,
        forecasts: bool = True,
        also: Write | None = None,
    ) -> None:
        """Commits a unit and the entries of the input files at its `next_position` as one transaction.

        Args:
            unit: the results of a batch.
            files: the changed entries of input files.
            removed: bases and paths of removed entries.
            forecasts: False omits the forecasts, for a sink that stores only positions here.
            also: writes what a sink that stores forecasts elsewhere keeps here, in the same transaction.

        Raises:
            SinkUnavailableError: disk full or locked, or the folder is away; nothing was written, the unit may be
                retried.
            SinkFormatError: the file was deleted or replaced; nothing was written.
            ValueError: the unit starts before the committed position, or ends before its start; not written.
            TransportError: any other error; whether the unit was written is unknown.
        """

        def write(database: sqlite3.Connection) -> None:
            self.check_order(unit)
            self._retention.note_hour(database, self._tables)
            self._write(unit, files, removed, forecasts=forecasts)
            self._prune(unit)
            if also is not None:
                also(database)
            if self._start not in self._starts[-1:]:
                self._begin()

        self.transact(write)
        self._released.pop(unit.partition, None)
        if self._start not in self._starts[-1:]:
            self._starts = self._read_starts()

    def transact(self, write: Write) -> None:
        """Calls a function in a transaction of its own.

        Raises:
            SinkUnavailableError, SinkFormatError, TransportError: see `publish`.
        """
        database = self._connection()
        self.check_there()
        try:
            database.execute("BEGIN IMMEDIATE")
            write(database)
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise self._translated(error) from error
        except BaseException:
            self._roll_back()
            raise

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Returns the rows of a query.

        Raises:
            SinkUnavailableError, SinkFormatError, TransportError: see `publish`.
        """
        try:
            return self._connection().execute(query, parameters).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise self._translated(error) from error

    def _begin(self) -> None:
        """Stores the start of this daemon with the first unit that it commits."""
        database = self._connection()
        database.execute("INSERT OR REPLACE INTO starts VALUES (?)", (self._start,))
        newest = "SELECT rowid FROM starts ORDER BY rowid DESC LIMIT ?"
        gone = f"DELETE FROM starts WHERE rowid NOT IN ({newest}) AND rowid > (SELECT min(rowid) FROM starts)"  # noqa: S608
        database.execute(gone, (MOST_STARTS,))

    def check_there(self) -> None:
        """Checks that the file is the one that was opened: writes to a deleted file would be lost without an error.

        Raises:
            SinkUnavailableError: its folder was renamed, unmounted or closed to this process, which may end soon.
            SinkFormatError: it was deleted or replaced.
        """
        try:
            if identity_of(self.path) == self._identity:
                return
            what = "was replaced by another file"
        except FileNotFoundError:
            self._check_folder()
            what = "was deleted"
        except OSError as error:
            raise self._away(error.strerror) from error
        msg = f"{self.path}: {what} while the daemon had it open; restore it, or restart, which creates a new file"
        raise SinkFormatError(msg)

    def _check_folder(self) -> None:
        try:
            is_there = identity_of(self.path.parent) == self.folder_identity
        except OSError as error:
            raise self._away(error.strerror) from error
        if not is_there:
            raise self._away("another folder is in its place")

    def _away(self, reason: str | None) -> SinkUnavailableError:
        return SinkUnavailableError(
            f"{self.path}: its folder cannot be reached now ({reason}); expected the folder of the start. Nothing was "
            "written. Put it back; a start without it makes a new output"
        )

    def _roll_back(self) -> None:
        self._stored.numbers.forget()  # those that this transaction has added
        database = self._connection()
        if database.in_transaction:  # some errors, such as a full disk, roll back automatically
            try:
                database.execute("ROLLBACK")
            except sqlite3.Error as error:
                msg = f"{self.path}: cannot be rolled back ({error}); the outcome is unknown"
                raise TransportError(msg) from error
        self._note_tables()

    def check_order(self, unit: Unit) -> None:
        """Rejects a unit that does not follow the committed position.

        Raises:
            ValueError: the unit starts before the committed position, or ends before its start.
        """
        committed = self.committed(unit.partition)
        if unit.next_position < unit.position or (committed is not None and unit.position < committed):
            raise order_error(unit, committed)

    def _write(
        self, unit: Unit, files: Sequence[FileEntry], removed: Sequence[tuple[int, str]], *, forecasts: bool
    ) -> None:
        database, partition = self._connection(), unit.partition
        if forecasts and unit.forecasts:
            if unit.forecasts[0].startswith(b"{"):
                self._write_batch(unit)
            else:
                self._stored.write(database, unit)
        database.executemany(
            "INSERT INTO rejects VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (partition, r.position, r.reason, r.detail, r.value, r.key, orjson.dumps(header_pairs(r)).decode())
                for r in unit.rejects
            ),
        )
        if (before := self._released.get(partition)) is not None:
            database.execute(_NOTE_DELETED_MARKS, (partition, before))
            database.execute("DELETE FROM marks WHERE partition = ? AND position < ?", (partition, before))
        if unit.mark is not None:
            database.execute("INSERT INTO marks VALUES (?, ?, ?)", (partition, *unit.mark))
        for one in unit.adoptions:
            if one.group:
                database.execute(GROUP_ADOPTIONS)
                database.execute(
                    "INSERT OR REPLACE INTO group_adoptions VALUES (?, ?, ?, ?)",
                    (partition, one.position, one.group, one.model_sha256),
                )
            else:
                database.execute(
                    "INSERT OR REPLACE INTO adoptions VALUES (?, ?, ?)", (partition, one.position, one.model_sha256)
                )
        database.execute(
            "INSERT INTO positions VALUES (?, ?) "
            "ON CONFLICT (partition) DO UPDATE SET next_position = excluded.next_position",
            (partition, unit.next_position),
        )
        made = unit.outcomes
        database.execute(
            "INSERT INTO outcomes VALUES (?, ?, ?, ?) ON CONFLICT (partition) DO UPDATE SET "
            "events = events + excluded.events, late = late + excluded.late, "
            "duplicates = duplicates + excluded.duplicates",
            (partition, made.events, made.late, made.duplicates),
        )
        gone = "DELETE FROM files WHERE partition = ? AND base = ? AND path = ?"
        database.executemany(gone, ((partition, *key) for key in removed))
        marks = ", ".join("?" * (1 + len(FILE_COLUMNS)))
        database.executemany(f"INSERT OR REPLACE INTO files VALUES ({marks})", file_rows(partition, files))  # noqa: S608

    def _write_batch(self, unit: Unit) -> None:
        database = self._connection()
        if "batches" not in self._tables:
            add_batches(database)
            self._tables |= {"batches"}
        text = b"[" + b",".join(unit.forecasts) + b"]"
        database.execute(_INSERT_BATCH, (unit.partition, unit.position, unit.next_position, len(unit.forecasts), text))

    def _prune(self, unit: Unit) -> None:
        before = self._retention.forgotten
        self._retention.prune(self._connection(), unit, self._tables)
        if self._retention.forgotten != before:
            self._stored.numbers.forget()

    def close(self) -> None:
        """Closes the file and releases the lock."""
        if self._database is not None:
            self._database.close()
            self._database = None
        self._lock.release()
