"""Forecasts, rejects, adoptions and positions in one SQLite file, one transaction per batch.

The forecasts of a batch are one JSON text in one row: seven times cheaper to write than a row each. The
view `forecasts` shows them one by one. Read it while the daemon runs with any SQLite client:

    SELECT origin, quantiles FROM forecasts WHERE series = 'cpu' ORDER BY origin DESC LIMIT 1;

Durable means `synchronous = FULL`: what `publish` returned from survives a power loss.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson

from service.errors import SinkFormatError, SinkUnavailableError, TransportError
from service.ports import Adoption, Outcomes, Reject, Unit
from service.transports.folder_lock import FolderLock
from service.transports.manifest import FileEntry

APPLICATION_ID = 0x46435354  # "FCST", so that `file` and we know the database from any other
FORMAT_VERSION = 1
_BUSY_MS = 1000  # a reader that converts the journal or a backup may hold the file this long without harm

# Files that were made before it existed get it when they are opened; their format stays the same.
_OUTCOMES = """
CREATE TABLE IF NOT EXISTS outcomes ( -- how many events became what, over all runs; rejects stand in their own table
    partition TEXT PRIMARY KEY,
    events INTEGER NOT NULL,          -- taken in
    late INTEGER NOT NULL,
    duplicates INTEGER NOT NULL
)"""
_SCHEMA = """
CREATE TABLE batches (
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,        -- of the first record of the batch
    next_position INTEGER NOT NULL,
    n INTEGER NOT NULL,               -- forecasts in the batch
    forecasts TEXT NOT NULL,          -- JSON array of the forecast objects
    PRIMARY KEY (partition, position, next_position)
);
CREATE TABLE rejects (
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    value BLOB NOT NULL,              -- the bytes as they came
    key BLOB,
    headers TEXT NOT NULL,            -- JSON array of [name, value in UTF-8 with \\xNN for other bytes]
    PRIMARY KEY (partition, position)
);
CREATE TABLE positions (partition TEXT PRIMARY KEY, next_position INTEGER NOT NULL);
CREATE TABLE adoptions (
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,        -- the first record forecast with the model
    model TEXT NOT NULL,              -- sha256
    PRIMARY KEY (partition, position)
);
CREATE TABLE files (                  -- the input files as they were read; see FileEntry
    partition TEXT NOT NULL,
    base INTEGER NOT NULL,
    path TEXT NOT NULL,
    size INTEGER,
    head_bytes INTEGER NOT NULL,
    head_sha256 TEXT NOT NULL,
    cuts TEXT NOT NULL,
    start INTEGER NOT NULL DEFAULT 0,
    checked INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER,
    device INTEGER NOT NULL DEFAULT 0,
    inode INTEGER NOT NULL DEFAULT 0,
    stored INTEGER NOT NULL DEFAULT 0,
    changed_ns INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (partition, base, path)
);
CREATE VIEW forecasts AS
SELECT
    batches.partition AS partition,
    json_extract(one.value, '$.source.position') AS position,
    json_extract(one.value, '$.series') AS series,
    json_extract(one.value, '$.origin') AS origin,
    json_extract(one.value, '$.interval_ms') AS interval_ms,
    json_extract(one.value, '$.model') AS model,
    json_extract(one.value, '$.status') AS status,
    json_extract(one.value, '$.levels') AS levels,
    json_extract(one.value, '$.quantiles') AS quantiles,
    json_extract(one.value, '$.anomaly') AS anomaly,
    json_extract(one.value, '$.flagged') AS flagged
FROM batches, json_each(batches.forecasts) AS one
WHERE json_extract(one.value, '$.kind') IS NULL;
CREATE VIEW silences AS
SELECT
    batches.partition AS partition,
    json_extract(one.value, '$.source.position') AS position,
    json_extract(one.value, '$.series') AS series,
    json_extract(one.value, '$.last') AS last,
    json_extract(one.value, '$.expected') AS expected,
    json_extract(one.value, '$.noticed') AS noticed
FROM batches, json_each(batches.forecasts) AS one
WHERE json_extract(one.value, '$.kind') = 'silence';
"""

# Columns that earlier programs of the same format did not write; they stand last in the schema.
_ADDED = ("start", "checked", "checksum", "device", "inode", "stored", "changed_ns")

# A row per step ahead, with the time that it is for; made in files that were begun before there was this view, too.
_STEPS = """
CREATE VIEW steps AS
SELECT
    batches.partition AS partition,
    json_extract(one.value, '$.source.position') AS position,
    json_extract(one.value, '$.series') AS series,
    json_extract(one.value, '$.origin') AS origin,
    step.key + 1 AS step,
    CASE
        WHEN json_extract(one.value, '$.targets') IS NOT NULL
            THEN json_extract(one.value, '$.targets[' || step.key || ']')
        WHEN json_extract(one.value, '$.interval_ms') > 0
            THEN strftime(
                '%Y-%m-%dT%H:%M:%fZ',
                json_extract(one.value, '$.origin'),
                printf(
                    '+%d.%03d seconds',
                    (step.key + 1) * json_extract(one.value, '$.interval_ms') / 1000,
                    (step.key + 1) * json_extract(one.value, '$.interval_ms') % 1000
                )
            )
    END AS target,
    json_extract(one.value, '$.model') AS model,
    json_extract(one.value, '$.levels') AS levels,
    step.value AS quantiles
