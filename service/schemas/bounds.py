"""Refuses Avro schemas with which a few bytes could fill the memory or the stack; computed once per schema.

The library reads whatever a payload says, e.g. an array of ten million nulls from five bytes, and ends the process
where records are nested in records of the same schema without end. With the schemas accepted here, a payload of n bytes
becomes at most n * (1 + MOST_FREE) + MOST_FIXED values, nested at most `MAX_DEPTH` levels deep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from service.messages.depth import MAX_DEPTH
from service.schemas.schema import SchemaError

MOST_FREE: Final = 4
"""Largest number of values, per byte of an element of an array or a map, that take no byte themselves."""
MOST_FIXED: Final = 10_000
"""Largest number of values of a record that take no byte."""

_LEAST: Final = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1}


class Size(NamedTuple):
    """Bounds of the values of a type.

    Attributes:
        least: smallest number of bytes of a value.
        free: largest number of values in it, itself included, that take no byte, outside of arrays and maps.
        levels: levels of nesting.
    """

    least: int
    free: int
    levels: int = 1


def check(schema: Any, named: Mapping[str, Any]) -> None:
    """Checks a parsed schema.

    Args:
        schema: as the library parses it.
        named: the named types that it refers to.

    Raises:
        SchemaError: it is recursive, nested too deeply, or has too many values without bytes.
    """
    size = _Bounds(named).of(schema)
    if size.free > MOST_FIXED:
        msg = f"got {size.free} values that take no byte in one record, expected at most {MOST_FIXED}"
        raise SchemaError(msg)


class _Bounds:
    """Bounds of the types of one schema; each named type is visited once."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named, self._known, self._open = named, dict[str, Size](), list[str]()

    def of(self, schema: Any) -> Size:
        """Returns the bounds of a type."""
        if isinstance(schema, list):
            return self._union(schema)
        if isinstance(schema, str):
            return Size(_LEAST[schema], int(not _LEAST[schema])) if schema in _LEAST else self._of_name(schema)
        kind = schema["type"]
        if kind in {"record", "error", "enum", "fixed"}:
            return self._of_name(schema["name"], schema)
        if kind in {"array", "map"}:
            return self._repeated(schema["items" if kind == "array" else "values"], kind)
        return self.of(kind)

    def _of_name(self, name: str, schema: Any = None) -> Size:
        if name in self._open or len(self._open) > MAX_DEPTH:
            msg = f"got the recursive type {name}, which is not read, expected types that do not contain themselves"
            raise SchemaError(msg)
        if name not in self._known:
            self._open.append(name)
            self._known[name] = self._named_type(self._named[name] if schema is None else schema)
            self._open.pop()
        return self._known[name]

    def _named_type(self, schema: Any) -> Size:
        kind = schema["type"]
        if kind == "enum":
            return Size(1, 0)
        if kind == "fixed":
            return Size(schema["size"], int(schema["size"] == 0))
        fields = [self.of(field["type"]) for field in schema["fields"]]
        levels = 1 + max((field.levels for field in fields), default=0)
        return self._shallow(
            Size(sum(field.least for field in fields), 1 + sum(field.free for field in fields), levels)
        )

    def _union(self, branches: list[Any]) -> Size:
        found = [self.of(branch) for branch in branches]
        least = 1 + min((branch.least for branch in found), default=0)  # a byte for the number of the branch
        free = max((branch.free - 1 for branch in found if branch.free), default=0)
        return Size(least, free, max((branch.levels for branch in found), default=1))

    def _repeated(self, elements: Any, kind: str) -> Size:
        size = self.of(elements)
        least = size.least + (kind == "map")  # at least the length of a key
        if size.free > MOST_FREE * least:
            msg = (
                f"got elements of {least} bytes with {size.free} values that take no byte in one {kind}, expected at "
                f"most {MOST_FREE} per byte"
            )
            raise SchemaError(msg)
        return self._shallow(Size(1, 0, 1 + size.levels))

    @staticmethod
    def _shallow(size: Size) -> Size:
        if size.levels > MAX_DEPTH:
            msg = f"got types nested more than {MAX_DEPTH} levels deep, expected fewer"
            raise SchemaError(msg)
        return size
