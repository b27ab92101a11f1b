"""Readers of Protobuf for the fuzz tests: payloads with a fixed schema, and descriptors with fixed payloads."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Final

from google.protobuf import descriptor_pb2

from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.messages.frames import FrameError
from service.ports import Records
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.schemas.proto_files import MAIN, file_descriptors
from service.schemas.protobuf import decoder_of
from service.schemas.schema import PROTOBUF, RegisteredSchema

SCHEMA: Final = RegisteredSchema(
    """syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
enum Unit { S = 0; MS = 1; }
message Event {
  message Point { Unit u = 1; sint32 x = 2; Event inner = 3; }
  string series = 1; google.protobuf.Timestamp timestamp = 2; optional double value = 3;
  map<string, Point> more = 4; repeated Point points = 5; google.protobuf.Struct any = 6;
}
""",
    PROTOBUF,
)
PAYLOAD: Final = (
    b'\0\n\1a\x12\6\x08\x80\x92\xf4\xca\6\x19\0\0\0\0\0\0\xf8?"\x0b\n\1b\x12\6\x08\1\x10\4\x1a\0*\2\x10\3'
    b"2\x0c\n\n\n\1c\x12\5\x1a\3ddd"
)


class _Shelf:
    """A registry with one schema."""

    def schema(self, _: int) -> RegisteredSchema:
        """Returns it."""
        return SCHEMA

    def close(self) -> None:
        """Does nothing."""


@cache
def _frames() -> SchemaFrames:
    """Returns frames whose schema is compiled once."""
    return SchemaFrames(_Shelf(), codec_of, 1)


def payload(data: bytes) -> None:
    """Decodes a payload: it is one event, or a reject with its bytes and a reason."""
    value = b"\0\0\0\0\1" + data
    _frames().prepare([value])
    decoded = Decoder(InputConfig(), 1, _frames()).decode(Records("p-0", [0], 1, [value], timestamps_ms=[0]))
    assert len(decoded) + len(decoded.rejects) == 1
    for one in decoded.rejects:
        assert one.value == value
        assert one.detail


@cache
def descriptor() -> bytes:
    """Returns the compiled file of the schema."""
    return file_descriptors(SCHEMA)[-1].SerializeToString()


def schema(data: bytes) -> None:
    """Makes the decoder of a descriptor, as a registry may hold one, and decodes payloads with it.

    Raises:
        SchemaError: the schema cannot be used.
        DecodeError: it is no descriptor.
    """
    *others, _ = file_descriptors_once()
    file = descriptor_pb2.FileDescriptorProto.FromString(data)
    file.name = MAIN
    decode = decoder_of([*others, file], is_text=True)
    for one in (PAYLOAD, b"", b"\0" * 50, b"\2" * 50, b"\xff" * 50):
        with contextlib.suppress(FrameError):
            decode(b"\0\0\0\0\1" + one)


@cache
def file_descriptors_once() -> tuple[descriptor_pb2.FileDescriptorProto, ...]:
    """Returns the files of the schema."""
    return tuple(file_descriptors(SCHEMA))
