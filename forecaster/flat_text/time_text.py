"""Reads event times, ISO-8601 texts with a zone and numbers since 1970; a piece of kernels.

    days = 365 y + y / 4 - y / 100 + y / 400 + (153 m + 2) / 5 + d - 719469     in years y that begin in March, months
                                                                                m from 0 (March) on

(Hinnant, chrono-compatible low-level date algorithms.) Times of other forms, and the first and the last year, are left
to the caller.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from forecaster.flat_text.layout import AUTO, LOW, MICROSECONDS, MIDDLE, MILLISECONDS, NANOSECONDS, SECONDS
from forecaster.flat_text.number_text import INTEGER
from forecaster.kernels.jit import inlined

EARLIEST_MS: Final = -62_135_596_800_000
LATEST_MS: Final = 253_402_300_799_999
"""The years 1 to 9999."""

COARSE: Final = (10**8, 10**11)
FINE: Final = (10**15, 10**17)
"""Sizes from which on numbers are microseconds, and nanoseconds."""

_DAYS: Final = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@inlined
def _digits(text: Any, at: int, count: int) -> Any:
    """Returns the number of some digits, -1 where one is none."""
    found: Any = 0
    for i in range(at, at + count):
        if text[i] < 48 or text[i] > 57:
            return -1
        found = found * 10 + np.int64(text[i]) - 48
    return found


@inlined
def _days(year: int, month: int, day: int) -> int:
    """Returns the days since 1970 of a date of the years from 1 on."""
    y = year - (month <= 2)
    m = (month + 9) % 12
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 719469


@inlined
def text_time(text: Any, at: int, end: int) -> Any:
    """Reads `2026-11-22T10:00:00`, perhaps with a fraction of up to nine digits, and `Z` or an offset `+01:00`.

    Args:
        text: (N,) uint8. at, end: its first byte, and behind its last one.

    Returns:
        Whether it is such a text, and epoch milliseconds; fractions are truncated towards the past.
    """
    if end - at < 20 or end - at > 36:
        return False, 0
    year, month, day = _digits(text, at, 4), _digits(text, at + 5, 2), _digits(text, at + 8, 2)
    hour, minute, second = _digits(text, at + 11, 2), _digits(text, at + 14, 2), _digits(text, at + 17, 2)
    marks = text[at + 4] == 45 and text[at + 7] == 45 and text[at + 13] == 58 and text[at + 16] == 58
    if not marks or not (text[at + 10] == 84 or text[at + 10] == 32):
        return False, 0
    if year < 2 or year > 9998 or month < 1 or month > 12 or day < 1 or hour < 0 or minute < 0 or second < 0:
        return False, 0
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _DAYS[month] + leap or hour > 23 or minute > 59 or second > 59:
        return False, 0
    at += 19
    fraction: Any = 0
    if text[at] == 46:
        at += 1
        count = 0
        while at < end and 48 <= text[at] <= 57:
            if count < 3:
                fraction = fraction * 10 + np.int64(text[at]) - 48
            count += 1
            at += 1
        if count < 1 or count > 9:
            return False, 0
        while count < 3:
            fraction *= 10
            count += 1
    offset = 0
    if at >= end:
        return False, 0
    if text[at] == 90:
        at += 1
    elif end - at == 6 and (text[at] == 43 or text[at] == 45) and text[at + 3] == 58:
        hours, minutes = _digits(text, at + 1, 2), _digits(text, at + 4, 2)
        if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
            return False, 0
        offset = (hours * 60 + minutes) * (-1 if text[at] == 45 else 1)
        at += 6
    seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset * 60
    return at == end, seconds * 1000 + fraction


@inlined
def number_time(kind: int, value: float, whole: int, unit: int) -> Any:
    """Reads a number since 1970, see `forecaster.flat_text.number_text.number_at`.

    Args:
        kind, value, whole: of the number.
        unit: `AUTO`, `SECONDS`, ...

    Returns:
        Whether it is read here; epoch milliseconds; and `LOW` or `MIDDLE` where it is an integer of that size, else 0.
    """
    if kind != INTEGER:
        size = abs(value)
        if (unit == AUTO and COARSE[0] <= size < COARSE[1]) or (unit == SECONDS and size < COARSE[1]):
            return True, np.int64(np.rint(value * 1000.0)), 0
        return False, 0, 0
    size = abs(whole)
    band = LOW if size < COARSE[0] else MIDDLE if size < COARSE[1] else 0
    if unit == AUTO:
        unit = MILLISECONDS
        if band == MIDDLE:
            unit = SECONDS
        elif size >= FINE[1]:
            unit = NANOSECONDS
        elif size >= FINE[0]:
            unit = MICROSECONDS
    if unit == SECONDS:
        if size > LATEST_MS:
            return False, 0, 0
        ms = whole * 1000
    elif unit == MILLISECONDS:
        ms = whole
    elif unit == MICROSECONDS:
        ms = whole // 1000
    else:
        ms = whole // 1000000
    return EARLIEST_MS <= ms <= LATEST_MS, ms, band
