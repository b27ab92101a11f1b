"""Presents files of rows (JSON documents, Parquet, Avro) as bytes of JSON lines, one per row.

Positions, checksums and replays count these bytes, as they count the uncompressed bytes of gzip files. The bytes are
therefore a function of the content of the file only: field order is that of the file, and no value depends on the
machine, the time zone or the size of the pieces in which the file is read.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

import orjson

from service.errors import SourceGoneError

_OPTIONS: Final = orjson.OPT_UTC_Z
_LEVELS: Final = 200  # of nesting that are written; records are rejected at fewer, see `service.messages.depth`
_INT64: Final = range(-(1 << 63), 1 << 64)  # integers that the encoder writes
_SKIPPED: Final = 1 << 18  # bytes; generated and dropped at once on the way to an offset


class RowReader(Protocol):
    """Reads the rows of one file, whose end may move."""

    def more(self) -> bytes:
        """Returns the next bytes of the rows as JSON lines; empty when there are none now."""

    def complete(self) -> None:
        """Notes that the file ends here: the next `more` without further bytes returns rows that only the end ends."""

    def damage(self) -> str:
        """Returns a description of the damage found so far, or the empty string."""

    def share(self) -> float:
        """Returns how much of the file has become rows, from 0 to 1."""

    def close(self) -> None:
        """Releases the file."""


class RowBytes:
    """The rows of a file as JSON lines.

    Args:
        reader: at the start of the file; owned by this object from then on.
        name: of the file, for messages.
        offset: where reading starts, in bytes of the lines; the lines before it are generated and dropped.

    Raises:
        SourceGoneError: the rows are fewer than `offset` bytes.
    """

    def __init__(self, reader: RowReader, name: str, offset: int) -> None:
        self._reader = reader
        self._ahead = b""  # generated, but not returned yet
        self._given = 0
        while self._given < offset:
            size = min(_SKIPPED, offset - self._given)
            if self.read(size):
                continue
            self.complete()  # as when these bytes were read
            if not self.read(size):
                msg = f"{name}: its rows are {offset - self._given} bytes shorter than when it was read; restore it"
                raise SourceGoneError(msg)

    def read(self, size: int) -> bytes:
        """Returns at most `size` further bytes; empty when there are none now."""
        if not self._ahead:
            self._ahead = self._reader.more()
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self._given += len(data)
        return data

    def complete(self) -> None:
        """See `RowReader.complete`."""
        self._reader.complete()

    def total(self) -> int:
        """Returns the bytes of all rows: an estimate, until the last of them was read."""
        known, share = self._given + len(self._ahead), self._reader.share()
        return known if share >= 1.0 or not known else int(known / max(share, 1e-9))

    def damage(self) -> str:
        """Returns the damage of the file, or the empty string."""
        return self._reader.damage()

    def close(self) -> None:
        """Releases the file."""
        self._reader.close()


def as_line(row: object) -> bytes:
    """Returns a row as one JSON line with its line end.

    Times are ISO-8601 texts, decimals are numbers, bytes are base64 texts, and numbers that are not finite are null.
    """
    return as_json(row) + b"\n"


def as_json(value: object) -> bytes:
    """Returns a value as JSON."""
    try:
        return orjson.dumps(value, _plain, _OPTIONS)
    except TypeError:  # integers beyond 64 bits, texts that are not Unicode, very deep nesting, unknown types
        return orjson.dumps(_writable(value, 0), _plain, _OPTIONS)


def _plain(value: Any) -> object:
    """Returns what the encoder writes for a value of a type that it does not know.

    Raises:
        TypeError: the type is unknown here, too.
    """
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value)) if value.is_finite() else None
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError


def _writable(value: Any, depth: int) -> object:
    """Returns the same value without what the encoder refuses."""
    if isinstance(value, dict | list | tuple) and depth > _LEVELS:
        return None
    if isinstance(value, dict):
        return {str(_writable(key, depth + 1)): _writable(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(one, depth + 1) for one in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return value if value in _INT64 else orjson.Fragment(str(value))
    try:
        orjson.dumps(value, _plain, _OPTIONS)
    except TypeError:
        return str(value).encode("utf-8", "replace").decode()
    return value
