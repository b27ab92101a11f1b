"""Decodes Avro payloads with the schema that they were written with."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, Final

import orjson
from fastavro import parse_schema, schemaless_reader
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException

from service.messages.depth import MAX_DEPTH, too_deep
from service.messages.frames import HEADER_BYTES, Columns, FrameError, Wanted
from service.schemas.avro_columns import program_of, run
from service.schemas.avro_walk import BatchDecoder, Ints, Payloads
from service.schemas.bounds import check
from service.schemas.logical import readers, renamed
from service.schemas.schema import RegisteredSchema, SchemaError

LOGICAL_READERS.update(readers())  # under names of this program, which no schema has

_UNPARSABLE: Final = (SchemaParseException, ValueError, TypeError, LookupError, AttributeError)
_UNFIT: Final = (LookupError, ValueError, TypeError, ArithmeticError, struct.error)
_ROOT, _FIELD = "forecaster_root", "value"  # no namespace, which the types below would inherit


class AvroDecoder(BatchDecoder):
    """Decodes records in the wire format that have one schema.

    Bytes remain bytes, which are no value of a field; other values become those that JSON has, and `Milliseconds`.

    Args:
        schema: with the schemas of its named types.

    Raises:
        SchemaError: it cannot be parsed, or is refused: see `service.schemas.bounds`.
    """

    def __init__(self, schema: RegisteredSchema) -> None:
        self._named: dict[str, Any] = {}
        self._schema = _parsed(schema, self._named)
        self._wanted: Wanted | None = None  # of the program

    def __call__(self, value: bytes) -> object:
        """Decodes a record.

        Raises:
            FrameError: its payload does not fit the schema.
        """
        stream = BytesIO(value)
        stream.seek(HEADER_BYTES)
        try:
            record: Any = schemaless_reader(stream, self._schema, None)
        except EOFError:
            problem = "it ends early"  # the library's text has an address in memory, other ones in a replay
        except _UNFIT as error:
            problem = str(error) or type(error).__name__
        else:
            if stream.tell() == len(value):
                return record[_FIELD]
            problem = f"{len(value) - stream.tell()} bytes are left"
        msg = f"got a payload of {len(value) - HEADER_BYTES} bytes that does not fit its Avro schema: {problem}"
        raise FrameError("undecodable", msg)

    def read(self, payloads: Payloads, rows: Ints, wanted: Wanted, into: Columns) -> None:
        """See `BatchDecoder`."""
        if wanted != self._wanted:
            (field,) = self._schema["fields"]
            self._program, self._wanted = program_of(field["type"], self._named, wanted), wanted
        if self._program is not None:
            run(self._program, payloads, rows, HEADER_BYTES, into)


def _parsed(schema: RegisteredSchema, named: dict[str, Any]) -> Any:
    """Parses a schema as the only field of a record.

    The encoding is that of the field alone; of a record, the library keeps the named types with the parsed schema,
    while it would parse a union or a name again for every payload. `named` gets the named types.
    """
    try:
        # A schema with several types is one reference for each of them that is used; it is parsed once.
        for reference in {one.text: one for one in schema.references}.values():
            parse_schema(_loaded(reference), named)
        field = {"name": _FIELD, "type": _loaded(schema)}
        parsed: Any = parse_schema({"type": "record", "name": _ROOT, "fields": [field]}, named)
        _check_sizes(named)
        check(parsed, named)
    except SchemaError:
        raise
    except _UNPARSABLE as error:
        msg = f"got an Avro schema that cannot be parsed: {str(error)[:200] or type(error).__name__}"
        raise SchemaError(msg) from None
    return parsed


def _loaded(schema: RegisteredSchema) -> Any:
    text = schema.text.encode()
    if too_deep(text):
        msg = f"got an Avro schema nested more than {MAX_DEPTH} levels deep, expected fewer"
        raise SchemaError(msg)
    return renamed(orjson.loads(text))


def _check_sizes(named: dict[str, Any]) -> None:
    for name, one in named.items():
        if one["type"] == "fixed" and (type(one["size"]) is not int or one["size"] < 0):
            msg = f"got {one['size']!r} as the size of {name}, expected a number of bytes"
            raise SchemaError(msg)
