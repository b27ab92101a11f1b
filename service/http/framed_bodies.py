"""Bodies whose records are in the wire format of a schema registry: Avro, Protobuf and JSON Schema over HTTP.

    application/octet-stream            one record, as a serializer makes it
    application/vnd.kafka.binary.v2+json    several, in base64: the body of Confluent's REST Proxy,
                                            {"records": [{"value": "AAAAAAEC..."}, ...]}

Records are decoded when they arrive, and what is stored and acknowledged are JSON lines with the same fields. A replay
therefore needs no registry. While the registry does not answer, no body is accepted; a schema that it does not have
refuses the body.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from service.config.input import TimeUnit
from service.messages.depth import too_deep
from service.messages.frames import FrameError, json_payload, schema_id
from service.messages.parse_json import load_json
from service.messages.timestamps import Milliseconds, written
from service.sources.row_bytes import as_json

if TYPE_CHECKING:
    from service.schemas.frames import SchemaFrames

ONE_RECORD: Final = "application/octet-stream"
IN_BASE64: Final = "application/vnd.kafka.binary.v2+json"
FRAMED: Final = (ONE_RECORD, IN_BASE64)

_NO_REGISTRY: Final = (
    "got the wire format of a schema registry with a payload that is not JSON, expected the registry that has its "
    "schema: set schema_registry.url"
)


class FramedBodyError(ValueError):
    """The body has no records, or one of them cannot be decoded."""


class FramedBodies:
    """Converts bodies. Used in one thread at a time.

    Args:
        frames: decodes records; None without a registry, where payloads of JSON are read only.
        unit: of the numbers that are times, see `input.fields.time_unit`.
        most: largest number of bytes of the lines of a body.
    """

    def __init__(self, frames: SchemaFrames | None, unit: TimeUnit, most: int) -> None:
        self._frames, self._unit, self._most = frames, unit, most

    def lines(self, body: bytes, kind: str) -> list[bytes]:
        """Returns the records of a body as JSON lines, without line ends.

        Args:
            body: decompressed.
            kind: its content type, one of `FRAMED`.

        Raises:
            FramedBodyError: it has no records, one of them cannot be decoded, or the lines are too long.
            SchemaRegistryError: the registry does not answer; nothing is wrong with the body.
        """
        values = [body] if kind == ONE_RECORD else _values(body)
        if self._frames is not None:
            self._frames.prepare(values)
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
        parsed = None if too_deep(body) else orjson.loads(body)
    except orjson.JSONDecodeError as error:
        msg = f"got a body that is not JSON ({error})"
        raise FramedBodyError(msg) from error
    records = parsed.get("records") if isinstance(parsed, dict) else None
    if not isinstance(records, list) or not records:
        msg = 'got a body without records, expected {"records": [{"value": "..."}, ...]}'
        raise FramedBodyError(msg)
    return [_value(record, number) for number, record in enumerate(records, 1)]


def _value(record: object, number: int) -> bytes:
    """Returns the value of the n-th record of such a body."""
    value = record.get("value") if isinstance(record, dict) else None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return base64.b64decode(value, validate=True)
    msg = f'record {number}: got {str(record)[:80]}, expected an object whose "value" is a text in base64'
    raise FramedBodyError(msg)


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
