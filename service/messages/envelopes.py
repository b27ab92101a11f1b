"""Removes the envelopes that other systems put around JSON events. Works on records that are parsed already.

Kafka Connect   {"schema": {...}, "payload": ...}: what its JSON converter writes with schemas enabled. The payload is
                the event; the schema says which fields are decimals and times, and in which unit
Debezium        {"before": ..., "after": {...}, "source": {...}, "op": "c", "ts_ms": ...}: a change of a row of a
                database. The row after the change is the event; what has no such row, e.g. a delete, is no event
CloudEvents     {"specversion": "1.0", "id": ..., "source": ..., "type": ..., "data": {...}}: `data` is the event

They may be nested in the order CloudEvents, Kafka Connect, Debezium, each at most once: below a Debezium envelope there
is a row, whose columns may have any name. An envelope is recognised by its complete shape, never by one field's name.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeGuard

import orjson

from service.messages.depth import MAX_DEPTH, too_deep
from service.messages.timestamps import Milliseconds, parse_time

Envelope = Literal["auto", "none", "connect", "debezium", "cloudevents"]

_Object = dict[str, Any]
_Conversion = Callable[[object], object]

_MAX_LEVELS: Final = 32  # of nested schemas; a fixed limit, as the stack of the interpreter may differ in a replay
_MAX_DECIMAL_BYTES: Final = 64  # 154 digits
_MAX_DECIMAL_TEXT: Final = 4 * math.ceil(_MAX_DECIMAL_BYTES / 3)  # its length as base64
_MAX_SCALE: Final = 2**31  # scales are int32
_INTEGER: Final = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DAY_MS: Final = 86_400_000

_DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
_VARIABLE_DECIMAL: Final = "io.debezium.data.VariableScaleDecimal"
_TIMES: Final = {  # factor and divisor from the unit of the type to milliseconds
    "org.apache.kafka.connect.data.Timestamp": (1, 1),
    "org.apache.kafka.connect.data.Date": (_DAY_MS, 1),
    "io.debezium.time.Timestamp": (1, 1),
    "io.debezium.time.MicroTimestamp": (1, 1000),
    "io.debezium.time.NanoTimestamp": (1, 1_000_000),
    "io.debezium.time.Date": (_DAY_MS, 1),
}

_OPERATIONS: Final = {"c": "create", "u": "update", "r": "read", "d": "delete", "t": "truncate", "m": "message"}
_WITH_ROW: Final = frozenset("cur")
_EXPECTED: Final[dict[str, str]] = {
    "connect": 'a Kafka Connect envelope, an object with the fields "schema" and "payload" only',
    "debezium": 'a Debezium change event, an object with the fields "op", "before", "after" and "source"',
    "cloudevents": 'a CloudEvent, an object with the fields "specversion", "id", "source", "type" and "data"',
}
_KINDS: Final = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


class Unwrapped(NamedTuple):
    """An event without its envelopes, and their time, which is that of an event without a time of its own.

    It is the `ts_ms` of a Debezium change event, or the `time` of a CloudEvent: epoch milliseconds.
    """

    payload: object
    time_ms: int | None = None


class NotAnEvent(ValueError):  # noqa: N818 - named after what the record is; a delete is not an error
    """A record that has no event: a change without a new row, or an envelope of another kind than configured."""


def unwrap(record: object, envelope: Envelope = "auto") -> Unwrapped:
    """Removes the envelopes of a record. The record itself is not modified.

    Args:
        record: as parsed from JSON.
        envelope: the kind to remove; "auto": any, recognised by shape; "none": the record is the event. "debezium"
            includes the Kafka Connect envelope around it.

    Returns:
        The event, which is the record itself if it has no envelope. Decimals and times that a Kafka Connect schema
        names are converted to floats and `Milliseconds`; a value that does not fit its schema remains.

    Raises:
        NotAnEvent: the record is a Debezium delete, truncate, message or change without a row, a CloudEvent whose
            `data_base64` is not JSON, or not of the kind that `envelope` names.
    """
    if envelope == "auto":
        return _unwrap_any(record)
    if envelope == "none":
        return Unwrapped(record)
    if envelope == "connect" and _is_connect(record):
        return Unwrapped(_connect_payload(record))
    if envelope == "debezium":
        record = _connect_payload(record) if _is_connect(record) else record
        if _is_change(record):
            return _row(record, record["op"], record.get("ts_ms"))
    if envelope == "cloudevents" and _is_cloudevent(record):
        return _timed(Unwrapped(_cloudevent_data(record)), record)
    text = f"got {_described(record)}, expected {_EXPECTED[envelope]}"
    raise NotAnEvent(text)


def _unwrap_any(record: object) -> Unwrapped:
    if not isinstance(record, dict) or not ("op" in record or "payload" in record or "specversion" in record):
        return Unwrapped(record)  # before all other checks: most records are plain events
    attributes: _Object = {}
    event: object = record
    if _is_cloudevent(event):
        attributes, event = event, _cloudevent_data(event)
    if _is_connect(event):
        event = _connect_payload(event)
    if _is_change(event):
        return _timed(_row(event, event["op"], event.get("ts_ms")), attributes)
    if _is_change_data(event, attributes):
        row = _row(event, attributes["iodebeziumop"], _from_text(attributes.get("iodebeziumtsms")))
        return _timed(row, attributes)
    return _timed(Unwrapped(event), attributes)


def _timed(event: Unwrapped, attributes: _Object) -> Unwrapped:
    """Returns an event with the time of the CloudEvent around it, if there is one and no time nearer to the event."""
    time = attributes.get("time")
    if event.time_ms is not None or not isinstance(time, str) or (found := parse_time(time)) is None:
        return event
    return event._replace(time_ms=Milliseconds(found))


def _described(value: object) -> str:
    if not isinstance(value, dict):
        return _KINDS.get(type(value), "null" if value is None else "another value")
    if not value:
        return "an empty object"
    names = ", ".join(f"{name!r:.40}" for name in islice(value, 6))
    return f"an object with the fields {names}{' ...' if len(value) > 6 else ''}"


# Debezium


def _is_change(record: object) -> TypeGuard[_Object]:
    """Returns whether a record is a Debezium change event.

    Truncates and messages may come without `before` and `after`; then `source` has to name the connector.
    """
    if not isinstance(record, dict) or not isinstance(operation := record.get("op"), str):
        return False
    if operation not in _OPERATIONS or not _has_rows(record):
        return False
    source = record.get("source")
    rows = ("before" in record) + ("after" in record)
    if rows == 0:
        return operation not in _WITH_ROW and isinstance(source, dict) and "connector" in source
    return rows == 2 or isinstance(source, dict)


def _is_change_data(data: object, attributes: _Object) -> TypeGuard[_Object]:
    """Returns whether this is the data of a CloudEvent of Debezium, whose operation is an attribute of the envelope."""
    operation = attributes.get("iodebeziumop")
    if not isinstance(operation, str) or operation not in _OPERATIONS or not isinstance(data, dict):
        return False
    return ("before" in data or "after" in data) and _has_rows(data)


def _has_rows(record: _Object) -> bool:
    """Returns whether `before` and `after` are rows, as far as there are any; a plain event may have numbers there."""
    return all(isinstance(record.get(name), dict | None) for name in ("before", "after"))


def _row(change: _Object, operation: str, time_ms: object) -> Unwrapped:
    got = f'got a Debezium {_OPERATIONS[operation]} ("op": "{operation}")'
    if operation not in _WITH_ROW:
        text = f'{got}, expected a create, update or read, which has a row as "after"'
        raise NotAnEvent(text)
    row = change.get("after")
    if row is None:
        text = f'{got} without a row, expected the row as "after"'
        raise NotAnEvent(text)
    if not isinstance(time_ms, int) or isinstance(time_ms, bool):
        return Unwrapped(row)
    return Unwrapped(row, Milliseconds(time_ms))


def _from_text(number: object) -> object:
    """Returns the number of a digit string, as which CloudEvents attributes are written; others unchanged."""
    return int(number) if isinstance(number, str) and _INTEGER.fullmatch(number) else number


# CloudEvents


def _is_cloudevent(record: object) -> TypeGuard[_Object]:
    if not isinstance(record, dict) or not isinstance(version := record.get("specversion"), str):
        return False
    if not version.startswith(("1.", "0.3")) or not ("data" in record or "data_base64" in record):
        return False
    # An object as data is an event without doubt; other data only with the attributes that every CloudEvent has.
    return isinstance(record.get("data"), dict) or all(
        isinstance(record.get(name), str) for name in ("type", "source", "id")
    )


def _cloudevent_data(event: _Object) -> object:
    data = event.get("data")
    if data is None and "data_base64" in event:
        return _parsed_base64(event["data_base64"], "data_base64")
    if isinstance(data, str):
        if event.get("datacontentencoding") == "base64":  # version 0.3 has this instead of data_base64
            return _parsed_base64(data, "data")
        return parsed_text(data)
    return data


def parsed_text(text: str) -> object:
    """Parses a string with a JSON object, as of producers that encode their data twice; returns others unchanged."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        encoded = text.encode()
        return text if too_deep(encoded) else orjson.loads(encoded)
    except ValueError:  # half a surrogate pair, or not JSON
        return text


