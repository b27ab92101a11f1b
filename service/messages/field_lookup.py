"""Finds the fields of decoded records by their keys."""

from __future__ import annotations

from typing import Any, Final

from service.config.field_paths import Keys

ABSENT: Final = object()
"""What stands for a field that is not there."""


def is_there(record: object, keys: Keys) -> bool:
    """Returns whether a record has a field at these keys."""
    return find(record, keys) is not ABSENT


def find(base: object, keys: Keys) -> object:
    """Returns what is at the keys below an object, or `ABSENT`."""
    found: Any = base
    for key in keys:
        if isinstance(found, dict):
            found = found.get(key if isinstance(key, str) else str(key), ABSENT)
        elif isinstance(found, list) and isinstance(key, int):
            found = found[key] if key < len(found) else ABSENT
        else:
            return ABSENT
    return found
