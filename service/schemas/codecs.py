"""Makes the decoder of a schema, by its type."""

from __future__ import annotations

from collections.abc import Callable

from service.messages.depth import MAX_DEPTH, too_deep
from service.messages.frames import HEADER_BYTES, FrameError
from service.messages.parse_json import load_json
from service.schemas.avro import AvroDecoder
from service.schemas.protobuf import protobuf_decoder
from service.schemas.schema import AVRO, JSON_SCHEMA, PROTOBUF, TYPE_OF_FORMAT, RegisteredSchema, SchemaError

Codec = Callable[[bytes], object]
"""Decodes a record in the wire format; raises FrameError where the payload does not fit the schema."""


def codec_for(wanted: str) -> Callable[[RegisteredSchema], Codec]:
    """Returns the function that makes the decoders of schemas.

    Args:
        wanted: `input.format`; the schemas of other types than that of the format are refused.
    """
    kind = TYPE_OF_FORMAT.get(wanted)

    def make(schema: RegisteredSchema) -> Codec:
        if kind is not None and schema.kind != kind:
            msg = f'got a schema of the type {schema.kind[:40]}, expected {kind}, as input.format = "{wanted}" says'
            raise SchemaError(msg)
        return codec_of(schema)

    return make


def codec_of(schema: RegisteredSchema) -> Codec:
    """Returns the decoder of a schema.

    Raises:
        SchemaError: the schema cannot be used.
        SchemaRegistryError: it could not be compiled, for reasons other than itself; call it again later.
    """
    if schema.kind == AVRO:
        return AvroDecoder(schema)
    if schema.kind == JSON_SCHEMA:
        return _decode_json
    if schema.kind == PROTOBUF:
        return protobuf_decoder(schema)
    msg = f"got a schema of the type {schema.kind[:40]!r}, which is not read, expected Avro, Protobuf or JSON Schema"
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
