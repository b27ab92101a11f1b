"""Parses records of InfluxDB line protocol to columns of raw event fields, see `line_protocol` for their names."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import ClassVar, Final

from service.config.input import InputConfig
from service.messages.line_protocol import is_blank, parse_line
from service.messages.parse_lines import LineParser
from service.messages.parsed import Around
from service.messages.text_lines import Cells, LineError, lines_of

_NO_TIME: Final = (
    "got a line without a timestamp, expected a number at its end: only records of Kafka have a time of their own"
)


class InfluxParser(LineParser):
    """Parses lines; comments and blank lines have no events.

    Args:
        settings: the fields, and the format, which says what is recognised.
        horizon: steps of known future values to keep.
    """

    form: ClassVar[str] = "influx"
    shows_itself: ClassVar[bool] = True

    def __init__(self, settings: InputConfig, horizon: int = 1) -> None:
        names = settings.fields.of_lines
        super().__init__(settings, names, horizon)
        self._ends_in_time = names.timestamp == "timestamp"

    def hint(self, value: bytes) -> str:
        """See `LineParser`; with a timestamp, it would have been recognised."""
        if self._format != "auto" or first_point(value) is None:
            return ""
        return (
            "got what may be InfluxDB line protocol without a timestamp, expected JSON; to read it, set "
            'input.format = "influx"'
        )

    def _shows(self, value: bytes) -> bool:
        """Returns whether the first point has a timestamp: `error code=5` is a point, and a line of a log as well."""
        return begins_with_point(value)

    def _is_blank(self, line: str) -> bool:
        return is_blank(line)

    def _cells(self, line: str, around: Around) -> Cells:
        cells = parse_line(line)
        if self._ends_in_time and around.timestamps_ms is None and "timestamp" not in cells:
            raise LineError(_NO_TIME, "missing_field")
        return cells


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
