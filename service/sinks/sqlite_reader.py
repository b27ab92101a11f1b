"""Reads a SQLite file that a daemon may be writing, has not created yet, or replaces."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Set
from pathlib import Path
from typing import Final, TypeVar

from service.errors import SinkFormatError
from service.sinks.sqlite_schema import APPLICATION_ID

T = TypeVar("T")
_NOT_YET: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}


class SqliteReader:
    """Reads in one transaction at a time. Used in one thread.

    Args:
        path: the file.
        needed: tables without which it counts as not created yet.
    """

    def __init__(self, path: Path, needed: Set[str]) -> None:
        self._path, self._needed = path, needed
        self._database: sqlite3.Connection | None = None
        self._opened = (0, 0)  # identity of the open file

    def close(self) -> None:
        """Closes the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def connect(self) -> sqlite3.Connection:
        """Opens the file anew, which must exist."""
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)

    def read(self, read: Callable[[sqlite3.Connection, str, frozenset[str]], T], nothing: T) -> T:
        """Returns what a function reads in one transaction; `nothing` while there is no file with all of its tables.

        The function is given the connection, the name of the output and its tables.
        """
        try:
            if not self._is_open():
                return nothing
            database = self._database
            assert database is not None  # noqa: S101 - it is open
            database.execute("BEGIN")
            try:
                tables = tables_in(database)
                application = database.execute("PRAGMA application_id").fetchone()[0]
                if application != APPLICATION_ID and (application or tables):
                    msg = f"{self._path}: got a file of another program; expected the SQLite output of a daemon"
                    raise SinkFormatError(msg)
                if not self._needed <= tables:
                    return nothing
                name = database.execute("SELECT start FROM starts ORDER BY rowid LIMIT 1").fetchone()
                return nothing if name is None else read(database, str(name[0]), tables)
            finally:
                if database.in_transaction:  # some errors roll back automatically
                    database.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_YET:
                return nothing
            msg = f"{self._path}: cannot be read ({error}); expected the SQLite output of a daemon"
            raise SinkFormatError(msg) from error

    def _is_open(self) -> bool:
        """Opens the file where it is there; one that has taken the place of the open one is opened anew."""
        try:
            status = self._path.stat()
        except OSError:
            self.close()
            return False
        if self._database is None or self._opened != (status.st_dev, status.st_ino):
            self.close()
            self._database, self._opened = self.connect(), (status.st_dev, status.st_ino)
        return True


def tables_in(database: sqlite3.Connection) -> frozenset[str]:
    """Returns the names of tables and views."""
    return frozenset(str(name) for (name,) in database.execute("SELECT name FROM sqlite_master"))
