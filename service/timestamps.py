"""Event times: ISO-8601 texts or epoch milliseconds in, epoch milliseconds out, a column at a time.

Texts without a zone are UTC. Fractions finer than a millisecond are cut off, towards the past. A column in
one of the two usual forms (`2026-11-22T10:00:00Z`, with or without `.123`) is parsed without a Python
object per value; any other goes value by value, with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Time = int | float | str

EARLIEST_MS, LATEST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, which is what ISO-8601 texts can say."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)
_SHAPES = {20: "dddd-dd-ddTdd:dd:ddZ", 24: "dddd-dd-ddTdd:dd:dd.dddZ"}
EXPECTED = 'an ISO-8601 time such as "2026-11-22T10:00:00Z" or epoch milliseconds, in the years 1 to 9999'


def to_epoch_ms(times: Sequence[Time]) -> tuple[NDArray[np.int64], list[int]]:
    """Converts a column of event times.

    Args:
        times: whole numbers are epoch milliseconds, also as text; other texts are ISO-8601.

    Returns:
        Epoch milliseconds, shape (n,), 0 where the value is no time; and the indices of these values, rising.
    """
    kinds = set(map(type, times))
    fast = None
    if kinds == {str}:
        fast = _from_texts([time for time in times if isinstance(time, str)])
    elif kinds == {int}:
        fast = _from_numbers(times)
    if fast is not None:
        return fast, []
    result = np.zeros(len(times), np.int64)
    bad = []
    for index, time in enumerate(times):
        one = parse_time(time)
        if one is None:
            bad.append(index)
        else:
            result[index] = one
    return result, bad


def parse_time(time: Time) -> int | None:
    """Epoch milliseconds of one event time, or None when it is none."""
    if isinstance(time, str):
        time = time.strip()
        if not _NUMBER.fullmatch(time):
            return _from_iso(time)
        time = int(time)
    elif isinstance(time, float):
        if not time.is_integer():  # a fraction of a millisecond is a mistake of unit; nan and inf are no times
            return None
        time = int(time)
    return time if EARLIEST_MS <= time <= LATEST_MS else None


def format_times(times_ms: NDArray[np.int64]) -> list[str]:
    """ISO-8601 texts with milliseconds and Z, e.g. "2026-11-22T10:00:00.000Z".

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
    except ValueError:  # the 30th of February and the like
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    result = (time - _EPOCH) // _MILLISECOND
    return result if EARLIEST_MS <= result <= LATEST_MS else None


def _from_numbers(times: Sequence[Time]) -> NDArray[np.int64] | None:
    try:
        numbers = np.array(times, np.int64)
    except OverflowError:
        return None
    if numbers.min() < EARLIEST_MS or numbers.max() > LATEST_MS:
        return None
    return numbers


def _from_texts(texts: list[str]) -> NDArray[np.int64] | None:
    """The whole column at once, or None when a value needs a closer look."""
    shape = _SHAPES.get(len(texts[0]))
    if shape is None or set(map(len, texts)) != {len(shape)}:
        digits = "".join(texts)
        if digits.isascii() and all(map(str.isdigit, texts)) and max(map(len, texts)) <= 18:
            return _from_numbers(list(map(int, texts)))
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
    return times if times.min() >= EARLIEST_MS else None  # numpy knows a year 0
