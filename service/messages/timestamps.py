"""Converts event times, ISO-8601 texts or numbers, to epoch milliseconds, in columns.

Texts without a zone are UTC. Fractions finer than a millisecond are truncated towards the past. A number is epoch
milliseconds, or epoch seconds where its absolute value is from 1e8 to below 1e11: as milliseconds these are days of
1966 to 1973, as seconds the years 1973 to 5138 and before 1966. Each number is interpreted independently, so that a
time is the same in every batch and replay. `input.time_unit` sets the unit of all numbers instead. A column in one of
the two usual forms (`2026-11-22T10:00:00Z`, with or without `.123`) is parsed without a Python object per value; any
other is parsed value by value, with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.config.input import TimeUnit

Time = int | float | str

EARLIEST_MS, LATEST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, the range of ISO-8601 texts."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d{9,16}\.\d{1,9}", re.ASCII)
_SECONDS: Final = (10**8, 10**11)  # range of the absolute values that are seconds
_FACTOR: Final = {"s": 1000, "ms": 1}
_DIVISOR: Final = {"us": 1000, "ns": 1_000_000}
_ISO = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)
_SHAPES = {20: "dddd-dd-ddTdd:dd:ddZ", 24: "dddd-dd-ddTdd:dd:dd.dddZ"}
EXPECTED = (
    'an ISO-8601 time such as "2026-11-22T10:00:00Z", epoch milliseconds or epoch seconds, in the years 1 to 9999 '
    "(numbers of another unit: input.time_unit)"
)


class Milliseconds(int):
    """An event time that is epoch milliseconds, for any value and any configured unit."""

    __slots__ = ()


def to_epoch_ms(times: Sequence[Time], unit: TimeUnit = "auto") -> tuple[NDArray[np.int64], list[int]]:
    """Converts a column of event times.

    Args:
        times: numbers, also as text; other texts are ISO-8601.
        unit: of the numbers; "auto": epoch seconds or epoch milliseconds, depending on the value.

    Returns:
        Epoch milliseconds, shape (n,), 0 where the value is not a time; and the indices of these values, rising.
    """
    kinds = set(map(type, times))
    fast = None
    if kinds == {str}:
        fast = _from_texts([time for time in times if isinstance(time, str)], unit)
    elif kinds == {int}:
        fast = _from_numbers(times, unit)
    elif kinds == {Milliseconds}:
        fast = _from_numbers(times, "ms")
    if fast is not None:
        return fast, []
    result = np.zeros(len(times), np.int64)
    bad = []
    for index, time in enumerate(times):
        one = parse_time(time, unit)
        if one is None:
            bad.append(index)
        else:
            result[index] = one
    return result, bad


def parse_time(time: Time, unit: TimeUnit = "auto") -> int | None:
    """Converts one event time to epoch milliseconds; None where it is not a time."""
    if isinstance(time, str):
        time = time.strip()
        if _DECIMAL.fullmatch(time):
            time = float(time)
        elif _NUMBER.fullmatch(time):
            time = int(time)
        else:
            return _from_iso(time)
    if isinstance(time, Milliseconds):
        unit = "ms"
    elif unit == "auto":
        unit = "s" if _SECONDS[0] <= abs(time) < _SECONDS[1] else "ms"
    if isinstance(time, float):
        if unit == "s" and abs(time) < _SECONDS[1] * 10:  # nan and inf are not times
            time, unit = round(time * 1000), "ms"
        elif not time.is_integer():  # a fraction of a millisecond means a wrong unit
            return None
    result = int(time) * _FACTOR[unit] if unit in _FACTOR else int(time) // _DIVISOR[unit]
    return result if EARLIEST_MS <= result <= LATEST_MS else None


def written(time_ms: int, unit: TimeUnit = "auto") -> int | str:
    """Formats epoch milliseconds for `parse_time`: the number, or ISO-8601 where the number is ambiguous."""
    if unit == "ms" or (unit == "auto" and not _SECONDS[0] <= abs(time_ms) < _SECONDS[1]):
        return time_ms
    return format_times(np.array([time_ms], np.int64))[0]


def on_both_sides(times: Sequence[Time]) -> bool:
    """Returns whether a column has integers that are interpreted as milliseconds and others that are seconds."""
    numbers = [abs(time) for time in times if type(time) is int]
    if not numbers or min(numbers) >= _SECONDS[0]:
        return False
    return any(_SECONDS[0] <= number < _SECONDS[1] for number in numbers)


def format_times(times_ms: NDArray[np.int64]) -> list[str]:
    """Formats times as ISO-8601 texts with milliseconds and Z, e.g. "2026-11-22T10:00:00.000Z".

    Args:
        times_ms: epoch milliseconds within the years 1 to 9999, shape (n,).
    """
    texts: list[str] = np.datetime_as_string(times_ms.astype("M8[ms]"), unit="ms").tolist()
    return [text + "Z" for text in texts]


def _from_iso(text: str) -> int | None:
    if not _ISO.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text.upper())
    except ValueError:  # e.g. the 30th of February
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    result = (time - _EPOCH) // _MILLISECOND
    return result if EARLIEST_MS <= result <= LATEST_MS else None


def _from_numbers(times: Sequence[Time], unit: TimeUnit) -> NDArray[np.int64] | None:
    try:
        numbers = np.array(times, np.int64)
    except OverflowError:
        return None
    if unit == "auto":
        size = np.abs(numbers)
        numbers = np.where((size >= _SECONDS[0]) & (size < _SECONDS[1]), numbers * 1000, numbers)
    elif unit == "s":
        if numbers.min() <= EARLIEST_MS or numbers.max() >= LATEST_MS:  # values outside of int64 take the slow path
            return None
        numbers = numbers * 1000
    elif unit in _DIVISOR:
        numbers = numbers // _DIVISOR[unit]
    if numbers.min() < EARLIEST_MS or numbers.max() > LATEST_MS:
        return None
    return numbers


def _from_texts(texts: list[str], unit: TimeUnit) -> NDArray[np.int64] | None:
    """Parses the complete column at once; None where a value needs the slow path."""
    shape = _SHAPES.get(len(texts[0]))
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
        if not fits.all():
            return None
    try:
        times = array.astype(f"U{len(shape) - 1}").astype("M8[ms]").astype(np.int64)
    except ValueError:
        return None
    return times if times.min() >= EARLIEST_MS else None  # numpy accepts the year 0
