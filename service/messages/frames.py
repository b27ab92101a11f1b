"""The wire format of records whose schema is in a registry: a zero byte, the schema's id as uint32, the payload."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from service.messages.parsed import Problem

FRAME: Final = b"\0"
HEADER_BYTES: Final = 5
_JSON: Final = frozenset({b"{", b"["})


class FrameError(ValueError):
    """A record in the wire format cannot be decoded; `problem` is the reason for its reject."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(reason, detail)


class Frames(Protocol):
    """Decodes records in the wire format, with schemas that were looked up before: pure, and the same in a replay."""

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
    return {found for value in values if (found := schema_id(value)) is not None}


def json_payload(value: bytes) -> bytes:
    """Returns the payload of a record in the wire format that looks like JSON; any other record as it is."""
    return value[HEADER_BYTES:] if value[:1] == FRAME and value[HEADER_BYTES : HEADER_BYTES + 1] in _JSON else value
