"""Bounds how deeply a JSON record may be nested, before any parser sees it.

The parsers are recursive and stop at the depth at which the interpreter's stack happens to end, which differs between
a first reading and a replay. A fixed bound gives the same verdict everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MAX_DEPTH: Final = 128
"""Levels of arrays and objects within each other that a record may have, in fields that are used or not."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # one without an end reaches to the end
_NO_BRACKET: Final = re.compile(rb"[^][{}]++")


def too_deep(value: bytes) -> bool:
    """Whether a record is nested more than `MAX_DEPTH` levels deep, as far as it is JSON."""
    if len(value) <= MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _NO_BRACKET.sub(b"", _STRING.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def deep_ones(values: Sequence[bytes], indices: Sequence[int]) -> list[int]:
    """Those of the indices whose records are nested too deeply."""
    return [index for index in indices if len(values[index]) > MAX_DEPTH and too_deep(values[index])]
