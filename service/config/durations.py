"""Durations in the forms "500ms", "30s", "5m", "1h", "1d", or a number of seconds; calendar steps in the form "1mo"."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
MONTH_SECONDS = 2_629_746.0
"""The mean month of the Gregorian calendar."""
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_CALENDAR = re.compile(r"\s*(\d{1,2})\s*(mo|q|y)\s*", re.ASCII)
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*", re.ASCII)
EXPECTED = 'a duration such as "500ms", "30s", "5m", "1h" or "1d", or a number of seconds'


def parse_duration(value: object) -> float:
    """Parses a duration.

    Args:
        value: text with a unit (ms, s, m, h, d, w), or a number of seconds, also as text.

    Returns:
        Seconds, finite and not negative.

    Raises:
        ValueError: the value is neither; the message states the expected form.
    """
    if isinstance(value, str) and (found := _TEXT.fullmatch(value)):
        return float(found[1]) * _SECONDS[found[2] or "s"]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    msg = f"expected {EXPECTED}"
    raise ValueError(msg)


def parse_months(value: object) -> int:
    """Returns the months of a calendar step: 1 for "1mo", 3 for "1q" or "3mo", 12 for "1y"; 0 for any other value.

    Raises:
        ValueError: the value is a calendar step of zero months or of more than a year.
    """
    found = _CALENDAR.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return 0
    months = int(found[1]) * _MONTHS[found[2]]
    if not 1 <= months <= 12:
        msg = 'expected "1mo" to "12mo", "1q" to "4q" or "1y"'
        raise ValueError(msg)
    return months


def format_months(months: int) -> str:
    """Formats a calendar step, e.g. 3 -> "3mo", 12 -> "1y"."""
    return f"{months // 12}y" if months % 12 == 0 else f"{months}mo"


def format_duration(seconds: float) -> str:
    """Formats a duration as the shortest text that `parse_duration` reads as the same number, e.g. 1800.0 -> "30m"."""
    for unit in ("d", "h", "m", "s", "ms"):
        count = round(seconds / _SECONDS[unit])
        if count and count * _SECONDS[unit] == seconds:
            return f"{count}{unit}"
    return f"{seconds:g}s" if seconds else "0s"


def _or_nothing(value: Any) -> float:
    return 0.0 if value == "" else parse_duration(value)


_SCHEMA = WithJsonSchema({"type": ["string", "number"], "description": EXPECTED})

Duration = Annotated[float, BeforeValidator(parse_duration), _SCHEMA]
"""Seconds; accepts the texts of `parse_duration`."""

OptionalDuration = Annotated[float, BeforeValidator(_or_nothing), _SCHEMA]
"""Like `Duration`, but the empty text is 0.0; the description of the setting says what 0.0 means."""
