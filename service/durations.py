"""Durations as people write them: "500ms", "30s", "5m", "1h", "1d", or a number of seconds."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*", re.ASCII)
EXPECTED = 'a duration such as "500ms", "30s", "5m", "1h" or "1d", or a number of seconds'


def parse_duration(value: object) -> float:
    """Reads a duration.

    Args:
        value: text with a unit (ms, s, m, h, d, w), or a number of seconds, also as text.

    Returns:
        Seconds, finite and not negative.

    Raises:
        ValueError: it is neither; the text says what was expected.
    """
    if isinstance(value, str) and (found := _TEXT.fullmatch(value)):
        return float(found[1]) * _SECONDS[found[2] or "s"]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    msg = f"expected {EXPECTED}"
    raise ValueError(msg)


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as the same number, e.g. 1800.0 -> "30m"."""
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
"""As `Duration`; the empty text is 0.0, which the setting's description explains."""
