"""The format of a segment of a spool: entries, each with its length and checksum.

    entry     length of the payload (4 bytes), its CRC-32 (4 bytes), payload
    payload   one line of JSON, then the body

The first entry is the head: format, output, and how far each partition had been written when the segment began. The
others are deliveries, in the order in which they were written; the last of a unit has how far its partition is written
with it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from service.deliveries.delivery import Delivery

_FRAME: Final = struct.Struct("<II")
_FORMAT: Final = 1
_NO_MARK: Final = -(1 << 63)

Key = tuple[str, str]
"""A partition with its run (`ports.name_of_run`), and the group of series."""


class Written(NamedTuple):
    """How far a partition is written: all events before `position`, and there the time marks up to `mark_ms`."""

    position: int
    mark_ms: int = _NO_MARK


class SpoolEntry(NamedTuple):
    """A delivery in a segment.

    Attributes:
        end: offset after it. at_ms: wall time of writing. key, written: of the last of a unit, else None.
    """

    end: int
    identity: str
    body: bytes
    at_ms: int
    key: Key | None
    written: Written | None


class Head(NamedTuple):
    """The head of a segment; `end` is the offset after it."""

    end: int
    output: str
    written: dict[Key, Written]


def _framed(line: bytes, body: bytes = b"") -> bytes:
    payload = line + b"\n" + body
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def head_of(output: str, written: Mapping[Key, Written]) -> bytes:
    """Encodes a head."""
    table = [[*key, *at] for key, at in sorted(written.items())]
    return _framed(orjson.dumps({"format": _FORMAT, "output": output, "written": table}))


def entries_of(deliveries: Sequence[Delivery], at_ms: int, key: Key, written: Written) -> bytes:
    """Encodes the deliveries of a unit."""
    last = len(deliveries) - 1
    return b"".join(
        _framed(
            orjson.dumps([one.identity, at_ms, *((*key, *written) if number == last else ())]),
            one.body,
        )
        for number, one in enumerate(deliveries)
    )


def _payload(data: bytes, at: int) -> tuple[bytes, bytes, int] | None:
    """Returns line and body of the entry at an offset, and the offset after it; None if it is not complete."""
    if at + _FRAME.size > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, at)
    end = at + _FRAME.size + length
    payload = data[at + _FRAME.size : end]
    if not 0 < length == len(payload) or zlib.crc32(payload) != checksum:  # zeros are what a power loss may leave
        return None
    line, _, body = payload.partition(b"\n")
    return line, body, end


def read_head(data: bytes) -> Head | None:
    """Decodes the head of a segment; None if it is not complete or of another format."""
    found = _payload(data, 0)
    head: Any = orjson.loads(found[0]) if found else None
    if found is None or not isinstance(head, dict) or head.get("format") != _FORMAT:
        return None
    table = {(one[0], one[1]): Written(one[2], one[3]) for one in head["written"]}
    return Head(found[2], head["output"], table)


def next_size(data: bytes) -> int:
    """Returns the bytes of the entry that begins with these bytes; 0 if they do not have its length."""
    return _FRAME.size + _FRAME.unpack_from(data)[0] if len(data) >= _FRAME.size else 0


def read_entries(data: bytes, at: int) -> Iterator[SpoolEntry]:
    """Decodes the complete entries from an offset on; ends before the first that is cut off or damaged."""
    while (found := _payload(data, at)) is not None:
        line, body, at = found
        identity, at_ms, *rest = orjson.loads(line)
        if rest:
            yield SpoolEntry(at, identity, body, at_ms, (rest[0], rest[1]), Written(rest[2], rest[3]))
        else:
            yield SpoolEntry(at, identity, body, at_ms, None, None)
