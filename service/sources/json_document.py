"""JSON documents: an array with a row per element, or one object, or several of them one after the other.

The document is split, not parsed: only strings and brackets are followed. A row is the text of its element, with its
numbers as they were written, and one that is not valid JSON is rejected like a line that is not. Memory depends on
neither the document nor its longest row. (A streaming parser, ijson 3.6, crashed on integers of 4301 digits, and ends
at the first element that is not JSON, such as the NaN of Python's own writer.)
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from typing import Final

from service.sources.byte_source import ByteSource, WatchedFile

_CHUNK: Final = 1 << 16  # bytes that are split at once
_DEEPEST: Final = 1 << 16  # brackets that are remembered; records are rejected at far fewer
_MOST_SPACE: Final = 1 << 20  # bytes between two elements that are kept, as they may be part of the first
_SPACE: Final = b" \t\r\n"
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
_QUOTE, _COMMA, _ARRAY = b'",['
_CLOSED_BY: Final = dict(zip(b"]}", b"[{", strict=True))
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
# Each ends before the next character that has a meaning, or before a string that does not end in these bytes.
_TO_BRACKET: Final = re.compile(rb'(?:[^]["{}]++|' + _STRING + rb")*+", re.DOTALL)
_TO_COMMA: Final = re.compile(rb'(?:[^]["{},]++|' + _STRING + rb")*+", re.DOTALL)
_IN_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OUTSIDE: Final = re.compile(rb"[ \t\r\n]*+")


class JsonDocument:
    """Splits a document into rows, piece by piece.

    Args:
        source: the bytes of the document, decompressed; owned by this object from then on.
        file: the file of these bytes.
    """

    def __init__(self, source: ByteSource, file: WatchedFile) -> None:
        self._source, self._file = source, file
        self._start: bytes | None = b""  # of the document, until its first character is known
        self._level = 0  # brackets around a row: 1 in an array
        self._open = bytearray()  # brackets that are open
        self._inside = self._escaped = False  # within a string; after a backslash in it
        self._begun = False  # whether the present row has bytes
        self._space = b""  # after them: only part of the row if more follows
        self._lines: list[bytes] = []
        self._damage = ""

    def more(self) -> bytes:
        """Returns the next bytes of the rows as JSON lines; empty when there are none now."""
        while not self._damage and (data := self._source.read(_CHUNK)):
            if self._start is not None:
                data = self._begin(self._start + data)
            self._split(data)
            lines = b"".join(self._lines)
            self._lines.clear()
            if lines:
                return lines
        return b""

    def _begin(self, start: bytes) -> bytes:
        """Notes the kind of the document by its first character, and returns its bytes from there on."""
        text = start.removeprefix(BOM_UTF8).lstrip(_SPACE)
        if not text or BOM_UTF8.startswith(text):
            self._start = start[: len(BOM_UTF8)] if text or start.startswith(BOM_UTF8) else b""
            return b""
        self._start = None
        self._level = int(text[0] == _ARRAY)
        return text

    def _split(self, data: bytes) -> None:
        begin, at = 0, self._string_end(data, 0) if self._inside else 0
        while at < len(data) and not self._damage:
            if len(self._open) < self._level:
                begin = at = self._enter(data, at)
                continue
            within = self._level and len(self._open) == self._level
            at = (_TO_COMMA if within else _TO_BRACKET).match(data, at).end()  # type: ignore[union-attr] # may be empty
            if at == len(data):
                break
            mark, at = data[at], at + 1
            if mark == _QUOTE:
                at = self._string_end(data, at)
            elif mark == _COMMA:
                self._put(data[begin : at - 1], ends=True)
                begin = at
            elif mark not in _CLOSED_BY:
                self._push(mark)
            elif not self._open or self._open.pop() != _CLOSED_BY[mark]:
                at -= 1
                self._damage = f"the JSON document is not valid: {chr(mark)} closes no bracket of its kind"
            elif not self._open:  # a bracket around the rows is not part of one
                self._put(data[begin : at - self._level], ends=True)
                begin = at
        if begin < len(data):
            self._put(data[begin:at])

    def _enter(self, data: bytes, at: int) -> int:
        """Returns the offset after the bracket that opens the array of the rows; `at` is outside of one."""
        found = _OUTSIDE.match(data, at)
        at = len(data) if found is None else found.end()
        if at < len(data) and data[at] == _ARRAY:
            self._open.append(_ARRAY)
            return at + 1
        if at < len(data):
            self._damage = f"the JSON document is not valid: got {data[at : at + 20]!r} after the array"
        return len(data)

    def _push(self, mark: int) -> None:
        self._open.append(mark)
        if len(self._open) > _DEEPEST:
            self._damage = f"the JSON document is not valid: it is nested more than {_DEEPEST} levels deep"

    def _string_end(self, data: bytes, at: int) -> int:
        """Returns the offset after the string that `at` is in, or the end of the data if it goes on after them."""
        at += self._escaped
        self._escaped, self._inside = False, True
        found = _IN_STRING.match(data, at)
        at = len(data) if found is None else found.end()
        if at < len(data) and data[at] == _QUOTE:
            self._inside = False
            return at + 1
        self._escaped = at < len(data)
        return len(data)

    def _put(self, text: bytes, *, ends: bool = False) -> None:
        """Adds text of the present row, in one line; `ends`: it is the last of it."""
        if not self._begun:
            text = text.lstrip(_SPACE)
        if text:
            self._begun = True
            text = self._space + text
            kept = text.rstrip(_SPACE)
            # A run of space so long has come in several pieces, wherever they end: the result depends on its length.
            if max(len(text) - len(text.lstrip(_SPACE)), len(text) - len(kept)) > _MOST_SPACE:
                self._damage = f"the JSON document has more than {_MOST_SPACE} bytes of white space in one place"
                return
            self._space = text[len(kept) :]
            self._lines.append(kept.translate(_ONE_LINE))
        if ends and self._begun:
            self._lines.append(b"\n")
        if ends:
            self._begun, self._space = False, b""

    def complete(self) -> None:
        """Changes nothing: every row has an end of its own."""

    def damage(self) -> str:
        """Returns the damage: of the gzip file, an error of the document, or its premature end."""
        ended = "the JSON document is truncated" if self._open or self._inside else ""
        return self._damage or self._source.damage() or ended

    def share(self) -> float:
        """Returns how much of the file was read, from 0 to 1."""
        return min(1.0, self._file.end / max(1, os.fstat(self._file.fileno()).st_size))

    def close(self) -> None:
        """Releases the file."""
        self._source.close()
