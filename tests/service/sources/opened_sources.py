"""File sources that a test opens; conftest.py closes them after it. And what tests do with them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

from service.sources.file_source import FileSource
from service.sources.manifest import FileEntry

OPENED: Final[list[FileSource]] = []


def write(path: Path, data: bytes) -> Path:
    """Writes a file, compressed for the suffix .gz."""
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def append(path: Path, data: bytes) -> None:
    """Appends to a file, as a further member if compressed."""
    with path.open("ab") as file:
        file.write(gzip.compress(data) if path.suffix == ".gz" else data)


def opened(entry: object, entries: list[FileEntry] | None = None, committed: int | None = None, **how) -> FileSource:
    """Opens a source at the committed position."""
    source = FileSource(str(entry), **how)
    OPENED.append(source)
    source.open(entries or [], committed)
    return source


def drain(source: FileSource, limit: int = 1000) -> list[bytes]:
    """Returns the values of all available records."""
    values: list[bytes] = []
    while (records := source.read(limit)) is not None:
        values += records.values
    return values


def restarted(source: FileSource, **how) -> FileSource:
    """Returns a new source at this one's position, as after a commit and a crash."""
    again = FileSource(source._pattern, **how)
    OPENED.append(again)
    again.open(source.manifest(source.position), source.position)
    source.close()
    return again


def everything(source: FileSource, start: int = 0) -> list[tuple[int, bytes, str]]:
    """Returns position, bytes and problem of all records read, by replay."""
    found = []
    for records in source.replay(start, source.position, 3):
        for at, (position, value) in enumerate(zip(records.positions, records.values, strict=True)):
            found.append((position, value, records.problems.get(at, "")))
    return found
