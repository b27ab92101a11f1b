"""Parses records of InfluxDB line protocol, of one line or several, to columns of raw event fields.

Each line is an object with the names that `line_protocol` gives its parts, and is read by `RecordMapping` as any other
one. A record with several lines has their events in their order, and one position.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from service.config.input import InputConfig
from service.messages.line_protocol import Cells, LineError, is_blank, lines_of, parse_line
from service.messages.mapping import MOST_EVENTS, RecordMapping
from service.messages.parsed import NOTHING_AROUND, Around, Parsed, Problem

FORMAT_HEADER: Final = "input-format"
"""Name of the record header with the format of the record's file, where its lines are not JSON lines or CSV."""

INFLUX: Final = b"influx"
"""Its value for InfluxDB line protocol."""

_NO_LINE: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*+(?:[{\[\0]|$)")  # JSON, and the wire format of a registry
_NO_TIME: Final = Problem(
    "missing_field",
    "got a line without a timestamp, expected a number at its end: only records of Kafka have a time of their own",
)


class InfluxParser:
    """Parses lines; comments and blank lines have no events.

    Args:
        settings: the fields, and the format, which says what is recognised.
        horizon: steps of known future values to keep.
    """

    def __init__(self, settings: InputConfig, horizon: int = 1) -> None:
        names = settings.fields.of_lines
        self._mapping = RecordMapping(settings.model_copy(update={"fields": names}), horizon)
        self._format, self._ends_in_time = settings.format, names.timestamp == "timestamp"

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
        """Returns whether a record that may be in another format is line protocol.

        JSON never is. Where the format is not configured, the first point needs a timestamp: `error code=5` is a point
        without one, and a line of a log as well.
        """
        if self._format not in {"auto", "influx"} or _NO_LINE.match(value):
            return False
        return self._format == "influx" or begins_with_point(value)

    def hint(self, value: bytes) -> str:
        """Returns what would read a record that is not JSON, if it is line protocol; else the empty text."""
        if self._format != "auto" or first_point(value) is None:
            return ""
        return (
            "got what may be InfluxDB line protocol without a timestamp, expected JSON; to read it, set "
            'input.format = "influx"'
        )

    def add(self, value: bytes, index: int, around: Around, into: Parsed) -> Problem | None:
        """Appends the rows of a record; returns the problem of a record without any."""
        points = self._points(value, around)
        first = next(points, None)
        if first is None:
            return None
        return self._mapping.add_each(((point, None) for point in chain([first], points)), index, around, into)

    def _points(self, value: bytes, around: Around) -> Iterator[object]:
        """Yields the cells of every point, or its problem; of a record with more lines than events, of the first."""
        needs_time = self._ends_in_time and around.timestamps_ms is None
        count = 0
        for line in lines_of(value.removeprefix(BOM_UTF8)):
            try:
                text = line.decode()
                if is_blank(text):
                    continue
                if (count := count + 1) > MOST_EVENTS:
                    yield Problem("too_large", f"got more than {MOST_EVENTS} lines in one record; the first are read")
                    return
                cells = parse_line(text)
            except UnicodeDecodeError as error:
                yield Problem("undecodable", str(error))
            except LineError as error:
                yield Problem(error.reason, str(error))
            else:
                yield _NO_TIME if needs_time and "timestamp" not in cells else cells


def begins_with_point(start: bytes) -> bool:
    """Returns whether the first line of a file or a record that has anything is a point with a timestamp."""
    cells = first_point(start)
    return cells is not None and "timestamp" in cells


def first_point(start: bytes) -> Cells | None:
    """Returns the first line that is neither blank nor a comment, or None where it is no point."""
    for line in lines_of(start.removeprefix(BOM_UTF8)):
        try:
            text = line.decode()
            if not is_blank(text):
                return parse_line(text)
        except (UnicodeDecodeError, LineError):
            return None
    return None
