"""Records of one batch that differ in numbers only, as one array that reads as a sequence of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


class AlikeRecords(Sequence[bytes]):
    """Records of one size; equal to any sequence of the same bytes. A sink that knows them takes the array.

    Args:
        array: (n,) of a structure, C-contiguous; not changed afterwards.
    """

    __slots__ = ("array",)

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.array)

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> AlikeRecords: ...

    def __getitem__(self, at: int | slice) -> bytes | AlikeRecords:
        """Returns a record, or several."""
        if isinstance(at, slice):
            return AlikeRecords(np.ascontiguousarray(self.array[at]))
        record: bytes = self.array[at].tobytes()
        return record

    def __iter__(self) -> Iterator[bytes]:
        """Yields the records."""
        joined, size = self.array.tobytes(), self.array.dtype.itemsize
        return (joined[at : at + size] for at in range(0, len(joined), size))

    def __eq__(self, other: object) -> bool:
        """Returns whether another sequence has the same records."""
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        """Returns the text of the list of records."""
        return repr(list(self))
