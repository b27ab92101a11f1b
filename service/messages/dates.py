"""Dates with a time of day as people and spreadsheets write them.

    2026/1/5 3:04 PM            the year first: never ambiguous
    5.1.2026, 15:04:05          the day first, with `input.fields.date_order = "dmy"`
    1/5/26 15:04 +01:00         the month first, with "mdy"

Years of two digits are 1970 to 2069. The parts of a date have one separator: a slash, a dot or a hyphen.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from service.config.input import DateOrder

_WRITTEN: Final = re.compile(
    r"(?P<date>(\d{1,4})(?P<sign>[./-])(\d{1,2})(?P=sign)(\d{1,4})|(\d{4})(\d\d)(\d\d)(?=\D))"
    r"((?:[Tt]|,?[ ]+)(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?:[ ]?(?P<half>[AaPp])\.?[Mm]\.?)?|[ ]?(?P<alone>[AaPp])\.?[Mm]\.?)"
    r"[ ]?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_CENTURY: Final = 70  # years of two digits from here on are of the 20th century


def parse_date(text: str, order: DateOrder = "ymd") -> datetime | None:
    """Parses a date, with or without a time of day; the result has no zone where the text has none.

    Args:
        text: without blanks around it.
        order: of dates whose year is not first.

    Returns:
        None where the text is no such date.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    date = _date(found, order)
    half = found["half"] or found["alone"]
    hour = int(found["hour"] or 0)
    if date is None or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + 12 * (half in "pP")
    part = int((found["part"] or "")[:6].ljust(6, "0"))
    try:
        clock = hour, int(found["minute"] or 0), int(found["second"] or 0), part
        return datetime(*date, *clock, tzinfo=_zone(found["zone"]))
    except ValueError:  # e.g. the 30th of February
        return None


def _date(found: re.Match[str], order: DateOrder) -> tuple[int, int, int] | None:
    """Returns year, month and day."""
    if found[6]:
        return int(found[6]), int(found[7]), int(found[8])
    first, second, last = found[2], found[4], found[5]
    if len(first) == 4:
        return (int(first), int(second), int(last)) if len(last) <= 2 else None
    if order == "ymd" or len(first) > 2 or len(last) not in {2, 4}:
        return None
    year = int(last) + (0 if len(last) == 4 else 1900 if int(last) >= _CENTURY else 2000)
    day, month = (first, second) if order == "dmy" else (second, first)
    return year, int(month), int(day)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text[0] not in "+-":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[3:].lstrip(":") or 0)
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
