"""Bodies whose records are in the wire format of a schema registry: Avro, Protobuf and JSON Schema over HTTP.

    application/octet-stream            one record, as a serializer makes it
    application/vnd.kafka.binary.v2+json    several, in base64: the body of Confluent's REST Proxy,
                                            {"records": [{"value": "AAAAAAEC..."}, ...]}

Records are decoded when they arrive, and what is stored and acknowledged are JSON lines with the same fields. A replay
therefore needs no registry. While the registry does not answer, no body is accepted; a schema that it does not have
refuses the body.

A body has a bounded number of records and of schemas: neither the memory nor the lookups that it needs are out of
proportion to its bytes.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from service.config.input import TimeUnit
from service.messages.depth import too_deep
from service.messages.frames import FrameError, json_payload, schema_id, schema_ids
from service.messages.parse_json import load_json
from service.messages.timestamps import Milliseconds, written
from service.sources.row_bytes import as_json

if TYPE_CHECKING:
    from service.schemas.frames import SchemaFrames

ONE_RECORD: Final = "application/octet-stream"
IN_BASE64: Final = "application/vnd.kafka.binary.v2+json"
FRAMED: Final = (ONE_RECORD, IN_BASE64)

MOST_RECORDS: Final = 50_000
"""Largest number of records of a body: an object in memory is larger than the shortest record."""
MOST_SCHEMAS: Final = 100
"""Largest number of ids of schemas of a body, which are looked up one after the other."""

_EXPECTED: Final = 'expected {"records": [{"value": "..."}, ...]}, each value a text in base64'
_PLACE: Final = re.compile(r" - at `\$\.records\[(\d+)\][^`]*`$")

_NO_REGISTRY: Final = (
    "got the wire format of a schema registry with a payload that is not JSON, expected the registry that has its "
    "schema: set schema_registry.url"
)


class FramedBodyError(ValueError):
    """The body has no records, too many of them, or one that cannot be decoded."""


class _Record(msgspec.Struct, gc=False):
    """A record of a body of Confluent's REST Proxy; its other fields are passed."""

    value: bytes


class _Body(msgspec.Struct):
    records: list[_Record]


_DECODER: Final = msgspec.json.Decoder(_Body)


class FramedBodies:
    """Converts bodies. Used in one thread at a time.

    Args:
        frames: decodes records; None without a registry, where payloads of JSON are read only.
        unit: of the numbers that are times, see `input.fields.time_unit`.
        most: largest number of bytes of the lines of a body.
        longest: largest number of bytes of a record.
    """

    def __init__(self, frames: SchemaFrames | None, unit: TimeUnit, most: int, longest: int = 65_536) -> None:
        self._frames, self._unit, self._most, self._longest = frames, unit, most, longest
        self._stopped = threading.Event()

    def lines(self, body: bytes, kind: str) -> list[bytes]:
        """Returns the records of a body as JSON lines, without line ends.

        Args:
            body: decompressed.
            kind: its content type, one of `FRAMED`.

        Raises:
            FramedBodyError: it has no records, too many records or schemas, one of them cannot be decoded, or the
                lines are too long.
            SchemaRegistryError: the registry does not answer, or `stop` was called; nothing is wrong with the body.
        """
        values = [body] if kind == ONE_RECORD else _values(body)
        if self._frames is not None:
            if (count := len(schema_ids(values))) > MOST_SCHEMAS:
                msg = (
                    f"got records of {count} different schema ids, expected at most {MOST_SCHEMAS} per request; send "
                    "the records of other schemas in further requests"
                )
                raise FramedBodyError(msg)
            self._frames.prepare(values, self._stopped.is_set)
        found, size = list[bytes](), 0
        for number, value in enumerate(values, 1):
            try:
                line = as_json(_plain(self._decoded(value), self._unit))
            except (ValueError, RecursionError) as error:
                msg = f"record {number}: {error}"
                raise FramedBodyError(msg) from error
            size += len(line) + 1
            if size > self._most:
                msg = f"got more than {self._most} bytes as JSON (input.push_body); send fewer records per request"
                raise FramedBodyError(msg)
            found.append(line)
        return found

    def _decoded(self, value: bytes) -> object:
        if len(value) > self._longest:  # decoded values are many times as large
            msg = f"got {len(value)} bytes, expected at most {self._longest} (input.max_record_bytes)"
            raise FramedBodyError(msg)
        if schema_id(value) is None:
            msg = f"got bytes that begin with {value[:8]!r}, expected a zero byte, the id of a schema, and the payload"
            raise FramedBodyError(msg)
        if self._frames is not None:
            return self._frames.decode(value)
        payload = json_payload(value)
        if payload is value:
            raise FramedBodyError(_NO_REGISTRY)
        if too_deep(payload):
            raise FrameError("undecodable", "got deeply nested values, expected an object with the fields of an event")
        return load_json(payload)

    def stop(self) -> None:
        """Ends `lines` before its next lookup, also in further calls; from any thread."""
        self._stopped.set()

    def close(self) -> None:
        """Closes the connections to the registry."""
        if self._frames is not None:
            self._frames.close()


def _values(body: bytes) -> Sequence[bytes]:
    """Returns the values of the records of a body of Confluent's REST Proxy.

    Raises:
        FramedBodyError: it is none.
    """
    try:
        records = _DECODER.decode(body).records
    except RecursionError as error:
        msg = f"got deeply nested values, {_EXPECTED}"
        raise FramedBodyError(msg) from error
    except msgspec.ValidationError as error:
        found = _PLACE.search(str(error))
        place = "" if found is None else f"record {int(found[1]) + 1}: "
        msg = f"{place}got other content ({_PLACE.sub('', str(error))}), {_EXPECTED}"
        raise FramedBodyError(msg) from error
    except msgspec.DecodeError as error:
        msg = f"got a body that is not JSON ({error})"
        raise FramedBodyError(msg) from error
    if not records:
        msg = f"got a body without records, {_EXPECTED}"
        raise FramedBodyError(msg)
    if len(records) > MOST_RECORDS:
        msg = f"got {len(records)} records, expected at most {MOST_RECORDS} per request; send fewer at once"
        raise FramedBodyError(msg)
    return [record.value for record in records]


def _plain(value: Any, unit: TimeUnit) -> Any:
    """Returns a decoded record such that it is read from JSON as it is read from a topic."""
    if isinstance(value, dict):
        return {name: _plain(one, unit) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, unit) for one in value]
    if isinstance(value, Milliseconds):
        return written(value, unit)
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}  # an object, as bytes are no value of a field
    return value
