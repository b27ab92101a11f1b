"""Limits the nesting depth of JSON records, before they are parsed.

The parsers are recursive and fail at a depth that depends on the interpreter's stack, which may differ between a first
read and a replay. A fixed limit gives the same result everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MAX_DEPTH: Final = 128
"""Largest nesting depth of arrays and objects in a record, in fields that are used or not."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # an unterminated string extends to the end
_TOKEN: Final = re.compile(_STRING.pattern + rb"|([\[{]++)|[\]}]++", re.DOTALL)
_QUOTE: Final = ord('"')


def without_strings(value: bytes) -> bytes:
    """Returns JSON without its strings, so that all brackets are those of arrays and objects."""
    return _STRING.sub(b"", value)


def too_deep(value: bytes) -> bool:
    """Returns whether a record is nested more than `MAX_DEPTH` levels deep, as far as it is JSON.

    It is read piece by piece: the parts of a text of brackets would take seventy times its memory.
    """
    if len(value) <= MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKEN.finditer(value):
        start, end = token.span()
        if token.lastindex:
            depth += end - start
            if depth > MAX_DEPTH:
                return True
        elif value[start] != _QUOTE:
            depth -= end - start
    return False


def deep_ones(values: Sequence[bytes], indices: Sequence[int]) -> list[int]:
    """Returns the indices whose records are nested too deeply."""
    return [index for index in indices if len(values[index]) > MAX_DEPTH and too_deep(values[index])]
