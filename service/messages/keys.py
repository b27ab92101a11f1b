"""The texts of keys and fields, as names."""

from __future__ import annotations

from typing import Final

EXACT: Final = 2**53
"""Whole numbers below it are exact as a float."""

_LONG: Final = 2**63


def text_of_key(key: bytes) -> str | None:
    """Returns the text of a key, or None where it is not UTF-8.

    A key of 4 or 8 bytes that begins with a zero byte is an integer, as Kafka's serialisers write it.
    """
    if len(key) in {4, 8} and key[0] == 0:
        return str(int.from_bytes(key, "big"))
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def text_of_field(raw: object) -> str | None:
    """Returns the text of a field, None for what names nothing: fractions, objects, arrays and null."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < EXACT:
        raw = int(raw)
    if isinstance(raw, int):
        return str(raw) if -_LONG <= raw < 2 * _LONG else None
    return raw if isinstance(raw, str) else None
