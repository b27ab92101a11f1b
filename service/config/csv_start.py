"""How a CSV file begins."""

from __future__ import annotations

from typing import Final, NamedTuple


class CsvStart(NamedTuple):
    """How a CSV file begins.

    Attributes:
        skip_lines: lines before the header, or before the first record.
        has_header: whether a line with the names of the columns follows; otherwise these are column_1, column_2, ...
        separator: of the columns, a key of `service.messages.parse_csv.SEPARATORS`, or "auto".
    """

    skip_lines: int = 0
    has_header: bool = True
    separator: str = "auto"


USUAL_START: Final = CsvStart()
"""A file that begins with its header."""
