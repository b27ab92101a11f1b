"""Makes the decoder of a schema, by its type."""

from __future__ import annotations

from collections.abc import Callable

from service.messages.depth import MAX_DEPTH, too_deep
from service.messages.frames import HEADER_BYTES, FrameError
from service.messages.parse_json import load_json
from service.schemas.avro import avro_decoder
from service.schemas.schema import AVRO, RegisteredSchema, SchemaError

Codec = Callable[[bytes], object]
"""Decodes a record in the wire format; raises FrameError where the payload does not fit the schema."""


def codec_of(schema: RegisteredSchema) -> Codec:
    """Returns the decoder of a schema.

    Raises:
        SchemaError: the schema cannot be used.
    """
    if schema.kind == AVRO:
        return avro_decoder(schema)
    if schema.kind == "JSON":
        return _decode_json
    what = "Protobuf" if schema.kind == "PROTOBUF" else f"of the type {schema.kind[:40]!r}"
    msg = f"got a schema that is {what}, which is not read yet, expected Avro or JSON Schema"
    raise SchemaError(msg)


def _decode_json(value: bytes) -> object:
    """Decodes a JSON payload. The schema validates it at its producer; here it is read like any other JSON record."""
    payload = value[HEADER_BYTES:]
    if too_deep(payload):
        msg = f"got values nested more than {MAX_DEPTH} levels deep, expected an object with the fields of an event"
        raise FrameError("undecodable", msg)
    try:
        return load_json(payload)
    except (ValueError, RecursionError) as error:
        problem = str(error)
    raise FrameError("undecodable", problem)
