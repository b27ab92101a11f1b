"""Finds how a CSV file begins: lines before the header, a header or none, and then the separator.

The shape of the file is that of the lines in its second half: the separator with which nearly all of them have the same
number of columns. What is above the first line of that shape is skipped: titles, `sep=;`, comments and annotations that
begin with #. Where nothing fits, the file is taken to begin with its header.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from service.config.csv_start import CsvStart
from service.config.input import InputConfig
from service.discovery.times import is_time
from service.messages.numbers import Notation, number_of
from service.messages.parse_csv import SEPARATORS, split
from service.sources.annotated_csv import ANNOTATIONS

_MOST_LINES: Final = 400  # that are looked at
_SHARE: Final = 0.9  # of the lines have the same number of columns
_FEWEST: Final = 2  # columns of a table
_NAMED_SEPARATOR: Final = re.compile(r'"?sep=.?"?', re.IGNORECASE)
_ORDERS: Final = ("ymd", "dmy", "mdy")


def find_csv_start(data: bytes, settings: InputConfig, *, complete: bool) -> CsvStart:
    """Returns how a file begins; what the settings name is kept.

    Args:
        data: its first bytes. complete: whether they are all of it.
        settings: separator, header and skip_lines.
    """
    named, known = settings.model_fields_set, settings.csv_start
    lines = data.decode("utf-8-sig", "replace").split("\n")
    lines = [line.rstrip("\r") for line in (lines if complete else lines[:-1])[:_MOST_LINES]]
    separator, width = _shape(lines, known.separator)
    if not width:
        return known
    skip = known.skip_lines if "skip_lines" in named else _preamble(lines, separator, width)
    rows = [cells for line in lines[skip:] if line.strip() and (cells := split(line, SEPARATORS[separator]))]
    has_header = known.has_header if "header" in named else not _is_record(rows, width)
    titles = [line for line in lines[:skip] if not _is_comment(line)]
    if titles and "skip_lines" not in named and not (has_header and _is_header(rows, width)):
        return known  # perhaps the header itself, with another number of columns
    return CsvStart(skip, has_header, known.separator if has_header else separator)


def _shape(lines: Sequence[str], setting: str) -> tuple[str, int]:
    """Returns the separator and the number of columns of the lower lines; 0 where they have no common number."""
    body = [line for line in lines if line.strip()]
    body = body[len(body) // 2 :]
    best, rank = ("", 0), (0.0, 0)
    for name in SEPARATORS if setting == "auto" else [setting]:
        rows = [split(line, SEPARATORS[name]) or [] for line in body]
        width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        if width < _FEWEST or count < _SHARE * len(rows):
            continue
        notation = Notation() if name == "," else Notation(",", ".")
        cells = [cell for row in rows if len(row) == width for cell in row]
        share = sum(_is_time(cell) or _is_number(cell, notation) or not cell for cell in cells) / len(cells)
        if (share, width) > rank:
            best, rank = (name, width), (share, width)
    return best


def _preamble(lines: Sequence[str], separator: str, width: int) -> int:
    """Returns the number of lines above the first one with `width` columns that is no comment."""
    fits = [len(split(line, SEPARATORS[separator]) or []) == width for line in lines]
    for at, line in enumerate(lines):
        if not fits[at] or _is_comment(line):
            continue
        above = lines[at - 1] if at else ""
        rows = [split(one, SEPARATORS[separator]) or [] for one in lines[at : at + 2]]
        is_names = at > 0 and fits[at - 1] and above.startswith("#") and not above.encode().startswith(ANNOTATIONS)
        return at - 1 if is_names and _is_record(rows, width) else at
    return 0


def _is_comment(line: str) -> bool:
    return not line.strip() or line.startswith("#") or _NAMED_SEPARATOR.fullmatch(line) is not None


def _is_record(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Returns whether the first line is a record like the second: a time in a column with times, or numbers only."""
    pairs = [row for row in rows[:2] if len(row) == width]
    if not pairs or len(rows[0]) != width:
        return False
    timed = any(all(_is_time(row[at]) and not row[at].strip().isdigit() for row in pairs) for at in range(width))
    return timed or all(_is_number(cell, Notation()) for row in pairs for cell in row)


def _is_header(rows: Sequence[Sequence[str]], width: int) -> bool:
    return bool(rows) and len(rows[0]) == width and not any(map(_is_time, rows[0]))


def _is_time(text: str) -> bool:
    return any(is_time(text, order) for order in _ORDERS)


def _is_number(text: str, notation: Notation) -> bool:
    value = number_of(text, notation)
    return value is not None and value == value  # noqa: PLR0124 - nan differs from itself
