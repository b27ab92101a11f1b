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


class Columns(NamedTuple):
    """The wanted fields of the records of a batch.

    Attributes:
        usual: the records whose fields are here; the others are to be decoded one by one, shape (n,).
        texts: shape (T, n). times: shape (n,). numbers: nan where null, shape (V, n).
    """

    usual: NDArray[np.bool_]
    texts: NDArray[Any]
    times: NDArray[Any]
    numbers: NDArray[np.float64]

    @classmethod
    def empty(cls, wanted: Wanted, count: int) -> Columns:
        """Creates the columns of so many records, none of them usual."""
        return cls(
            np.zeros(count, np.bool_),
            np.empty((len(wanted.texts), count), object),
            np.empty(count, object),
            np.full((len(wanted.numbers), count), np.nan),
        )


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
