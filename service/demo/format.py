"""Formats numbers for people in few columns: values with their unit, durations, bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

_BARS = "▁▂▃▄▅▆▇█"
_PREFIXES = ("", "k", "M", "G", "T", "P")


def number(value: float, unit: str = "") -> str:
    """Formats a value in at most seven columns: "12.3%", "-0.42", "1.20M" for 1.20 MB/s, "-" for no value."""
    if not math.isfinite(value):
        return "-"
    if unit == "%":
        return f"{round(value, 1) + 0.0:.1f}%"  # + 0.0 turns -0.0 into 0.0
    size, power = abs(value), 0
    while size >= 999.5 and power < len(_PREFIXES) - 1:
        size, power = size / 1000, power + 1
    if not unit and not power:
        return f"{round(value, 2) + 0.0:.2f}"
    digits = 0 if size >= 100 or not power else 1 if size >= 10 else 2
    return f"{math.copysign(size, value):.{digits}f}{_PREFIXES[power]}"


def ratio(value: float | None) -> str:
    """Formats a ratio with two digits in at most four columns, "-" for none."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 99.5 else ">99"


def clock(seconds: float) -> str:
    """Formats a duration as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def moment(timestamp_ms: int) -> str:
    """Formats epoch milliseconds as weekday, day and time of day in UTC: "Mon 30 Mar 13:30"."""
    return datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC).strftime("%a %d %b %H:%M")


def bars(values: Sequence[float], width: int) -> str:
    """Draws the newest `width` values as bars between their minimum and maximum; a constant series is a low line."""
    shown = [value for value in values if math.isfinite(value)][-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high == low:
        return _BARS[0] * len(shown)
    return "".join(_BARS[min(7, int(8 * (value - low) / (high - low)))] for value in shown)
