"""Lines of text as flat records: what the formats of lines have in common."""

from __future__ import annotations

from collections.abc import Iterator

Cells = dict[str, object]
"""The parts of a line by their names: numbers, texts, None for what is missing."""


class LineError(ValueError):
    """A line is not of its format; `reason` is the code for its reject."""

    def __init__(self, detail: str, reason: str = "undecodable") -> None:
        super().__init__(detail)
        self.reason = reason


def lines_of(value: bytes) -> Iterator[bytes]:
    """Yields the lines of a record, one at a time, as a list of many short ones would need far more memory."""
    begin = 0
    while begin < len(value):
        end = value.find(b"\n", begin)
        end = len(value) if end < 0 else end
        yield value[begin:end]
        begin = end + 1
