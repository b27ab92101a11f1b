"""A schema as a registry has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

AVRO: Final = "AVRO"
"""The type of schemas for which a registry names none."""


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema and those that it refers to.

    Attributes:
        text: as registered.
        kind: "AVRO", "JSON", "PROTOBUF", or a type that the registry adds.
        references: the schemas that it refers to, each after those that it refers to itself.
    """

    text: str
    kind: str = AVRO
    references: Sequence[RegisteredSchema] = ()


class SchemaError(ValueError):
    """A schema is unknown or cannot be used; its records are rejected with this text."""
