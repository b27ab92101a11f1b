"""Columns of the rows of several values: the rows of a record follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def repeated(column: Sequence[T], times: int) -> Sequence[T]:
    """Returns every element several times, one after the other."""
    return column if times == 1 else [item for item in column for _ in range(times)]


def interleaved(columns: Sequence[Sequence[T]]) -> Sequence[T]:
    """Returns the first elements of all columns, then the second ones, and so on."""
    return columns[0] if len(columns) == 1 else [item for row in zip(*columns, strict=True) for item in row]


def joined(start: list[str] | str, end: list[str] | str) -> list[str] | str:
    """Joins texts, each of them one per row or one for all rows."""
    if isinstance(start, str):
        if isinstance(end, str):
            return start + end
        return [start + text for text in end] if start else end
    if isinstance(end, str):
        return [text + end for text in start]
    return [one + other for one, other in zip(start, end, strict=True)]
