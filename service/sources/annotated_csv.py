"""Annotated CSV of InfluxDB: tables one after the other, each with annotations and a header of its own.

    #group,false,false,true,true,false,false,true,true,true
    #datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string
    #default,_result,,,,,,,,
    ,result,table,_start,_stop,_time,_value,_field,_measurement,host
    ,,0,2026-01-05T00:00:00Z,2026-01-07T00:00:00Z,2026-01-05T00:00:00Z,20.0,usage_idle,cpu,web0

A row has its cells by column, typed as the annotations say and with their defaults. Of a row with `_time` and `_value`
they are also `timestamp` and `value`, beside `series`: measurement, tags and field, as for line protocol, so that
tables with other tags need no setting. A table ends where another one's annotations begin, or its header behind an
empty line.

A quoted text may have line ends; a quote that never closes costs its own line, see quotes.py. A last row without a line
end is read where the file does not grow and it has as many cells as its table.
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Final

import orjson

from service.messages.line_protocol import series_of
from service.messages.parse_csv import split
from service.sources.byte_source import ByteSource, WatchedFile
from service.sources.quotes import Line, QuotedLines
from service.sources.row_bytes import as_line

ANNOTATIONS: Final = (b"#group", b"#datatype", b"#default")
"""How the lines above the header of each table begin."""

_CHUNK: Final = 1 << 16  # bytes that are read at once
_LONGEST: Final = 1 << 20  # bytes of a row in one line
_LONGEST_QUOTED: Final = 1 << 16  # of one in several lines, which are held until its last quote is closed
_NUMBERS: Final = frozenset({"double", "long", "unsignedLong"})
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE: Final = frozenset({"NaN", "+Inf", "-Inf", "Inf"})
_OF_EVENTS: Final = frozenset({"series", "timestamp", "value"})
_NO_TAGS: Final = frozenset({"", "result", "table"})


class _Table:
    """The columns of a table."""

    def __init__(self, names: list[str], annotations: Mapping[str, list[str]]) -> None:
        self.names = names
        types, defaults = (annotations.get(name, []) for name in ("#datatype", "#default"))
        self._types = types if len(types) == len(names) else [""] * len(names)
        self._defaults = defaults if len(defaults) == len(names) else [""] * len(names)
        kinds = dict(zip(names, self._types, strict=True))
        self._tags = [
            name for name, kind in kinds.items()
            if not name.startswith("_") and name not in _NO_TAGS and kind in {"", "string"}
        ]  # fmt: skip
        self._has_events = {"_time", "_value"} <= set(names) and _OF_EVENTS.isdisjoint(names)

    def row(self, cells: list[str]) -> dict[str, object]:
        """Returns the cells of a row by column."""
        texts = [cell or default for cell, default in zip(cells, self._defaults, strict=True)]
        row = {
            name: _typed(text, kind)
            for name, text, kind in zip(self.names, texts, self._types, strict=True) if name
        }  # fmt: skip
        if self._has_events:
            by_name = dict(zip(self.names, texts, strict=True))
            tags = {name: text for name in self._tags if (text := by_name[name])}
            head = series_of(by_name.get("_measurement", ""), tags)
            row["series"] = f"{head} {field}" if (field := by_name.get("_field")) else head
            row["timestamp"], row["value"] = row["_time"], row["_value"]
        return row


def _typed(text: str, kind: str) -> object:
    if not text:
        return None
    if kind in _NUMBERS:
        if _NUMBER.fullmatch(text):
            return orjson.Fragment(text)
        return None if text in _NOT_FINITE else text
    if kind == "boolean" and text in {"true", "false"}:
        return text == "true"
    return text


def _text(record: bytes) -> str:
    return record.removesuffix(b"\r").decode("utf-8", "replace")


class AnnotatedTables:
    """Reads the rows of the tables of a file, piece by piece.

    Args:
        source: the bytes, decompressed; owned by this object from then on.
        file: the file of these bytes.
    """

    def __init__(self, source: ByteSource, file: WatchedFile) -> None:
        self._source, self._file = source, file
        self._tail = b""  # bytes after the last line end
        self._quoted, self._at = QuotedLines(None, _LONGEST_QUOTED), 0  # and the position of its next line
        self._complete = False  # whether the next end of the bytes is that of the file
        self._annotations: dict[str, list[str]] = {}
        self._table: _Table | None = None
        self._ended = False  # whether an empty line stands behind its last row
        self._begins = True  # whether no line was read yet
        self._damage = ""

    def more(self) -> bytes:
        """Returns the next bytes of the rows as JSON lines; empty when there are none now."""
        while not self._damage and (data := self._source.read(_CHUNK)):
            *lines, self._tail = (self._tail + data).split(b"\n")
            made = b"".join(map(self._line, lines))
            if len(self._tail) > _LONGEST:
                self._damage = f"a row of more than {_LONGEST} bytes"
            if made:
                return made
        is_complete, self._complete = self._complete, False
        return self._last() if is_complete else b""

    def complete(self) -> None:
        """See `RowReader.complete`."""
        self._complete = True

    def _last(self) -> bytes:
        """Returns the rows that only the end of the file ends; empty where there are none."""
        made, end = list[bytes](), self._at + len(self._tail)
        if self._tail and not (self._damage or self._source.damage()):
            self._quoted.add([Line(self._at, self._tail, len(self._tail))])
        for record in self._quoted.records(final=True):
            if record.position + record.length == end:
                if not self._is_row(record.value):
                    break  # the tail alone: it remains, as damage
                self._tail = b""
            made.append(self._record(record.value))
        return b"".join(made)

    def _is_row(self, record: bytes) -> bool:
        """Returns whether a record has as many cells as its table, and is neither annotation nor header."""
        cells = split(_text(record), ",")
        if self._table is None or cells is None or len(cells) != len(self._table.names):
            return False
        return cells[0].encode() not in ANNOTATIONS and not self._is_header(cells)

    def _line(self, line: bytes) -> bytes:
        """Returns the rows that end with a line, as JSON; empty where none does."""
        if self._begins:
            line, self._begins = line.removeprefix(BOM_UTF8), False
        if b'"' not in line and not self._quoted.waiting:
            return self._record(line)
        self._quoted.add([Line(self._at, line, len(line))])
        self._at += len(line) + 1
        # Each record may change the columns of the next one.
        return b"".join([self._record(record.value) for record in self._quoted.records()])

    def _record(self, record: bytes) -> bytes:
        """Returns a row as JSON; empty for what is none."""
        text = _text(record)
        if not text.strip(" ,"):
            self._ended = True
            return b""
        cells = split(text, ",")
        if cells is not None and cells[0].encode() in ANNOTATIONS:
            if self._table is not None:
                self._annotations, self._table = {}, None
                self._quoted.expect(None)
            self._annotations[cells[0]] = ["", *cells[1:]]
            return b""
        if cells is not None and self._is_header(cells):
            if self._table is not None:
                self._annotations = {}
            self._table, self._ended = _Table(cells, self._annotations), False
            self._quoted.expect(len(cells))
            return b""
        return self._row(text, cells)

    def _is_header(self, cells: list[str]) -> bool:
        """Returns whether a line is a header: the first one below annotations, or behind an empty line by its names."""
        if self._table is None:
            return True
        return self._ended and {"result", "table"} <= set(cells)

    def _row(self, text: str, cells: list[str] | None) -> bytes:
        """Returns a row as JSON; one that does not have the columns of its table as a text, which is no event."""
        if self._table is None or cells is None or len(cells) != len(self._table.names):
            return as_line(text)
        return as_line(self._table.row(cells))

    def damage(self) -> str:
        """Returns the damage of the file: a row that is too long, or a last line without its end."""
        ended = "its last row has no line end" if self._tail.strip() or self._quoted.waiting else ""
        return self._damage or self._source.damage() or ended

    def share(self) -> float:
        """Returns how much of the file was read, from 0 to 1."""
        return min(1.0, self._file.end / max(1, os.fstat(self._file.fileno()).st_size))

    def close(self) -> None:
        """Releases the file."""
        self._source.close()