# Errors are not raised while another one is handled: see parse_json.


def _parsed_base64(text: object, name: str) -> object:
    decoded = _from_base64(text)
    if decoded is None:
        problem = f'got a CloudEvent whose "{name}" is not base64, expected an event as JSON in base64'
    elif too_deep(decoded):
        problem = f'got a CloudEvent whose "{name}" is nested more than {MAX_DEPTH} levels deep, expected an event'
    else:
        try:
            return orjson.loads(decoded)
        except ValueError:
            problem = f'got a CloudEvent whose "{name}" is not JSON, expected an event as JSON in base64'
    raise NotAnEvent(problem)


def _from_base64(text: object) -> bytes | None:
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        return None


# Kafka Connect


def _is_connect(record: object) -> TypeGuard[_Object]:
    if not isinstance(record, dict) or len(record) != 2 or "payload" not in record or "schema" not in record:
        return False
    return isinstance(record["schema"], dict | None)


def _connect_payload(envelope: _Object) -> object:
    convert = _conversion(envelope["schema"], _MAX_LEVELS)
    return envelope["payload"] if convert is None else convert(envelope["payload"])


def _conversion(schema: object, levels: int) -> _Conversion | None:
    """Returns the function that converts values of a schema; None where no value needs it.

    Made once per schema, not per value: a long schema of a long array would take the product of both otherwise.
    """
    if not isinstance(schema, dict) or levels == 0:
        return None
    name, kind = schema.get("name"), schema.get("type")
    if name == _DECIMAL:
        return _decimal_conversion(schema.get("parameters"))
    if name == _VARIABLE_DECIMAL:
        return _convert_variable_decimal
    if isinstance(name, str) and name in _TIMES:
        factor, divisor = _TIMES[name]
        return partial(_convert_time, factor, divisor)
    if kind == "struct":
        return _struct_conversion(schema.get("fields"), levels - 1)
    if kind == "array":
        items = _conversion(schema.get("items"), levels - 1)
        return None if items is None else partial(_convert_array, items)
    if kind == "map":
        values = _conversion(schema.get("values"), levels - 1)
        return None if values is None else partial(_convert_map, values)
    return None


