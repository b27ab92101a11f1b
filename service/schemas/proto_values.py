"""Converts Protobuf messages to plain objects, such as those that JSON has, for the mapping of fields.

A field has its name in the .proto file. Enums become their names, `Timestamp` becomes `Milliseconds`, wrappers their
value, maps objects with sorted names, because the library has them in no order. A field without presence that is not in
the payload has its default, as always in Protobuf; one with presence is None, and in a `oneof` it is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from service.messages.timestamps import Milliseconds
from service.schemas.logical import decimal_of

MOST_VALUES: Final = 100_000
"""Largest number of values of a record beyond one per byte: few bytes are many fields with their default."""

_MESSAGES: Final = frozenset({FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP})
_WRAPPERS: Final = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")


class TooManyValuesError(ValueError):
    """A payload has more values than `MOST_VALUES` allows."""


class _Field(NamedTuple):
    """How a field is read.

    Attributes:
        name: in the message.
        convert: of a value, of an element, or of the value of a map; None: none.
        repeated, is_map: a list, a map.
        presence: whether it may be unset; absent: whether it is left out then.
    """

    name: str
    convert: Callable[[Any], object] | None
    repeated: bool
    is_map: bool
    presence: bool
    absent: bool


class ValueReader:
    """Converts the messages of one schema. Used in one thread."""

    def __init__(self) -> None:
        self._plans: dict[str, tuple[_Field, ...] | Callable[[Any], object]] = {}
        self._left = 0
        # By file too, because any file may have a type of the same name with other fields.
        self._special: dict[tuple[str, str], Callable[[Any], object]] = {
            ("google/protobuf/timestamp.proto", "google.protobuf.Timestamp"): _milliseconds,
            ("google/protobuf/duration.proto", "google.protobuf.Duration"): _seconds,
            ("google/protobuf/struct.proto", "google.protobuf.Struct"): self._struct,
            ("google/protobuf/struct.proto", "google.protobuf.Value"): self._value,
            ("google/protobuf/struct.proto", "google.protobuf.ListValue"): self._list,
            ("confluent/type/decimal.proto", "confluent.type.Decimal"): _decimal,
            **{("google/protobuf/wrappers.proto", f"google.protobuf.{name}Value"): _wrapped for name in _WRAPPERS},
        }

    def read(self, message: Message, size: int) -> object:
        """Returns a message as plain objects.

        Args:
            message: parsed; the library has bounded its nesting.
            size: bytes of its payload.

        Raises:
            TooManyValuesError: it has too many values.
            ValueError: a value cannot be used, such as a text that is not UTF-8.
        """
        self._left = MOST_VALUES + size
        return self._message(message)

    def _message(self, message: Any) -> object:
        descriptor: Descriptor = message.DESCRIPTOR
        name = descriptor.full_name
        if (plan := self._plans.get(name)) is None:
            special = self._special.get((descriptor.file.name, name))
            plan = self._plans[name] = tuple(self._fields_of(descriptor)) if special is None else special
        if not isinstance(plan, tuple):
            return plan(message)
        self._count(len(plan))
        found: dict[str, object] = {}
        for one in plan:
            if one.presence and not message.HasField(one.name):
                if not one.absent:
                    found[one.name] = None
                continue
            value = getattr(message, one.name)
            if one.is_map:
                found[one.name] = self._map(value, one.convert)
            elif one.repeated:
                self._count(len(value))
                found[one.name] = list(value) if one.convert is None else [one.convert(item) for item in value]
            else:
                found[one.name] = value if one.convert is None else one.convert(value)
        return found

    def _fields_of(self, descriptor: Descriptor) -> Iterator[_Field]:
        described = descriptor_pb2.DescriptorProto()
        descriptor.CopyToProto(described)
        for field, one in zip(descriptor.fields, described.field, strict=True):
            is_map = field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry
            if is_map and not {"key", "value"} <= set(field.message_type.fields_by_name):  # protoc makes no such type
                msg = f"the map {field.name} has entries without a key or a value"
                raise ValueError(msg)
            yield _Field(
                field.name,
                self._converter(field.message_type.fields_by_name["value"] if is_map else field),
                field.is_repeated,
                is_map,
                # An explicit default, which only some files have, is the value of an unset field.
                field.has_presence and not field.has_default_value,
                one.HasField("oneof_index") and not one.proto3_optional,  # `optional` is a oneof of its own
            )

    def _converter(self, field: FieldDescriptor) -> Callable[[Any], object] | None:
        if field.type in _MESSAGES:
            return self._message
        return _enum(field.enum_type) if field.type == FieldDescriptor.TYPE_ENUM else None

    def _map(self, value: Any, convert: Callable[[Any], object] | None) -> dict[str, object]:
        self._count(len(value))
        names = sorted(value)  # of one type
        return {_text(name): value[name] if convert is None else convert(value[name]) for name in names}

    def _struct(self, message: Any) -> object:
        return self._map(message.fields, self._value)

    def _list(self, message: Any) -> object:
        self._count(len(message.values))
        return [self._value(one) for one in message.values]

    def _value(self, message: Any) -> object:
        kind = message.WhichOneof("kind")
        if kind is None or kind == "null_value":
            return None
        found: object = getattr(message, kind)
        if kind == "struct_value":
            return self._struct(found)
        return self._list(found) if kind == "list_value" else found

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            msg = f"it has more than {MOST_VALUES} values that take no byte each"
            raise TooManyValuesError(msg)


def _enum(kind: EnumDescriptor) -> Callable[[int], object]:
    """Returns the function that names the numbers of an enum; a number without a name remains."""
    names: Mapping[int, str] = {value.number: value.name for value in reversed(kind.values)}  # of aliases, the first
    return lambda number: names.get(number, number)


def _text(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _milliseconds(message: Any) -> Milliseconds:
    return Milliseconds(message.seconds * 1000 + message.nanos // 1_000_000)


def _seconds(message: Any) -> float:
    return float(message.seconds + message.nanos / 1e9)


def _wrapped(message: Any) -> object:
    found: object = message.value
    return found


def _decimal(message: Any) -> float:
    return decimal_of(message.value, message.scale)