FROM batches, json_each(batches.forecasts) AS one, json_each(one.value, '$.quantiles') AS step
WHERE json_extract(one.value, '$.kind') IS NULL AND json_type(one.value, '$.quantiles') = 'array';
"""

# Nothing was committed for certain, and the cause may pass: the unit may be given again.
_RETRIABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FOREIGN = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT}


class SqliteSink:
    """The file. One thread at a time; exclusive between processes from `open` to `close` or death.

    Args:
        path: the SQLite file; it and its folder are created when missing. `path`.lock is the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None
        self._identity = (0, 0)  # of the open file
        self._lock = FolderLock(path.with_name(path.name + ".lock"), path, "expected no other")

    def open(self) -> None:
        """Takes the lock, then opens or creates the file.

        Raises:
            TransportBusyError: another process has the file open.
            SinkFormatError: the file is not one of ours or of another format version.
            SinkUnavailableError: it cannot be created or is locked.
        """
        self.close()
        self._take_lock()
        try:
            self._database = sqlite3.connect(
                self.path, isolation_level=None, timeout=_BUSY_MS / 1000, check_same_thread=False
            )
            self._check_format()
            status = self.path.stat()
            self._identity = status.st_dev, status.st_ino
        except (sqlite3.Error, UnicodeError) as error:
            self.close()
            raise self._translated(error) from error
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> None:
        try:
            self._lock.take()
        except OSError as error:
            msg = f"{self.path}.lock: cannot be opened ({error.strerror}); expected a folder we can write"
            raise SinkUnavailableError(msg) from error

    def _check_format(self) -> None:
        database = self._connection()
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        application = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if application == 0 and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            database.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA}; {_STEPS}; PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT"
            )
        elif application != APPLICATION_ID:
            msg = f"{self.path}: got a SQLite file of another program; expected one of ours or a free name"
            raise SinkFormatError(msg)
        elif version != FORMAT_VERSION:
            msg = (
                f"{self.path}: got format version {version}, expected {FORMAT_VERSION}. "
                "Use the program version that wrote it, or another output.path"
            )
            raise SinkFormatError(msg)
        database.execute(_OUTCOMES)
        present = {row[1] for row in database.execute("PRAGMA table_info(files)")}
        for name in _ADDED:
            if present and name not in present:
                kind = "INTEGER" if name == "checksum" else "INTEGER NOT NULL DEFAULT 0"
                database.execute(f"ALTER TABLE files ADD COLUMN {name} {kind}")
        if not database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'steps'").fetchone()[0]:
            database.executescript(f"BEGIN IMMEDIATE; {_STEPS}; COMMIT")

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            msg = f"{self.path}: is not open"
            raise TransportError(msg)
        return self._database

    def _translated(self, error: sqlite3.Error | UnicodeError) -> TransportError:
        """The error in our terms. A damaged file may hold, and SQLite may quote, what is no text."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
        if code in _RETRIABLE:
            return SinkUnavailableError(f"{self.path}: cannot be written now ({error}); nothing was written")
        if code in _FOREIGN or isinstance(error, UnicodeError):
            return SinkFormatError(f"{self.path}: not a SQLite file, or damaged ({error})")
        return TransportError(f"{self.path}: {error}")

    # Reading ------------------------------------------------------------------------------------------------

    def _rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        try:
            return self._connection().execute(query, parameters).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise self._translated(error) from error

    def committed(self, partition: str) -> int | None:
        """The committed source position, or None."""
        rows = self._rows("SELECT next_position FROM positions WHERE partition = ?", partition)
        if rows and not isinstance(rows[0][0], int):
            msg = f'{self.path}: damaged: got the position {rows[0][0]!r} of partition "{partition}", expected a number'
            raise SinkFormatError(msg)
        return int(str(rows[0][0])) if rows else None

    def adoptions(self, partition: str) -> list[Adoption]:
        """All committed adoptions, by rising position."""
        query = "SELECT position, model FROM adoptions WHERE partition = ? ORDER BY position"
        return [Adoption(int(str(position)), str(model)) for position, model in self._rows(query, partition)]

    def files(self, partition: str) -> list[FileEntry]:
        """The input files as they stood at the committed position, in order."""
        columns = ", ".join(("path", "base", "size", "head_bytes", "head_sha256", "cuts", *_ADDED))
        query = f"SELECT {columns} FROM files WHERE partition = ? ORDER BY base, path"  # noqa: S608 - fixed names
        return [
            FileEntry(path, base, size, head_bytes, head, tuple((at, code) for at, code in json.loads(cuts)), *added)
            for path, base, size, head_bytes, head, cuts, *added in self._connection().execute(query, (partition,))
        ]

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """What became of all committed records of these partitions.

        Of a file that an older program wrote, forecasts stand for events; without any, it is not known.
        """
        names = json.dumps(list(partitions))
        mine = "partition IN (SELECT value FROM json_each(?))"
        counts = self._rows(f"SELECT sum(events), sum(late), sum(duplicates) FROM outcomes WHERE {mine}", names)[0]  # noqa: S608 - a constant
        if counts[0] is None:
            ((made,),) = self._rows(f"SELECT sum(n) FROM batches WHERE {mine}", names)  # noqa: S608
            if not made:
                return Outcomes()
            counts = (made, 0, 0)
        reasons = self._rows(f"SELECT reason, count(*) FROM rejects WHERE {mine} GROUP BY reason", names)  # noqa: S608
        first = self._rows(f"SELECT detail FROM rejects WHERE {mine} ORDER BY rowid LIMIT 1", names)  # noqa: S608
        events, late, duplicates = (int(str(count or 0)) for count in counts)
        rejects = {str(reason): int(str(count)) for reason, count in reasons if reason != "late"}
        return Outcomes(events, late, duplicates, rejects, str(first[0][0]) if first else "")

    # Writing ------------------------------------------------------------------------------------------------

    def publish(
        self,
        unit: Unit,
        files: Sequence[FileEntry] = (),
        removed: Sequence[tuple[int, str]] = (),
        *,
        forecasts: bool = True,
    ) -> None:
        """Commits a unit and the input files as they stand at its `next_position`, as one transaction.

        Args:
            unit: what the batch caused.
            files: the entries of input files that have changed.
            removed: bases and paths of entries that are no more.
            forecasts: False leaves the forecasts out, for a sink that keeps only positions here.

        Raises:
            SinkUnavailableError: disk full or locked; nothing was written, the unit may be given again.
            SinkFormatError: the file was deleted or replaced; nothing was written.
            ValueError: the unit starts before what is committed, or ends before its start; not written.
            TransportError: anything else; whether the unit was written is unknown.
        """
        database = self._connection()
        self._check_there()
        try:
            database.execute("BEGIN IMMEDIATE")
            self.check_order(unit)
            self._write(unit, files, removed, forecasts=forecasts)
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise self._translated(error) from error
        except BaseException:
            self._roll_back()
            raise

    def _check_there(self) -> None:
        """What is written into a file that was deleted is lost when it is closed, and nobody would be told."""
        try:
            now = self.path.stat()
        except OSError:
            now = None
        if now is None or (now.st_dev, now.st_ino) != self._identity:
            what = "was deleted" if now is None else "was replaced by another file"
            msg = f"{self.path}: {what} while it was written to; put it back, or start again, which makes a new one"
            raise SinkFormatError(msg)

    def _roll_back(self) -> None:
        database = self._connection()
        if database.in_transaction:  # some errors, a full disk among them, have rolled back by themselves
            try:
                database.execute("ROLLBACK")
            except sqlite3.Error as error:
                msg = f"{self.path}: cannot be rolled back ({error}); the outcome is unknown"
                raise TransportError(msg) from error

    def check_order(self, unit: Unit) -> None:
        """Refuses a unit that does not follow what is committed.

        Raises:
            ValueError: it starts before the committed position, or ends before its start.
        """
        committed = self.committed(unit.partition)
        if unit.next_position < unit.position or (committed is not None and unit.position < committed):
            msg = (
                f'partition "{unit.partition}": got a unit over [{unit.position}, {unit.next_position}), '
                f"expected one that starts at the committed position {committed} or later"
            )
            raise ValueError(msg)

    def _write(
        self, unit: Unit, files: Sequence[FileEntry], removed: Sequence[tuple[int, str]], *, forecasts: bool
    ) -> None:
        database, partition = self._connection(), unit.partition
        if forecasts and unit.forecasts:
            database.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, CAST(? AS TEXT))",  # spares a copy into a Python str
                (
                    partition,
                    unit.position,
                    unit.next_position,
                    len(unit.forecasts),
                    b"[" + b",".join(unit.forecasts) + b"]",
                ),
            )
        database.executemany(
            "INSERT INTO rejects VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((partition, r.position, r.reason, r.detail, r.value, r.key, _headers_text(r)) for r in unit.rejects),
        )
        if unit.adoption is not None:
            database.execute(
                "INSERT OR REPLACE INTO adoptions VALUES (?, ?, ?)",
                (partition, unit.adoption.position, unit.adoption.model_sha256),
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
        marks = ", ".join("?" * (7 + len(_ADDED)))
        database.executemany(f"INSERT OR REPLACE INTO files VALUES ({marks})", _file_rows(partition, files))  # noqa: S608

    def close(self) -> None:
        """Closes the file and gives the lock back."""
        if self._database is not None:
            self._database.close()
            self._database = None
        self._lock.release()


def _headers_text(reject: Reject) -> str:
    pairs = [[name, value.decode("utf-8", "backslashreplace")] for name, value in reject.headers]
    return orjson.dumps(pairs).decode()


def _file_rows(partition: str, files: Iterable[FileEntry]) -> Iterable[tuple[object, ...]]:
    return (
        (
            partition, f.base, f.path, f.size, f.head_bytes, f.head_sha256, json.dumps(f.cuts),
            *(getattr(f, name) for name in _ADDED),
        )
        for f in files
    )  # fmt: skip
