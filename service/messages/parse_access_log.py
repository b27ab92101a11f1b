"""Parses records of access logs to columns of raw event fields, see `access_log` for their names."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import ClassVar

from service.config.input import InputConfig
from service.messages.access_log import is_entry, parse_entry
from service.messages.parse_lines import LineParser
from service.messages.parsed import Around
from service.messages.text_lines import Cells, lines_of


class AccessLogParser(LineParser):
    """Parses lines; blank lines have no events. What is the series and what the value is configured with the format.

    Args:
        settings: the fields, and the format, which says what is recognised.
        horizon: steps of known future values to keep.
    """

    form: ClassVar[str] = "access-log"

    def __init__(self, settings: InputConfig, horizon: int = 1) -> None:
        super().__init__(settings, settings.fields.of_entries, horizon)

    def hint(self, value: bytes) -> str:
        """See `LineParser`."""
        if self._format != "auto" or not begins_with_entry(value):
            return ""
        return (
            'got what may be a line of an access log, expected JSON; to read it, set input.format = "access-log", and '
            'input.fields.series and value, such as "path" and "request_time"'
        )

    def _is_blank(self, line: str) -> bool:
        return not line.strip(" \t\r\n")

    def _cells(self, line: str, around: Around) -> Cells:
        del around
        return parse_entry(line)


def begins_with_entry(start: bytes) -> bool:
    """Returns whether the first line of a file or a record that has anything is an entry of an access log."""
    first = next((line for line in lines_of(start.removeprefix(BOM_UTF8)) if line.strip()), b"")
    try:
        return is_entry(first.decode())
    except UnicodeDecodeError:
        return False
