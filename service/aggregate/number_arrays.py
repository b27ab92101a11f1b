"""Compact lists of numbers as fields of structs, and how snapshots encode them: as the bytes of the numbers.

A struct with such fields is encoded by msgspec in one call for all windows, several times faster than with an
array of numpy for each window.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    _Integers: TypeAlias = array[int]
    _Reals: TypeAlias = array[float]
else:
    _Integers = _Reals = array


class Integers(_Integers):
    """Numbers of 64 bits."""

    __slots__ = ()

    def __new__(cls, numbers: bytes | Iterable[int] = b"") -> Self:
        """Converts numbers, or their bytes."""
        return super().__new__(cls, "q", numbers)  # type: ignore[return-value] # typeshed: an array


class SmallIntegers(_Integers):
    """Numbers of 32 bits."""

    __slots__ = ()

    def __new__(cls, numbers: bytes | Iterable[int] = b"") -> Self:
        """Converts numbers, or their bytes."""
        return super().__new__(cls, "i", numbers)  # type: ignore[return-value] # typeshed: an array


class Reals(_Reals):
    """Numbers of 64 bits with a fraction."""

    __slots__ = ()

    def __new__(cls, numbers: bytes | Iterable[float] = b"") -> Self:
        """Converts numbers, or their bytes."""
        return super().__new__(cls, "d", numbers)  # type: ignore[return-value] # typeshed: an array


def to_bytes(part: Any) -> bytes | memoryview:
    """Returns the state of a field that msgspec does not know: numbers, or what has `to_bytes`."""
    return memoryview(part) if isinstance(part, array) else part.to_bytes()


def from_bytes(kind: Any, state: Any) -> Any:
    """Returns a field of a kind from what `to_bytes` returned.

    Raises:
        ValueError: the state is not one of that kind.
    """
    if not isinstance(state, bytes):
        msg = f"got {type(state).__name__}, expected the bytes of {kind.__name__}"
        raise ValueError(msg)  # noqa: TRY004 - a wrong state, whatever is wrong with it
    return kind(state) if issubclass(kind, array) else kind.from_bytes(state)
