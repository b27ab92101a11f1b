"""JSON documents: one array with a row per element, or one object, or several objects one after the other."""

from __future__ import annotations

import os
from typing import Any, Final

import ijson

from service.sources.byte_source import ByteSource, WatchedFile
from service.sources.row_bytes import as_line

LONGEST_ROW: Final = 64 << 20  # bytes of the document; the largest `input.max_record_bytes`
_CHUNK: Final = 1 << 16  # bytes that are parsed at once
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_OPENING: Final = frozenset({"start_map", "start_array"})
_CLOSING: Final = frozenset({"end_map", "end_array"})


class JsonDocument:
    """Reads a document piece by piece; the memory depends on its longest row only.

    Args:
        source: the bytes of the document, decompressed; owned by this object from then on.
        file: the file of these bytes.
    """

    def __init__(self, source: ByteSource, file: WatchedFile) -> None:
        self._source, self._file = source, file
        self._start = b""  # of the document, until its first character is known
        self._events: Any = ijson.sendable_list()
        self._parser: Any = None
        self._rows_at = 0  # depth of the rows: 1 in an array
        self._depth = 0
        self._builder = ijson.ObjectBuilder()
        self._unfinished = 0  # bytes since the end of the last row
        self._damage = ""

    def more(self) -> bytes:
        """Returns further rows as whole JSON lines; empty when there are none now."""
        while not self._damage and (data := self._source.read(_CHUNK)):
            if self._parser is None:
                data = self._begin(data)
            if data and (lines := self._parsed(data)):
                return lines
        return b""

    def _begin(self, data: bytes) -> bytes:
        """Starts the parser at the first character of the document and returns the bytes from there on."""
        self._start += data
        if len(self._start) < len(_BOM) and _BOM.startswith(self._start):
            return b""
        start = self._start.removeprefix(_BOM).lstrip(_SPACE)
        self._start = b"" if start else self._start[:3]
        if not start:
            return b""
        array = start.startswith(b"[")
        self._rows_at = 1 if array else 0
        # After an array, anything but space is an error; objects may follow each other.
        self._parser = ijson.basic_parse_coro(self._events, multiple_values=not array)
        return start

    def _parsed(self, data: bytes) -> bytes:
        self._unfinished += len(data)
        try:
            self._parser.send(data)
        # Numbers with absurdly many digits are errors of Python's types.
        except (ijson.JSONError, ValueError, ArithmeticError, StopIteration) as error:
            reason = " ".join(str(error).split())[:120]
            self._damage = f"the JSON document is not valid: {reason}"
        lines = b"".join(map(as_line, self._rows()))
        if lines:
            self._unfinished = 0
        elif self._unfinished > LONGEST_ROW and not self._damage:
            self._damage = f"a row of the JSON document is longer than {LONGEST_ROW} bytes"
        return lines

    def _rows(self) -> list[object]:
        """Returns the rows that the new events complete."""
        rows = list[object]()
        for event, value in self._events:
            if event in _CLOSING:
                self._depth -= 1
            if self._depth < self._rows_at:  # the array around the rows opens or closes
                self._depth += event in _OPENING
                continue
            self._builder.event(event, value)
            if event in _OPENING:
                self._depth += 1
            elif self._depth == self._rows_at:
                rows.append(self._builder.value)
                self._builder = ijson.ObjectBuilder()
        del self._events[:]
        return rows

    def damage(self) -> str:
        """Returns the damage: of the gzip file, an error of the document, or its premature end."""
        ended = "the JSON document is truncated" if self._depth else ""
        return self._damage or self._source.damage() or ended

    def share(self) -> float:
        """Returns how much of the file was read, from 0 to 1."""
        return min(1.0, self._file.end / max(1, os.fstat(self._file.fileno()).st_size))

    def close(self) -> None:
        """Releases the file."""
        self._source.close()
