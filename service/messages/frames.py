"""The wire format of records whose schema is in a registry: a zero byte, the schema's id as uint32, the payload."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.messages.parsed import Problem

FRAME: Final = b"\0"
HEADER_BYTES: Final = 5
_JSON: Final = frozenset({b"{", b"["})


class FrameError(ValueError):
    """A record in the wire format cannot be decoded; `problem` is the reason for its reject."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(reason, detail)


class Wanted(NamedTuple):
    """The fields of the usual records of a configuration, by their keys from the record down through objects.

    Attributes:
        texts: strings that are not empty.
        time: a time: a number, a text, or `Milliseconds`.
        numbers: numbers, or null.
        without: names of fields with which a record is not usual.
        plain: first and last time in milliseconds that may be a plain number in place of `Milliseconds`.
    """

    texts: tuple[tuple[str, ...], ...]
    time: tuple[str, ...]
    numbers: tuple[tuple[str, ...], ...]
    without: frozenset[str]
    plain: tuple[int, int]


class Columns:
    """The wanted fields of the records of a batch.

    Args:
        wanted: the fields.
        count: the number of records, none of which is usual.

    Attributes:
        rows: the indices of all records, shape (n,).
        usual: the records whose fields are here; the others are to be decoded one by one, shape (n,).
        numbers: nan where null, shape (V, n).
    """

    __slots__ = ("_objects", "numbers", "rows", "usual")

    def __init__(self, wanted: Wanted, count: int) -> None:
        self.rows, self.usual = np.arange(count), np.zeros(count, np.bool_)
        self.numbers = np.full((len(wanted.numbers), count), np.nan)
        self._objects: list[Any] = [None] * (len(wanted.texts) + 1)  # the texts, and the time

    def put(self, slot: int, rows: NDArray[np.int64], found: Any) -> None:
        """Stores texts or times of some records.

        Args:
            slot: which text; -1: the time.
            rows: of the records; of all of them the same object as the attribute.
            found: a list of plain objects, or an array of objects.
        """
        if rows is self.rows:
            self._objects[slot] = found  # without a copy, as most batches have one schema
            return
        if self._objects[slot] is None:
            self._objects[slot] = np.empty(len(self.rows), object)
        self._objects[slot][rows] = found

    def objects(self, slot: int, begin: int, end: int) -> list[Any]:
        """Returns the texts or times of usual records from `begin` to before `end`."""
        found = self._objects[slot][begin:end]
        return found if isinstance(found, list) else found.tolist()


class Frames(Protocol):
    """Decodes records in the wire format, with schemas that were looked up before: pure, and the same in a replay."""

    def columns(self, values: Sequence[bytes], wanted: Wanted) -> Columns | None:
        """Decodes the usual ones among the records of a batch, with the same result as `decode`.

        Args:
            values: the records, in any format.
            wanted: the fields.

        Returns:
            The columns; None where `decode` is faster.
        """

    def decode(self, value: bytes) -> object:
        """Returns a record as plain objects, such as those that JSON has.

        Args:
            value: of a record for which `schema_id` returns an id.

        Raises:
            FrameError: its schema is unknown or cannot be used, or the payload does not fit it.
        """


def schema_id(value: bytes) -> int | None:
    """Returns the id of the schema of a record, None for a record in another format."""
    if value[:1] != FRAME or len(value) < HEADER_BYTES:
        return None
    return int.from_bytes(value[1:HEADER_BYTES], "big")


def frame_head(number: int) -> bytes:
    """Returns the beginning of a record in the wire format."""
    return FRAME + number.to_bytes(4, "big")


def schema_ids(values: Collection[bytes]) -> set[int]:
    """Returns the ids of all schemas of a batch."""
    heads = {value[:HEADER_BYTES] for value in values if value[:1] == FRAME}
    return {found for head in heads if (found := schema_id(head)) is not None}


def json_payload(value: bytes) -> bytes:
    """Returns the payload of a record in the wire format that looks like JSON; any other record as it is."""
    return value[HEADER_BYTES:] if value[:1] == FRAME and value[HEADER_BYTES : HEADER_BYTES + 1] in _JSON else value
