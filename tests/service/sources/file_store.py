"""Position and entries of files in a sink, and lines for files that change."""

from __future__ import annotations

import os
import time
from pathlib import Path

from opened_sources import OPENED

from service.sources.file_source import FileSource
from service.sources.manifest import FileEntry


class Store:
    """The position and the entries of one partition in a sink, updated by changes only."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.entries: dict[tuple[int, str], FileEntry] = {}
        self.most = 0  # the most entries written by one commit

    def commit(self, source: FileSource, position: int | None = None) -> None:
        """Commits as the sink does."""
        position = source.position if position is None else position
        changed, removed = source.changes(position)
        for key in removed:
            self.entries.pop(key, None)
        self.entries |= {entry.key: entry for entry in changed}
        self.most = max(self.most, len(changed) + len(removed))
        source.written(position)
        self.position = position

    def opened(self, entry: object, *, growing: bool = True, **how: object) -> FileSource:
        """Opens a source at the committed position."""
        source = FileSource(str(entry), growing=lambda: growing, **how)  # type: ignore[arg-type]
        OPENED.append(source)
        source.open([self.entries[key] for key in sorted(self.entries)], self.position)
        return source

    def drained(self, source: FileSource, limit: int = 1000) -> list[bytes]:
        """Reads and commits all available records."""
        values: list[bytes] = []
        while (records := source.read(limit)) is not None:
            values += records.values
            self.commit(source, records.next_position)
            assert [entry for _, entry in sorted(self.entries.items())] == source.manifest(records.next_position)
        return values


def rows(start: int, stop: int) -> bytes:
    """Returns distinct lines."""
    return b"".join(b'{"n":%07d,"pad":"%s"}\n' % (n, b"x" * (n % 90)) for n in range(start, stop))


def numbers(values: list[bytes]) -> list[int]:
    """Returns the numbers of lines."""
    return [int(value[5:12]) for value in values]


def settle(*paths: Path) -> None:
    """Sets the modification time one hour back."""
    for path in paths:
        os.utime(path, (time.time() - 3600, time.time() - 3600))


def replayed(source: FileSource, start: int = 0) -> list[int]:
    """Returns the numbers that a replay from a position yields."""
    return [n for records in source.replay(start, source.position, 7) for n in numbers(list(records.values))]
