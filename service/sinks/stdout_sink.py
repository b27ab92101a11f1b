"""Sink of forecasts as JSON lines on standard output, at least once; everything else is in a SQLite file.

Lines are written and flushed first, then the position is committed: a crash in between repeats the lines of one batch.
Every forecast has its partition and position, by which a reader can drop repeats.

A time mark is not repeated by the input, so it is committed first, with its lines, which are then written: a crash in
between repeats them at the next start.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Sequence
from typing import BinaryIO

from service.errors import SinkClosedError, SinkUnavailableError
from service.ports import TimeMark, Unit
from service.sinks.beside_sqlite import BesideSqlite
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry


class StdoutSink(BesideSqlite):
    """Writes forecasts to a stream, and positions, rejects and adoptions to a database.

    Args:
        database: stores everything but the forecasts; owned by this object from then on.
        stream: receives the lines; standard output by default.
    """

    atomic = False

    def __init__(self, database: SqliteSink, stream: BinaryIO | None = None) -> None:
        super().__init__(database)
        self._stream = sys.stdout.buffer if stream is None else stream
        self._written: tuple[str, int] | None = None  # unit whose lines were written although its commit failed
        self._marked: tuple[str, TimeMark] | None = None  # committed mark whose lines could not be written

    def open(self) -> None:
        """Takes the exclusive lock of the database, opens it, and writes the lines that a crash may have left out.

        Raises:
            SinkClosedError, SinkUnavailableError: see `publish`.
        """
        self._written = self._marked = None
        self._database.open()
        self._print_committed()

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Writes the lines, then commits the rest.

        Raises:
            SinkClosedError: the reader of the pipe has closed it.
            ValueError: the unit does not follow the committed position; nothing was written.
            SinkUnavailableError: the database cannot be written now. A retry does not repeat the lines.
        """
        if unit.mark is not None:
            self._publish_marked(unit, unit.mark, files, removed)
            return
        self._database.check_order(unit)
        if self._written != (unit.partition, unit.position):
            self._write(unit.forecasts)
            self._written = (unit.partition, unit.position)
        self._database.publish(unit, files, removed, forecasts=False)
        self._written = None

    def _publish_marked(
        self, unit: Unit, mark: TimeMark, files: Sequence[FileEntry], removed: Sequence[tuple[int, str]]
    ) -> None:
        """Commits a time mark with its lines, then writes the lines; after an error a retry goes on where it was."""
        if self._marked != (unit.partition, mark):

            def keep(database: sqlite3.Connection) -> None:
                lines = ((line,) for line in unit.forecasts)
                database.executemany("INSERT INTO unprinted VALUES (CAST(? AS TEXT))", lines)

            self._database.publish(unit, files, removed, forecasts=False, also=keep)
            self._marked = unit.partition, mark
        self._print_committed()
        self._marked = None

    def _print_committed(self) -> None:
        lines = self._database.rows("SELECT forecast FROM unprinted ORDER BY rowid")
        if lines:
            self._write([str(line).encode() for (line,) in lines])
            self._database.rows("DELETE FROM unprinted")

    def _write(self, lines: Sequence[bytes]) -> None:
        try:
            self._stream.write(b"".join(line + b"\n" for line in lines))
            self._stream.flush()
        except BrokenPipeError as error:
            self._give_up()
            msg = "standard output: the reader closed the pipe; restart with a reader that keeps it open"
            raise SinkClosedError(msg) from error
        except OSError as error:
            # The number of bytes written is unknown; a retry repeats lines, which at-least-once delivery allows.
            msg = f"standard output: cannot be written now ({error.strerror})"
            raise SinkUnavailableError(msg) from error

    def _give_up(self) -> None:
        """Redirects standard output to /dev/null: the interpreter's flush at exit would fail with a traceback."""
        if self._stream is sys.stdout.buffer:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def close(self) -> None:
        """Closes the database; the stream stays open, as its owner closes it."""
        self._database.close()
