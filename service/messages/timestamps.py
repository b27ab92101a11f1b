"""Converts event times, ISO-8601 texts or numbers, to epoch milliseconds, in columns.

Texts without a zone have that of `input.fields.timezone`; dates that people write have the order of
`input.fields.date_order`, see `dates`; a month (`2026-01`) is its first day. Fractions finer than a millisecond are
truncated towards the past. A number is epoch milliseconds, or epoch seconds where its absolute value is from 1e8 to
below 1e11: as milliseconds these are days of 1966 to 1973, as seconds the years 1973 to 5138 and before 1966. From 1e15
(2001) on it is microseconds, from 1e17 (1973) on nanoseconds: as milliseconds these are later than the year 9999. Each
number is interpreted independently, so that a time is the same in every batch and replay. `input.fields.time_unit` sets
the unit of all numbers instead. A column in one of the usual forms (`2026-11-22T10:00:00Z`, with or without `.123`,
`2026-11-22 10:00:00`, or shorter) is parsed without a Python object per value; any other is parsed value by value, with
the same result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from forecaster.flat_text import LOW, MIDDLE
from service.config.input import DateOrder, TimeUnit
from service.messages.dates import parse_date

Time = int | float | str

EARLIEST_MS, LATEST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, the range of ISO-8601 texts."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{9,16}\.\d{1,9}", re.ASCII)
_SECONDS: Final = (10**8, 10**11)  # range of the absolute values that are seconds
_MICROSECONDS: Final = (10**15, 10**17)  # of those that are microseconds; larger ones are nanoseconds
_FACTOR: Final = {"s": 1000, "ms": 1}
_DIVISOR: Final = {"us": 1000, "ns": 1_000_000}
_ISO = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)
_BASIC = re.compile(r"\d{8}[Tt]\d{4}(\d\d([.,]\d{1,9})?)?(Z|z|[+-]\d\d(:?\d\d)?)?", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)
_SLASHES = re.compile(r"\d{4}/\d\d/\d\d(?=$|[Tt ])", re.ASCII)
_MAIL = re.compile(r"(\w{3}, +)?\d{1,2} \w{3} \d{4} \d\d:\d\d(:\d\d)? ([+-]\d{4}|GMT|UTC|UT|Z)", re.ASCII)  # RFC 2822
_SHAPES = {
    20: "dddd-dd-ddTdd:dd:ddZ", 24: "dddd-dd-ddTdd:dd:dd.dddZ",
    10: "dddd-dd-dd", 16: "dddd-dd-ddTdd:dd", 19: "dddd-dd-ddTdd:dd:dd",
}  # fmt: skip
EXPECTED = (
    'an ISO-8601 time such as "2026-11-22T10:00:00Z", epoch milliseconds or epoch seconds, in the years 1 to 9999 '
    "(numbers of another unit: input.fields.time_unit; dates with the day or the month first: input.fields.date_order; "
    "texts have an offset such as +01:00, or the zone of input.fields.timezone; the date in another field: a list in "
    "input.fields.timestamp)"
)


class Milliseconds(int):
    """An event time that is epoch milliseconds, for any value and any configured unit."""

    __slots__ = ()


def to_epoch_ms(
    times: Sequence[Time], unit: TimeUnit = "auto", zone: str = "UTC", order: DateOrder = "ymd"
) -> tuple[NDArray[np.int64], list[int]]:
    """Converts a column of event times.

    Args:
        times: numbers, also as text; other texts are ISO-8601, or dates of mails (RFC 2822).
        unit: of the numbers; "auto": depending on the value.
        zone: of the texts without one. Of a time that its clock shows twice, the first one is meant; a time that it
            skips is moved by the change.
        order: of dates whose year is not first.

    Returns:
        Epoch milliseconds, shape (n,), 0 where the value is not a time; and the indices of these values, rising.
    """
    kinds = set(map(type, times))
    fast = None
    if kinds == {str}:
        fast = _from_texts([time for time in times if isinstance(time, str)], unit, zone)
    elif kinds == {int}:
        fast = _from_numbers(times, unit)
    elif kinds == {Milliseconds}:
        fast = _from_numbers(times, "ms")
    if fast is not None:
        return fast, []
    result = np.zeros(len(times), np.int64)
    bad = []
    for index, time in enumerate(times):
        one = parse_time(time, unit, zone, order)
        if one is None:
            bad.append(index)
        else:
            result[index] = one
    return result, bad


def parse_time(time: Time, unit: TimeUnit = "auto", zone: str = "UTC", order: DateOrder = "ymd") -> int | None:
    """Converts one event time to epoch milliseconds; None where it is not a time."""
    if isinstance(time, str):
        time = time.strip()
        if _DECIMAL.fullmatch(time):
            time = float(time)
        elif _NUMBER.fullmatch(time):
            time = int(time)
        else:
            return _from_text(time, zone, order)
    if isinstance(time, Milliseconds):
        unit = "ms"
    elif unit == "auto":
        unit = _unit_of(abs(time))
    if isinstance(time, float):
        if unit == "s" and abs(time) < _SECONDS[1] * 10:  # nan and inf are not times
            time, unit = round(time * 1000), "ms"
        elif not time.is_integer():  # a fraction of a millisecond means a wrong unit
            return None
    result = int(time) * _FACTOR[unit] if unit in _FACTOR else int(time) // _DIVISOR[unit]
    return result if EARLIEST_MS <= result <= LATEST_MS else None


def _unit_of(size: float) -> TimeUnit:
    if size < _MICROSECONDS[0]:
        return "s" if _SECONDS[0] <= size < _SECONDS[1] else "ms"
    return "us" if size < _MICROSECONDS[1] else "ns"


def written(time_ms: int, unit: TimeUnit = "auto") -> int | str:
    """Formats epoch milliseconds for `parse_time`: the number, or ISO-8601 where the number would have another unit.

    Milliseconds outside of the years 1 to 9999 become a text that is no time.
    """
    if not EARLIEST_MS <= time_ms <= LATEST_MS:
        return f"{time_ms} ms"
    if unit == "ms" or (unit == "auto" and not _SECONDS[0] <= abs(time_ms) < _SECONDS[1]):
        return time_ms
    return format_times(np.array([time_ms], np.int64))[0]


def plain_milliseconds(unit: TimeUnit) -> tuple[int, int]:
    """Returns the first and the last time in milliseconds that a plain number means with this unit of numbers."""
    if unit == "auto":
        return _SECONDS[1], LATEST_MS
    return (EARLIEST_MS, LATEST_MS) if unit == "ms" else (0, -1)


def sizes_of(times: Sequence[Time]) -> int:
    """Returns which integers a column has, bits of `forecaster.flat_text`: `LOW` in milliseconds, `MIDDLE` in seconds.

    Larger ones are not distinguished; a column with both has numbers whose unit is not certain.
    """
    sizes = [abs(time) for time in times if type(time) is int]
    low = LOW if min(sizes, default=_SECONDS[0]) < _SECONDS[0] else 0
    return low | (MIDDLE if any(_SECONDS[0] <= size < _SECONDS[1] for size in sizes) else 0)


def count_clock_changes(times: Sequence[Time], zone: str, order: DateOrder = "ymd") -> int:
    """Counts the texts without a zone of their own whose time the clock of `zone` shows twice, or skips."""
    if zone == "UTC":
        return 0
    there = [
        time.replace(tzinfo=ZoneInfo(zone))
        for text in times
        if isinstance(text, str) and (time := _as_datetime(text.strip(), order)) is not None and time.tzinfo is None
    ]
    return sum(time.utcoffset() != time.replace(fold=1).utcoffset() for time in there)


def format_times(times_ms: NDArray[np.int64]) -> list[str]:
    """Formats times as ISO-8601 texts with milliseconds and Z, e.g. "2026-11-22T10:00:00.000Z".

    Args:
        times_ms: epoch milliseconds within the years 1 to 9999, shape (n,).
    """
    texts: list[str] = np.datetime_as_string(times_ms.astype("M8[ms]"), unit="ms").tolist()
    return [text + "Z" for text in texts]


def _from_text(text: str, zone: str, order: DateOrder) -> int | None:
    time = _as_datetime(text, order)
    if time is None:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC if zone == "UTC" else ZoneInfo(zone))
    try:
        result = (time.astimezone(UTC) - _EPOCH) // _MILLISECOND
    except OverflowError:  # the first or last day of the calendar, in another zone
        return None
    return result if EARLIEST_MS <= result <= LATEST_MS else None


def _as_datetime(text: str, order: DateOrder) -> datetime | None:
    """Parses a text; the result has no zone where the text has none."""
    if _SLASHES.match(text):
        text = text[:10].replace("/", "-") + text[10:]
    elif _MONTH.fullmatch(text):
        text += "-01"
    try:
        if _ISO.fullmatch(text) or _BASIC.fullmatch(text):
            return datetime.fromisoformat(text.upper())
        if not _MAIL.fullmatch(text):
            return parse_date(text, order)
        time = parsedate_to_datetime(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time  # "-0000" is UTC, from an unknown zone
    except ValueError:  # e.g. the 30th of February
        return None


def _from_numbers(times: Sequence[Time], unit: TimeUnit) -> NDArray[np.int64] | None:
    try:
        numbers = np.array(times, np.int64)
    except OverflowError:
        return None
    if unit == "auto":
        size = np.abs(numbers)
        if size.max(initial=0) >= _MICROSECONDS[0]:
            fine = np.where(size < _MICROSECONDS[1], numbers // _DIVISOR["us"], numbers // _DIVISOR["ns"])
            numbers = np.where(size < _MICROSECONDS[0], _from_coarse(numbers, size), fine)
        else:
            numbers = _from_coarse(numbers, size)
    elif unit == "s":
        if numbers.min() <= EARLIEST_MS or numbers.max() >= LATEST_MS:  # values outside of int64 take the slow path
            return None
        numbers = numbers * 1000
    elif unit in _DIVISOR:
        numbers = numbers // _DIVISOR[unit]
    if numbers.min() < EARLIEST_MS or numbers.max() > LATEST_MS:
        return None
    return numbers


def _from_coarse(numbers: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Converts numbers that are seconds or milliseconds."""
    return np.where((size >= _SECONDS[0]) & (size < _SECONDS[1]), numbers * 1000, numbers)


def _from_texts(texts: list[str], unit: TimeUnit, zone: str) -> NDArray[np.int64] | None:
    """Parses the complete column at once; None where a value needs the slow path."""
    shape = _SHAPES.get(len(texts[0]))
    if shape is not None and zone != "UTC" and not shape.endswith("Z"):
        return None
    if shape is None or set(map(len, texts)) != {len(shape)}:
        digits = "".join(texts)
        if digits.isascii() and all(map(str.isdigit, texts)) and max(map(len, texts)) <= 18:
            return _from_numbers(list(map(int, texts)), unit)
        return None
    array = np.array(texts)
    codes = array.view(np.uint32).reshape(len(texts), len(shape))  # (n, 20) or (n, 24) code points
    for column, expected in enumerate(shape):
        found = codes[:, column]
        fits = (found >= 48) & (found <= 57) if expected == "d" else found == ord(expected)
        if expected == "T":
            fits |= found == ord(" ")
        if not fits.all():
            return None
    try:
        times = array.astype(f"U{len(shape.removesuffix('Z'))}").astype("M8[ms]").astype(np.int64)
    except ValueError:
        return None
    return times if times.min() >= EARLIEST_MS else None  # numpy accepts the year 0
