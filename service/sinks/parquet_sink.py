"""Sink of forecasts and silences in Parquet files by day and hour; positions and everything else in a SQLite file.

A unit is stored in the SQLite file first, with its position, in one transaction (`parquet_pending`). When enough
outputs have been stored, or the oldest one has waited long enough, a thread writes them to a file. A kill at any moment
loses and repeats nothing: neither in the files alone, nor in the files and what still waits.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from service.errors import SinkFormatError, SinkUnavailableError, TransportError
from service.ports import Unit
from service.sinks.beside_sqlite import BesideSqlite
from service.sinks.parquet_changes import FileChange, WaitingOutputs, with_outputs
from service.sinks.parquet_files import KINDS, delete_file, own_folder, path_of, write_files, write_views
from service.sinks.parquet_pending import HOUR_MS, TABLES, ParquetFile, State, add, delete_over, files
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry

_log = structlog.get_logger()

_RETRY_MS: Final = 2000  # before a file is tried again while nothing is published
_OVER: Final = 2  # rows of complete files that are deleted with a unit, which adds one

MOST_WAITING: Final = 3
"""Files' worth of outputs that may wait while a file is being written."""


@dataclass(frozen=True, slots=True)
class FileBounds:
    """When a file is written, and how long it is kept.

    Attributes:
        age_ms: a file is written this long after its first output at the latest.
        file_bytes: or when its outputs take so many bytes as records.
        keep_ms: files of hours that ended longer ago are deleted; 0: none by age.
        max_bytes: the oldest files are deleted while all of them take more; 0: no bound.
        now_ms: the wall clock.
    """

    age_ms: int
    file_bytes: int
    keep_ms: int
    max_bytes: int
    now_ms: Callable[[], int]