def _decimal_conversion(parameters: object) -> _Conversion | None:
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    if isinstance(scale, str) and _INTEGER.fullmatch(scale):
        return partial(_convert_decimal, int(scale))
    return None


def _struct_conversion(fields: object, levels: int) -> _Conversion | None:
    conversions = {}
    for field in fields if isinstance(fields, list) else []:
        name = field.get("field") if isinstance(field, dict) else None
        if isinstance(name, str) and (convert := _conversion(field, levels)) is not None:
            conversions[name] = convert
    return partial(_convert_struct, conversions) if conversions else None


def _convert_struct(conversions: dict[str, _Conversion], value: object) -> object:
    if not isinstance(value, dict):
        return value
    return value | {name: conversions[name](value[name]) for name in conversions.keys() & value.keys()}


def _convert_array(convert: _Conversion, value: object) -> object:
    return [convert(item) for item in value] if isinstance(value, list) else value


def _convert_map(convert: _Conversion, value: object) -> object:
    """Converts the values of a map: an object, or an array of pairs where the keys are not strings."""
    if isinstance(value, dict):
        return {key: convert(item) for key, item in value.items()}
    if isinstance(value, list):
        return [[p[0], convert(p[1])] if isinstance(p, list) and len(p) == 2 else p for p in value]
    return value


def _convert_time(factor: int, divisor: int, value: object) -> object:
    return Milliseconds(value * factor // divisor) if type(value) is int else value  # a boolean is no time


def _convert_decimal(scale: int, value: object) -> object:
    number = _decimal(value, scale)
    return value if number is None else number


def _convert_variable_decimal(value: object) -> object:
    number = _decimal(value.get("value"), value.get("scale")) if isinstance(value, dict) else None
    return value if number is None else number


def _decimal(text: object, scale: object) -> float | None:
    """Returns the float nearest to a decimal; None where it is not one, has too many digits, or is out of range."""
    if type(scale) is not int or abs(scale) >= _MAX_SCALE:
        return None
    if not isinstance(text, str) or len(text) > _MAX_DECIMAL_TEXT:  # before it is decoded
        return None
    unscaled = _from_base64(text)
    if not unscaled or len(unscaled) > _MAX_DECIMAL_BYTES:
        return None
    number = float(f"{int.from_bytes(unscaled, 'big', signed=True)}e{-scale}")  # a division would round twice
    return number if math.isfinite(number) else None
