"""Protobuf records in the wire format, made by the library from the text of their schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from avro_records import frame
from google.protobuf import descriptor_pool, json_format, message_factory

from service.schemas.codecs import codec_of
from service.schemas.proto_files import file_descriptors
from service.schemas.schema import PROTOBUF, RegisteredSchema

EVENT = """syntax = "proto3";
package metrics;
import "google/protobuf/timestamp.proto";
message Event {
  string series = 1;
  google.protobuf.Timestamp timestamp = 2;
  optional double value = 3;
}
"""


def registered(text: str, name: str = "", references: Sequence[RegisteredSchema] = ()) -> RegisteredSchema:
    """Returns the text of a file as a registry has it."""
    return RegisteredSchema(text, PROTOBUF, tuple(references), name)


def in_file(body: str) -> RegisteredSchema:
    """Returns a schema with these definitions."""
    return registered(f'syntax = "proto3";\n{body}')


@cache
def message_class(schema: RegisteredSchema, name: str) -> Any:
    """Returns the class of a message of a schema."""
    pool = descriptor_pool.DescriptorPool()
    for file in file_descriptors(schema):
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


@cache
def decoder(schema: RegisteredSchema) -> Callable[[bytes], Any]:
    """Returns the decoder of a schema, made once."""
    return codec_of(schema)


def message(schema: RegisteredSchema, name: str, content: dict[str, Any]) -> Any:
    """Returns a message with this content, as the library's JSON has it."""
    return json_format.ParseDict(content, message_class(schema, name)())


def proto_record(
    schema: RegisteredSchema, name: str, content: dict[str, Any], indexes: bytes = b"\0", number: int = 1
) -> bytes:
    """Returns a record in the wire format, encoded by the library."""
    return frame(number, indexes + message(schema, name, content).SerializeToString())


def event_record(event: dict[str, Any], number: int = 1) -> bytes:
    """Returns an event with `timestamp` in epoch milliseconds."""
    made = message_class(registered(EVENT), "metrics.Event")()
    made.series = event["series"]
    made.timestamp.FromMilliseconds(event["timestamp"])
    if event["value"] is not None:
        made.value = event["value"]
    return frame(number, b"\0" + made.SerializeToString())
