"""Readers of Avro for the fuzz tests: payloads with a fixed schema, and schemas with fixed payloads."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.messages.frames import FrameError
from service.ports import Records
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.schemas.schema import RegisteredSchema

_UNIT: Final = {"type": "enum", "name": "Unit", "symbols": ["s", "ms"]}
_POINT: Final = {
    "type": "record",
    "name": "Point",
    "fields": [{"name": "u", "type": _UNIT}, {"name": "x", "type": "int"}],
}
_FIELDS: Final[dict[str, Any]] = {
    "series": "string",
    "timestamp": {"type": "long", "logicalType": "timestamp-millis"},
    "value": ["null", "double", {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}],
    "more": {"type": "map", "values": {"type": "array", "items": ["null", _POINT]}},
}
SCHEMA: Final = json.dumps(
    {"type": "record", "name": "Event", "fields": [{"name": name, "type": kind} for name, kind in _FIELDS.items()]}
).encode()
PAYLOAD: Final = b"\2a\x80\xa0\xfa\xf8\xf3f\2\0\0\0\0\0\0\xf8?\2\2b\4\0\2\0\x06\0\0"


class _Shelf:
    """A registry with one schema."""

    def schema(self, _: int) -> RegisteredSchema:
        """Returns it."""
        return RegisteredSchema(SCHEMA.decode())

    def close(self) -> None:
        """Does nothing."""


def frames() -> SchemaFrames:
    """Returns what decodes records of the schema."""
    return SchemaFrames(_Shelf(), codec_of, 1)


def payload(data: bytes) -> None:
    """Decodes a payload: it is one event, or a reject with its bytes and a reason."""
    value, found = b"\0\0\0\0\1" + data, frames()
    found.prepare([value])
    decoded = Decoder(InputConfig(), 1, found).decode(Records("p-0", [0], 1, [value], timestamps_ms=[0]))
    assert len(decoded) + len(decoded.rejects) == 1
    for one in decoded.rejects:
        assert one.value == value
        assert one.detail


def schema(data: bytes) -> None:
    """Makes the decoder of a schema, and decodes payloads with it, which may not fit.

    Raises:
        SchemaError: the schema cannot be used.
    """
    decode = codec_of(RegisteredSchema(data.decode(errors="replace")))
    for one in (PAYLOAD, b"", b"\0" * 50, b"\2" * 50, b"\xff" * 50):
        with contextlib.suppress(FrameError):
            decode(b"\0\0\0\0\1" + one)
