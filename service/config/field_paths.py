"""Paths to fields within a record, as `input.fields` has them.

    value                   a field of the record, or a column of a CSV file
    sensor.location.id      a field of nested objects
    readings[0].value       an element of an array, counted from 0
    samples[].value         every element of an array: each one is an event of its own
    hourly[:].value         parallel arrays of an object: the first elements of all of them are an event,
                            then the second ones, and so on; [:].value where the record itself is the object
    /sensor/location.id     a JSON Pointer (RFC 6901), for names with dots or brackets; it has no arrays

A field whose name is the whole text takes precedence over a nested one, so that flat records may have names with dots.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

Keys = tuple[str | int, ...]
COLUMNS: Final = "[:]"
"""The last key of an array that is made of the parallel arrays of an object."""

_PART: Final = re.compile(r"(.*?)((?:\[(?:\d{0,9}|:)\])*)", re.DOTALL)
_INDEX: Final = re.compile(r"\[(\d*|:)\]")


class FieldPath(NamedTuple):
    """A parsed path.

    Attributes:
        text: as it was written; it is also the name of the field in the name of a series.
        arrays: the keys from the record to the first array whose elements are events, from its element to the next
            array within, and so on; empty without such arrays.
        keys: the keys from the innermost element, or the record, to the field.
    """

    text: str
    arrays: tuple[Keys, ...]
    keys: Keys

    @property
    def name(self) -> str:
        """The name of a column that the path refers to."""
        return str(self.keys[0]) if self.text.startswith("/") and len(self.keys) == 1 else self.text


def parse_path(text: str) -> FieldPath:
    """Parses a path.

    Raises:
        ValueError: it is empty or malformed; the message has what was received and what is expected.
    """
    if text.startswith("/"):
        return FieldPath(text, (), tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")))
    arrays, keys = list[Keys](), list[str | int]()
    for number, part in enumerate(text.split(".")):
        match = _PART.fullmatch(part)
        if match is None or not (match[1] or (match[2] and number == 0)):  # an array may be the record itself
            msg = f'got the path {text!r}, expected names such as "a.b", "a[0].b", "a[].b", "a[:].b" or "/a/b"'
            raise ValueError(msg)
        keys += [match[1]] if match[1] else []
        for index in _INDEX.findall(match[2]):
            if index.isdigit():
                keys.append(int(index))
            else:
                arrays.append((*keys, COLUMNS) if index else tuple(keys))
                keys = []
    return FieldPath(text, tuple(arrays), tuple(keys))


def is_plain(text: str) -> bool:
    """Returns whether a path is the name of a field of the record itself."""
    return parse_path(text)[1:] == ((), (text,))


def innermost(paths: list[FieldPath]) -> tuple[Keys, ...]:
    """Returns the arrays of the path with the most arrays, if those of all others enclose them.

    Raises:
        ValueError: two paths are in different arrays, so that their elements do not belong together.
    """
    deepest = max(paths, key=lambda path: len(path.arrays))
    for path in paths:
        if path.arrays != deepest.arrays[: len(path.arrays)]:
            msg = (
                f"got {path.text!r} and {deepest.text!r}, which are in different arrays; expected fields of one array "
                "and of the objects around it"
            )
            raise ValueError(msg)
    return deepest.arrays
