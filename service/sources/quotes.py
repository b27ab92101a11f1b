"""Joins lines of CSV that form one record because a quoted field contains line ends.

A record continues while a quoted field is open at the end of its line. It ends where the quote is closed, if the result
is CSV with as many fields as the header and not longer than a record may be. Otherwise the quote is taken as a mistake:
the line in which it was opened is a record by itself, which the decoder rejects, and reading continues with the next
line. An unclosed quote therefore costs its own line only, and the end of a record depends only on the bytes from its
start on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from service.messages.parse_csv import SEPARATORS

_SEPARATORS: Final = tuple(mark.encode() for mark in SEPARATORS.values())


def _closed(separator: bytes) -> re.Pattern[bytes]:
    mark = re.escape(separator)
    field = rb'(?:"(?:[^"]++|"")*+"|(?:[^"%b][^%b]*+)?+)' % (mark, mark)
    return re.compile(field + rb"(?:%b%b)*+\r*+" % (mark, field))


_CLOSED: Final = {separator: _closed(separator) for separator in _SEPARATORS}


class Line(NamedTuple):
    """One line: its position, its bytes without the line feed (cut if it is too long), its full length."""

    position: int
    value: bytes
    length: int


class QuotedLines:
    """Joins lines into records.

    Args:
        header: the header of the file, or None where it has not been read yet.
        max_bytes: maximum length of a record.
    """

    def __init__(self, header: bytes | None, max_bytes: int) -> None:
        self._columns: int | None = None
        self._separator = _SEPARATORS[0]
        if header is not None:
            self.begin(header)
        self._max_bytes = max_bytes
        self._held: list[Line] = []  # lines of a record whose end was not found yet
        self._scanned, self._fields, self._inside = 0, 0, False  # number of scanned lines, and the state there

    @property
    def waiting(self) -> bool:
        """Returns whether lines are held because a quote is open."""
        return bool(self._held)

    @property
    def position(self) -> int:
        """Returns the position of the first held line."""
        return self._held[0].position

    def begin(self, header: bytes) -> None:
        """Sets the header, which determines the separator: the one with which it has the most fields."""
        self._separator = max(_SEPARATORS, key=lambda separator: columns(header, separator))
        self._columns = columns(header, self._separator)

    def expect(self, count: int | None) -> None:
        """Sets the number of fields of the next records, whose separator is the usual one; None: any number."""
        self._columns = count

    def are_closed(self, lines: Iterable[bytes]) -> bool:
        """Returns whether every line is certainly a record by itself; a fast check, False for malformed lines."""
        return all(map(_CLOSED[self._separator].fullmatch, lines))

    def is_closed(self, line: bytes) -> bool:
        """Returns whether a line is a record by itself, as no quoted field is open at its end."""
        if b'"' not in line:
            return True
        found = _followed(line.rstrip(b"\r"), 0, self._separator, inside=False)
        return found is None or not found[1]

    def add(self, lines: Iterable[Line]) -> None:
        """Adds further lines for `records`."""
        self._held += lines

    def records(self, *, final: bool = False) -> Iterator[Line]:
        """Yields the complete records; lines whose record may continue are held.

        Args:
            final: whether no further lines follow.
        """
        held, begin = self._held, 0
        try:
            while begin < len(held):
                first, count = held[begin], self._count(begin)
                length = first.length
                if (
                    not count
                    and not final
                    and held[-1].position + held[-1].length - first.position <= self._max_bytes + 1
                ):
                    return
                value = first.value
                if count > 1:
                    joined = b"\n".join(line.value for line in held[begin : begin + count])
                    if len(joined.removesuffix(b"\r")) > self._max_bytes:
                        count = 1
                    else:
                        last = held[begin + count - 1]
                        value, length = joined, last.position + last.length - first.position
                begin += count or 1
                self._scanned, self._fields, self._inside = 0, 0, False
                yield Line(first.position, value, length)
        finally:
            del held[:begin]

    def _count(self, begin: int) -> int:
        """Returns how many lines from `begin` on form a record; 0 if its quote is still open after all of them."""
        while begin + self._scanned < len(self._held):
            value = self._held[begin + self._scanned].value
            if not (self._inside or b'"' in value):
                return 1
            found = _followed(value.rstrip(b"\r"), self._fields, self._separator, inside=self._inside)
            self._scanned += 1
            if found is None or (self._columns is not None and found[0] > self._columns):
                return 1
            self._fields, self._inside = found
            if not self._inside:
                return self._scanned if self._columns in (None, self._fields) else 1
        return 0


def without_names(record: bytes, separator: str) -> bytes:
    """Returns a header with as many columns as a record, none of which has a name."""
    marks = _SEPARATORS if separator == "auto" else [SEPARATORS[separator].encode()]
    mark = max(marks, key=lambda one: columns(record, one))
    return mark * (columns(record, mark) - 1)


def columns(header: bytes, separator: bytes) -> int:
    """Returns the number of fields of a complete record; 0 if its quotes do not match."""
    found = _followed(header, 0, separator, inside=False)
    return 0 if found is None or found[1] else found[0]


def _followed(line: bytes, fields: int, separator: bytes, *, inside: bool) -> tuple[int, bool] | None:
    """Returns the number of fields that have ended after a line, and whether a quoted one is open there.

    Args:
        line: without its line end.
        fields: number of fields that ended before it.
        separator: of the fields.
        inside: whether a quoted field is open at its start.

    Returns:
        None if there are bytes between the end of a quoted field and the next separator, or a CR in an unquoted field.
    """
    at = 0
    while True:
        if inside or line.startswith(b'"', at):
            at = line.find(b'"', at if inside else at + 1)
            while at >= 0 and line.startswith(b'"', at + 1):
                at = line.find(b'"', at + 2)
            if at < 0:
                return fields, True
            inside, at = False, at + 1
            if at < len(line) and not line.startswith(separator, at):
                return None
        else:
            begin, at = at, line.find(separator, at)
            if line.find(b"\r", begin, at if at >= 0 else None) >= 0:
                return None
        fields += 1
        if at < 0 or at >= len(line):
            return fields, False
        at += 1
