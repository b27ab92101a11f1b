"""Sink of forecasts as JSON lines on standard output, at least once; everything else is in a SQLite file.

Lines are written and flushed first, then the position is committed: a crash in between repeats the lines of one batch.
Every forecast has its partition and position, by which a reader can drop repeats.

A time mark is not repeated by the input, so it is committed first, with its lines, which are then written: a crash in
between repeats them at the next start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO

from service.errors import SinkClosedError, SinkUnavailableError
from service.ports import Adoption, Outcomes, OutputIdentity, TimeMark, Unit
from service.sinks import Sink
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry


class StdoutSink(Sink):
    """Writes forecasts to a stream, and positions, rejects and adoptions to a database.

    Args:
        database: stores everything but the forecasts; owned by this object from then on.
        stream: receives the lines; standard output by default.
    """

    atomic = False

    def __init__(self, database: SqliteSink, stream: BinaryIO | None = None) -> None:
        self._database = database
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

    @property
    def identity(self) -> OutputIdentity:
        """Returns the identity of the database, which alone determines where a restart continues."""
        return self._database.identity

    def committed(self, partition: str) -> int | None:
        """Returns the committed source position, or None."""
        return self._database.committed(partition)

    def adoptions(self, partition: str) -> list[Adoption]:
        """Returns all committed adoptions, by rising position."""
        return self._database.adoptions(partition)

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks from a position on."""
        return self._database.marks(partition, start)

    def release(self, partition: str, position: int) -> None:
        """Lets the database delete the time marks before a position."""
        self._database.release(partition, position)

    def run(self, partition: str) -> int:
        """Returns the run of the database, which is always the first."""
        return self._database.run(partition)

    def models_needed(self, earliest: Callable[[str], int]) -> set[str]:
        """Returns the needed models of the adoptions in the database."""
        return self._database.models_needed(earliest)

    def files(self, partition: str) -> list[FileEntry]:
        """Returns the entries of the input files at the committed position."""
        return self._database.files(partition)

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """Returns the outcome counters of all committed records of these partitions."""
        return self._database.outcomes(partitions)

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
            self._database.publish(unit, files, removed, forecasts=False, unprinted=True)
            self._marked = unit.partition, mark
        self._print_committed()
        self._marked = None

    def _print_committed(self) -> None:
        if lines := self._database.unprinted():
            self._write(lines)
            self._database.printed()

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
