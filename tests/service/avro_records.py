"""Avro records in the wire format, and a registry in a dictionary."""

from __future__ import annotations

import io
import json
from typing import Any

from fastavro import parse_schema, schemaless_writer

from service.config.input import InputConfig
from service.messages.decode import Decoded, Decoder
from service.ports import Records
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.schemas.schema import RegisteredSchema, SchemaError

EVENT = {
    "type": "record",
    "name": "Event",
    "namespace": "metrics",
    "fields": [
        {"name": "series", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "value", "type": ["null", "double"], "default": None},
    ],
}


class Shelf:
    """A registry in a dictionary; counts the lookups."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        self.schemas, self.asked, self.closed = schemas, list[int](), False

    def schema(self, number: int) -> RegisteredSchema:
        """Returns a schema, or raises what is in its place."""
        self.asked.append(number)
        found = self.schemas.get(number, SchemaError("the registry does not have it"))
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, RegisteredSchema) else RegisteredSchema(json.dumps(found))

    def close(self) -> None:
        """Notes that it was closed."""
        self.closed = True


def frame(number: int, payload: bytes) -> bytes:
    """Returns a payload in the wire format."""
    return b"\0" + number.to_bytes(4, "big") + payload


def encoded(schema: Any, record: Any, number: int = 1) -> bytes:
    """Returns a record in the wire format, encoded by the library."""
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema(schema), record)
    return frame(number, stream.getvalue())


def frames_with(schemas: dict[int, Any], most: int = 100, **more: Any) -> SchemaFrames:
    """Returns frames over schemas as JSON."""
    return SchemaFrames(Shelf(schemas), codec_of, most, **more)


def decoded(frames: SchemaFrames, values: list[bytes], **settings: Any) -> Decoded:
    """Decodes records of a topic as the loop does."""
    frames.prepare(values)
    config = InputConfig.model_validate({"max_ahead": 0, **settings})
    return Decoder(config, 2, frames).decode(Records("in-0", range(len(values)), len(values), values))
