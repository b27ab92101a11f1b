"""Forecasts as JSON lines on standard output, at least once; everything else in a SQLite file beside.

Lines are written and flushed first, the position is committed after: a crash in between repeats the lines of
one batch. Every forecast carries its partition and position, by which a reader can drop repeats.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO

from service.errors import SinkClosedError, SinkUnavailableError
from service.ports import Adoption, Outcomes, OutputIdentity, Unit
from service.sinks import Sink
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry


class StdoutSink(Sink):
    """Lines out, positions, rejects and adoptions into a database.

    Args:
        database: keeps everything but the forecasts; owned from now on.
        stream: where lines go; standard output by default.
    """

    atomic = False

    def __init__(self, database: SqliteSink, stream: BinaryIO | None = None) -> None:
        self._database = database
        self._stream = sys.stdout.buffer if stream is None else stream
        self._written: tuple[str, int] | None = None  # unit whose lines are out though its commit failed

    def open(self) -> None:
        """Takes the exclusive lock of the database and opens it."""
        self._written = None
        self._database.open()

    @property
    def identity(self) -> OutputIdentity:
        """That of the file with the positions, by which alone it goes on."""
        return self._database.identity

    def committed(self, partition: str) -> int | None:
        """The committed source position, or None."""
        return self._database.committed(partition)

    def adoptions(self, partition: str) -> list[Adoption]:
        """All committed adoptions, by rising position."""
        return self._database.adoptions(partition)

    def run(self, partition: str) -> int:
        """The first and only one."""
        return self._database.run(partition)

    def models_needed(self, earliest: Callable[[str], int]) -> set[str]:
        """Of the adoptions in the database."""
        return self._database.models_needed(earliest)

    def files(self, partition: str) -> list[FileEntry]:
        """The input files as they stood at the committed position."""
        return self._database.files(partition)

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """What became of all committed records of these partitions."""
        return self._database.outcomes(partitions)

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Writes the lines, then commits the rest.

        Raises:
            SinkClosedError: the reader of the pipe has gone.
            ValueError: the unit does not follow what is committed; nothing was written.
            SinkUnavailableError: the database cannot take it now. Given again, the lines are not repeated.
        """
        self._database.check_order(unit)
        if self._written != (unit.partition, unit.position):
            self._write(unit)
            self._written = (unit.partition, unit.position)
        self._database.publish(unit, files, removed, forecasts=False)
        self._written = None

    def _write(self, unit: Unit) -> None:
        try:
            self._stream.write(b"".join(line + b"\n" for line in unit.forecasts))
            self._stream.flush()
        except BrokenPipeError as error:
            self._give_up()
            msg = "standard output: its reader has gone; start again with one that stays"
            raise SinkClosedError(msg) from error
        except OSError as error:
            # How much was written is unknown, but at least once is all that is promised here.
            msg = f"standard output: cannot be written now ({error.strerror})"
            raise SinkUnavailableError(msg) from error

    def _give_up(self) -> None:
        """Nothing is left for the interpreter to flush at its end, which would end with a traceback."""
        if self._stream is sys.stdout.buffer:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def close(self) -> None:
        """Closes the database; the stream stays open, it is not ours."""
        self._database.close()
