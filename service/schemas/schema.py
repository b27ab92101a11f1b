"""A schema as a registry has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

AVRO: Final = "AVRO"
"""The type of schemas for which a registry names none."""
PROTOBUF: Final = "PROTOBUF"
JSON_SCHEMA: Final = "JSON"


TYPE_OF_FORMAT: Final = {"avro": AVRO, "protobuf": PROTOBUF, "json-schema": JSON_SCHEMA}
"""The types of schemas, by `input.format`."""


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema and those that it refers to.

    Attributes:
        text: as registered.
        kind: "AVRO", "JSON", "PROTOBUF", or a type that the registry adds.
        references: the schemas that it refers to, each after those that it refers to itself.
        name: by which another schema refers to it: a type of Avro, or the path in an import of Protobuf.
    """

    text: str
    kind: str = AVRO
    references: Sequence[RegisteredSchema] = ()
    name: str = ""


class SchemaError(ValueError):
    """A schema is unknown or cannot be used; its records are rejected with this text."""
