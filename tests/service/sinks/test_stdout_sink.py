"""Time marks on standard output: no line of a mark that is not committed, every line of one that is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.errors import SinkUnavailableError
from service.ports import TimeMark, Unit
from service.sinks.sqlite_sink import SqliteSink, Write
from service.sinks.stdout_sink import StdoutSink
from service.sources.manifest import FileEntry

MARKS = [TimeMark(5, 1_700_000_000_000), TimeMark(5, 1_700_000_060_000), TimeMark(9, 1_700_000_120_000)]


class Killed(Exception):  # noqa: N818 - not an error, but the end of a process
    """The process was killed here."""


class KilledDatabase(SqliteSink):
    """A database whose process is killed at the n-th of its steps: before or behind a commit, or behind a deletion."""

    def __init__(self, path: Path, at: int) -> None:
        super().__init__(path)
        self._left = at

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed

    def publish(
        self,
        unit: Unit,
        files: Sequence[FileEntry] = (),
        removed: Sequence[tuple[int, str]] = (),
        *,
        forecasts: bool = True,
        also: Write | None = None,
    ) -> None:
        """Commits a unit."""
        self._step()
        super().publish(unit, files, removed, forecasts=forecasts, also=also)
        self._step()

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Reads, or deletes the lines."""
        if not query.startswith("DELETE"):
            return super().rows(query, *parameters)
        self._step()
        found = super().rows(query, *parameters)
        self._step()
        return found


def unit_of(mark: TimeMark) -> Unit:
    """Returns the unit of a mark with two lines."""
    lines = [b'{"mark":%d,"of":"%s"}' % (mark.time_ms, name) for name in (b"a", "é".encode())]
    return Unit("p", mark.position, mark.position, ["a", "é"], lines, mark=mark)


@pytest.mark.parametrize("at", range(1, 14))
def test_killed_anywhere(tmp_path: Path, at: int) -> None:
    """Whatever the moment of a kill, the lines of committed marks are written in order, and no others."""
    stream = io.BytesIO()
    database = KilledDatabase(tmp_path / "f.sqlite", at)
    sink = StdoutSink(database, stream)
    sink.open()
    try:
        for mark in MARKS:
            sink.publish(unit_of(mark))
    except Killed:
        pass
    sink.close()
    written = len(stream.getvalue().splitlines())
    after = StdoutSink(SqliteSink(tmp_path / "f.sqlite"), stream)
    after.open()
    committed = list(after.marks("p", 0))
    after.close()
    lines = stream.getvalue().splitlines()
    expected = [line for mark in committed for line in unit_of(mark).forecasts]

    assert lines[: len(expected)] == expected
    assert lines[written:] in ([], expected[-2:])  # missing lines, or those of the last mark again
    assert set(lines) == set(expected)

    again = StdoutSink(SqliteSink(tmp_path / "f.sqlite"), stream)
    again.open()
    assert stream.getvalue().splitlines() == lines
    again.close()


def test_retried(tmp_path: Path) -> None:
    """Where the lines of a mark cannot be written now, a retry writes them and commits nothing twice."""

    class Full(io.BytesIO):
        full = True

        def flush(self) -> None:
            if self.full:
                raise OSError(28, "No space")

    stream = Full()
    sink = StdoutSink(SqliteSink(tmp_path / "f.sqlite"), stream)
    sink.open()
    for _ in range(2):
        with pytest.raises(SinkUnavailableError):
            sink.publish(unit_of(MARKS[0]))
    stream.full = False
    stream.truncate(0)
    stream.seek(0)
    sink.publish(unit_of(MARKS[0]))
    sink.publish(unit_of(MARKS[1]))

    assert sink.marks("p", 0) == MARKS[:2]
    assert stream.getvalue().splitlines() == [line for mark in MARKS[:2] for line in unit_of(mark).forecasts]
    sink.close()
