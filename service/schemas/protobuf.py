"""Decodes Protobuf payloads with the schema that they were written with.

Behind the id of the schema, Confluent's format has the place of the payload's type in the file: the number of its
indexes, then the index of a message at the top, of one within that, and so on; a single 0 is the first message. They
are integers as Protobuf encodes sint32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from service.messages.frames import HEADER_BYTES, FrameError
from service.schemas.proto_files import as_descriptor, file_descriptors
from service.schemas.proto_values import ValueReader
from service.schemas.schema import RegisteredSchema, SchemaError

_FIRST: Final = (0,)
_MOST_INDEXES: Final = 100  # the library nests no deeper
_VARINT_BYTES: Final = 5  # of 32 bits


def protobuf_decoder(schema: RegisteredSchema) -> Callable[[bytes], object]:
    """Returns the function that decodes records in the wire format; see `service.schemas.proto_values`.

    Args:
        schema: with the files that it imports.

    Raises:
        SchemaError: it cannot be compiled, or is refused.
        SchemaRegistryError: the compiler did not run.
    """
    return decoder_of(file_descriptors(schema), is_text=as_descriptor(schema.text) is None)


def decoder_of(files: Sequence[descriptor_pb2.FileDescriptorProto], *, is_text: bool) -> Callable[[bytes], object]:
    """Returns the decoder of a compiled schema.

    Args:
        files: the last one is the schema; those that it imports are before it.
        is_text: whether it was registered as a text, in which the types of the entries of maps are not counted.

    Raises:
        SchemaError: the files do not fit together.
    """
    types, reader = _Types(files, is_text=is_text), ValueReader()

    def decode(value: bytes) -> object:
        indexes, start = message_indexes(value)
        kind = types.at(indexes)
        if kind is None:
            problem = f"its schema has no message with the indexes {list(indexes)}"
        else:
            try:
                return reader.read(kind.FromString(value[start:]), len(value) - start)
            except (DecodeError, ValueError, ArithmeticError) as error:
                problem = str(error)
        msg = f"got a payload of {len(value) - HEADER_BYTES} bytes that does not fit its Protobuf schema: {problem}"
        raise FrameError("undecodable", msg)

    return decode


def message_indexes(value: bytes) -> tuple[tuple[int, ...], int]:
    """Returns the indexes of the type of a record in the wire format, and where its message begins.

    Raises:
        FrameError: there are none.
    """
    count, at = _sint(value, HEADER_BYTES)
    if count == 0:
        return _FIRST, at
    if not 0 < count <= _MOST_INDEXES:
        raise _unfit(value, f"got {count} as the number of message indexes")
    found = []
    for _ in range(count):
        index, at = _sint(value, at)
        found.append(index)
    return tuple(found), at


def _sint(value: bytes, at: int) -> tuple[int, int]:
    """Returns an integer as Protobuf encodes sint32, and where it ends."""
    number = 0
    for place, byte in enumerate(value[at : at + _VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + place + 1
    raise _unfit(value, "its message indexes end early")


def _unfit(value: bytes, problem: str) -> FrameError:
    return FrameError("undecodable", f"got {len(value)} bytes that are no Protobuf record: {problem}")


class _Types:
    """The classes of the messages of a file, by their indexes."""

    def __init__(self, files: Sequence[descriptor_pb2.FileDescriptorProto], *, is_text: bool) -> None:
        self._pool, self._file, self._is_text = descriptor_pool.DescriptorPool(), files[-1], is_text
        self._known: dict[tuple[int, ...], type[Message]] = {}
        try:
            for file in files:
                self._pool.Add(file)
                self._pool.FindFileByName(file.name)  # builds it
        except (TypeError, KeyError, ValueError) as error:
            msg = f"got a Protobuf schema that cannot be read: {str(error)[:200]}"
            raise SchemaError(msg) from None

    def at(self, indexes: tuple[int, ...]) -> Any:
        """Returns the class of a message, or None where there is none."""
        if (found := self._known.get(indexes)) is None and (name := self._name(indexes)):
            found = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
            self._known[indexes] = found
        return found

    def _name(self, indexes: tuple[int, ...]) -> str:
        """Returns the full name of a message, empty where there is none."""
        names, inner = [self._file.package] if self._file.package else [], self._file.message_type
        for index in indexes:
            shown = [one for one in inner if not (self._is_text and one.options.map_entry)]
            if not 0 <= index < len(shown):
                return ""
            names.append(shown[index].name)
            inner = shown[index].nested_type
        return ".".join(names)