class ParquetSink(BesideSqlite):
    """Sink to a folder of Parquet files. One thread at a time; exclusive between processes from `open` to `close`.

    Args:
        folder: of the files; created when missing.
        database: stores everything but the files, at `POSITIONS_FILE` in the folder; owned by this object from then on.
        bounds: sizes and ages.
        write: see `write_files`.
    """

    def __init__(
        self,
        folder: Path,
        database: SqliteSink,
        bounds: FileBounds,
        write: Callable[[Path, Path, ParquetFile], dict[str, int]] = write_files,
    ) -> None:
        super().__init__(database)
        self._folder, self._bounds, self._write_files = folder, bounds, write
        self._thread: ThreadPoolExecutor | None = None
        self._reset()

    def _reset(self) -> None:
        self._next_output = self._next_file = 0
        self._complete: list[ParquetFile] = []
        self._size = 0  # of all of them
        self._expired_files: list[ParquetFile] = []  # to be deleted
        self._gone: list[ParquetFile] = []  # deleted, but still in the list of the database
        self._waiting: list[WaitingOutputs] = []  # by hour; a file is written of the first one
        self._begun: ParquetFile | None = None
        self._writing: Future[dict[str, int]] | None = None
        self._written: ParquetFile | None = None  # `_begun` with its sizes
        self._failure: OSError | sqlite3.OperationalError | None = None
        self._failed_ms = 0
        self._over = False  # whether rows of complete files may be left

    def open(self) -> None:
        """Takes the lock of the folder, and goes on with a file that was begun.

        Raises:
            TransportBusyError: another process has the folder.
            SinkFormatError: the folder holds files that its database does not know, or it is none of this program.
            SinkUnavailableError: the folder cannot be written.
        """
        self._reset()
        self._database.open()
        try:
            self._database.transact(_prepare)
            self._load()
            self._refuse_unknown()
            self._delete_expired()
        except OSError as error:
            self._database.close()
            raise self._unavailable(error) from error
        except BaseException:
            self._database.close()
            raise
        self._thread = ThreadPoolExecutor(1, "parquet")
        self._submit()

    def _load(self) -> None:
        def read(database: sqlite3.Connection) -> None:
            numbers = database.execute("SELECT output, file, waiting FROM parquet_next").fetchone()
            self._next_output, self._next_file, waiting = numbers
            self._complete = files(database, State.COMPLETE)
            self._size = sum(file.size for file in self._complete)
            self._expired_files = files(database, State.EXPIRED)
            begun = files(database, State.BEGUN)
            self._begun, self._over = begun[0] if begun else None, True
            first = self._begun.next if self._begun else waiting
            query = "SELECT id, id + n, length(records), written_ms FROM pending WHERE id >= ? ORDER BY id"
            for row in database.execute(query, (first,)):
                self._waiting = with_outputs(self._waiting, WaitingOutputs(*row))

        self._database.transact(read)

    def _refuse_unknown(self) -> None:
        known = {
            path_of(self._folder, kind, file) for kind in KINDS for file in (*self._complete, *self._expired_files)
        }
        if self._begun is not None:
            known |= {path_of(self._folder, kind, self._begun) for kind in KINDS}
        for kind in KINDS:
            for path in (self._folder / kind).glob("date=*/hour=*/part-*.parquet"):
                if path not in known:
                    msg = (
                        f"{path}: {self._database.path} does not know this file, so its forecasts would be there "
                        "twice; expected the folder as the daemon left it. Restore both, or use another output.path"
                    )
                    raise SinkFormatError(msg)

    # Writing -------------------------------------------------------------------------------------------------

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Commits the unit with its position; its outputs are in a file later.

        Raises:
            SinkUnavailableError: a file cannot be written, or the database, or the folder is away; nothing of the unit
                was written.
            ValueError: the unit does not follow the committed position; nothing was written.
            TransportError: any other error of the database; whether the unit was written is unknown.
        """
        self._database.check_there()  # or the reason would be that a file cannot be written
        self._database.check_order(unit)
        self._make_room()
        if self._failure is not None:
            self._try_again()
        now = self._bounds.now_ms()
        change = self._change(now)
        added = 0

        def also(database: sqlite3.Connection) -> None:
            nonlocal added
            self._store(database, change)
            added = add(database, unit, self._next_output, now)

        self._database.publish(unit, files, removed, forecasts=False, also=also)
        self._apply(change)
        if unit.forecasts:
            end = self._next_output + len(unit.forecasts)
            self._waiting = with_outputs(self._waiting, WaitingOutputs(self._next_output, end, added, now))
            self._next_output = end

    def maintain(self) -> None:
        """Goes on with files while nothing is published: completes one that was written, begins the next."""
        now = self._bounds.now_ms()
        self._collect()
        if self._failure is not None and self._writing is None and now - self._failed_ms >= _RETRY_MS:
            self._submit()
        change = self._change(now)
        if not change.is_empty:
            with contextlib.suppress(SinkUnavailableError):  # nothing was written: the next call does it
                self._commit(change)

    def _make_room(self) -> None:
        """Waits for the file that is being written where too many outputs wait behind it."""
        waiting = sum(one.size for one in self._waiting)
        if self._writing is not None and waiting > MOST_WAITING * self._bounds.file_bytes:
            self._writing.exception()
        self._collect()

    def _collect(self) -> None:
        """Takes the result of the thread where it has one."""
        if self._writing is None or not self._writing.done():
            return
        writing, self._writing = self._writing, None
        self._finish(writing.result)

    def _try_again(self) -> None:
        """Writes the begun file again after a failure.

        Raises:
            SinkUnavailableError: it failed again.
        """
        if self._writing is not None:  # by `maintain`
            self._writing.exception()
            self._collect()
            if self._failure is None:
                return
        begun = self._begun
        assert begun is not None  # noqa: S101 - it is what has failed
        self._finish(lambda: self._write_files(self._folder, self._database.path, begun))
        if self._failure is not None:
            raise self._unavailable(self._failure) from self._failure

    def _finish(self, write: Callable[[], dict[str, int]]) -> None:
        try:
            sizes, self._failure = write(), None
        except (OSError, sqlite3.OperationalError) as error:  # a full disk, or a database that another program locks
            if self._failure is None:
                _log.warning("file of forecasts not written, retrying", folder=str(self._folder), error=str(error))
            self._failure, self._failed_ms = error, self._bounds.now_ms()
            return
        assert self._begun is not None  # noqa: S101 - it has been written
        self._written = self._begun._replace(
            state=State.COMPLETE, forecast_bytes=sizes["forecasts"], silence_bytes=sizes["silences"]
        )

    def _submit(self) -> None:
        if self._begun is not None and self._thread is not None:
            self._writing = self._thread.submit(self._write_files, self._folder, self._database.path, self._begun)

    def _change(self, now: int, *, closing: bool = False) -> FileChange:
        begun = None
        if (self._begun is None or self._written) and self._waiting and (closing or self._is_due(now)):
            oldest = self._waiting[0]
            begun = ParquetFile(self._next_file, oldest.hour, oldest.first, oldest.next)
        over = 0 if not (self._over or self._written) else -1 if closing else _OVER
        return FileChange(self._written, begun, self._expired(now), self._gone, over)

    def _is_due(self, now: int) -> bool:
        waiting = self._waiting[0]
        return (
            waiting.size >= self._bounds.file_bytes
            or now - waiting.since_ms >= self._bounds.age_ms
            or now // HOUR_MS != waiting.hour
        )

    def _expired(self, now: int) -> list[ParquetFile]:
        """Returns the oldest files, by which the bounds are exceeded; a file that is just complete stays."""
        keep, most = self._bounds.keep_ms, self._bounds.max_bytes
        size, found = self._size + (self._written.size if self._written else 0), list[ParquetFile]()
        for file in self._complete:
            if not (keep and (file.hour + 1) * HOUR_MS <= now - keep) and not (most and size > most):
                break
            size -= file.size
            found.append(file)
        return found

    def _commit(self, change: FileChange) -> None:
        self._database.transact(lambda database: self._store(database, change))
        self._apply(change)

    def _store(self, database: sqlite3.Connection, change: FileChange) -> None:
        if change.completed is not None:
            database.execute("UPDATE parquet_next SET waiting = ?", (change.completed.next,))
            database.execute("INSERT OR REPLACE INTO parquet_files VALUES (?, ?, ?, ?, ?, ?, ?)", change.completed)
        self._over = bool(change.over) and delete_over(database, change.over)
        for file in change.deleted:
            database.execute("DELETE FROM parquet_files WHERE number = ?", (file.number,))
        for file in change.expired:
            database.execute("UPDATE parquet_files SET state = ? WHERE number = ?", (State.EXPIRED, file.number))
        if change.begun is not None:
            database.execute("INSERT INTO parquet_files VALUES (?, ?, ?, ?, ?, ?, ?)", change.begun)
            database.execute("UPDATE parquet_next SET file = ?", (change.begun.number + 1,))

    def _apply(self, change: FileChange) -> None:
        """Goes on after the transaction of a change."""
        self._gone = self._gone[len(change.deleted) :]
        if change.completed is not None:
            self._complete.append(change.completed)
            self._size += change.completed.size
            self._begun = self._written = None
        if change.expired:
            self._complete = self._complete[len(change.expired) :]
            self._size -= sum(file.size for file in change.expired)
            self._expired_files += change.expired
            self._delete_expired()
        if change.completed is not None or change.expired:
            self._write_views()
        if change.begun is not None:
            self._begun, self._waiting = change.begun, self._waiting[1:]
            self._next_file += 1
            self._submit()

    def _delete_expired(self) -> None:
        """Deletes expired files; one that cannot be deleted stays in the list, and is tried again with the next one."""
        kept = list[ParquetFile]()
        for file in self._expired_files:
            try:
                with own_folder(self._folder, self._database.folder_identity) as root:
                    delete_file(root, file)
            except OSError:
                kept.append(file)
                continue
            self._gone.append(file)
        self._expired_files = kept

    def _write_views(self) -> None:
        kinds = {"forecasts"} if any(file.forecast_bytes for file in self._complete) else set()
        kinds |= {"silences"} if any(file.silence_bytes for file in self._complete) else set()
        if "forecasts" not in kinds:
            return
        try:
            with own_folder(self._folder, self._database.folder_identity) as root:
                write_views(root, self._folder, frozenset(kinds))
        except OSError as error:
            _log.warning("views not written", folder=str(self._folder), error=str(error))

    def _unavailable(self, error: OSError | sqlite3.OperationalError) -> SinkUnavailableError:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        msg = (
            f"{self._folder}: a file of forecasts cannot be written now ({reason}); expected a writable folder with "
            "free space. Nothing was written"
        )
        return SinkUnavailableError(msg)

    def close(self) -> None:
        """Writes what waits to a file, so that all outputs are in files, then closes and releases the lock."""
        thread, self._thread = self._thread, None
        try:
            if thread is not None:
                self._close_files()
        except (OSError, TransportError, sqlite3.Error) as error:
            _log.warning("forecasts wait for the next start", folder=str(self._folder), error=str(error))
        finally:
            if thread is not None:
                thread.shutdown()
            self._reset()
            self._database.close()

    def _close_files(self) -> None:
        if self._writing is not None:
            self._writing.exception()
            self._collect()
        while self._failure is None:
            change = self._change(self._bounds.now_ms(), closing=True)
            if change.is_empty:
                return
            self._commit(change)
            if change.begun is not None:
                self._try_again()


def _prepare(database: sqlite3.Connection) -> None:
    for statement in TABLES:
        database.execute(statement)
