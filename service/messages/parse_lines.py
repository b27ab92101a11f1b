"""Parses records that are lines of text, of one line or several, to columns of raw event fields.

What a line of a format is, its module says, as an object with names: `line_protocol`, `access_log`. The objects are
read by `RecordMapping` as any other one. A record with several lines has their events in their order, and one position.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import ClassVar, Final

from service.config.input import FieldNames, InputConfig
from service.messages.mapping import MOST_EVENTS, RecordMapping
from service.messages.parsed import NOTHING_AROUND, Around, Parsed, Problem
from service.messages.text_lines import Cells, LineError, lines_of

FORMAT_HEADER: Final = "input-format"
"""Name of the record header with the format of the record's file, where its lines are not JSON lines or CSV."""

LINE_FORMATS: Final = frozenset({"influx", "access-log"})
"""The formats of lines, as `input.format`; as bytes the values of the header."""

_NO_LINE: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*+(?:[{\[\0]|$)")  # JSON, and the wire format of a registry


class LineParser(ABC):
    """Parses lines of one format.

    Args:
        settings: the format, which says what is recognised.
        fields: the names of the parts of an event.
        horizon: steps of known future values to keep.

    Attributes:
        is_expected: whether records may be recognised as lines of this format.
    """

    form: ClassVar[str]
    """The format, as `input.format`."""

    shows_itself: ClassVar[bool] = False
    """Whether a record of no configured format may be recognised as one of this."""

    flat: ClassVar[None] = None
    """No compiled code reads lines of these formats."""

    def __init__(self, settings: InputConfig, fields: FieldNames, horizon: int) -> None:
        self._mapping = RecordMapping(settings.model_copy(update={"fields": fields}), horizon)
        self._format = settings.format
        self.is_expected = self._format == self.form or (self._format == "auto" and self.shows_itself)

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        around: Around = NOTHING_AROUND,
    ) -> None:
        """See `Parser`."""
        for index in indices:
            problem = self.add(values[index], index, around, into)
            if problem is not None:
                problems[index] = problem

    def recognises(self, value: bytes) -> bool:
        """Returns whether a record that may be in another format is of this one.

        JSON never is. Where the format is not configured, the first line must show it.
        """
        if not self.is_expected or _NO_LINE.match(value):
            return False
        return self._format == self.form or self._shows(value)

    def add(self, value: bytes, index: int, around: Around, into: Parsed) -> Problem | None:
        """Appends the rows of a record; returns the problem of a record without any."""
        objects = self._objects(value, around)
        first = next(objects, None)
        if first is None:
            return None
        return self._mapping.add_each(((one, None) for one in chain([first], objects)), index, around, into)

    def _objects(self, value: bytes, around: Around) -> Iterator[object]:
        """Yields the cells of every line, or its problem; of a record with more lines than events, of the first."""
        count = 0
        for line in lines_of(value.removeprefix(BOM_UTF8)):
            try:
                text = line.decode()
                if self._is_blank(text):
                    continue
                if (count := count + 1) > MOST_EVENTS:
                    yield Problem("too_large", f"got more than {MOST_EVENTS} lines in one record; the first are read")
                    return
                yield self._cells(text, around)
            except UnicodeDecodeError as error:
                yield Problem("undecodable", str(error))
            except LineError as error:
                yield Problem(error.reason, str(error))

    @abstractmethod
    def hint(self, value: bytes) -> str:
        """Returns what would read a record that is not JSON, if it is of this format; else the empty text."""

    def _shows(self, value: bytes) -> bool:  # noqa: ARG002 - for those that show themselves
        """Returns whether the first line of a record of no configured format is of this one, without doubt."""
        return False

    @abstractmethod
    def _is_blank(self, line: str) -> bool:
        """Returns whether a line has no event."""

    @abstractmethod
    def _cells(self, line: str, around: Around) -> Cells:
        """Returns the parts of a line by their names.

        Raises:
            LineError: it is not of this format.
        """
