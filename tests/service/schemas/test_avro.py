"""Avro records are decoded to the same events as their JSON twins, and no payload does harm."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from avro_records import EVENT, decoded, encoded, frame, frames_with
from fastavro import parse_schema, schemaless_reader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.messages.frames import FrameError
from service.messages.timestamps import EARLIEST_MS, LATEST_MS, Milliseconds
from service.schemas.bounds import MOST_FREE
from service.schemas.codecs import codec_of
from service.schemas.schema import RegisteredSchema, SchemaError

TENTHS = {"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 8, "scale": 1}
UUID = "00000000-0000-0000-0000-000000000001"


def field(kind: Any) -> dict[str, Any]:
    """Returns a schema with one field."""
    return {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}


def read(kind: Any, value: object) -> object:
    """Encodes and decodes the value of a field."""
    schema = field(kind)
    found: Any = codec_of(RegisteredSchema(json.dumps(schema)))(encoded(schema, {"f": value}))
    return found["f"]


def varint(number: int) -> bytes:
    """Returns an integer as Avro encodes it."""
    left, made = (number << 1) ^ (number >> 63), bytearray()
    while left & ~0x7F:
        made.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*made, left])


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, 1_700_000_000_123, 1_700_000_000_123),
        ({"type": "long", "logicalType": "timestamp-micros"}, -1, -1),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, 5, 5),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 1999, 1),
        ({"type": "long", "connect.name": "io.debezium.time.NanoTimestamp"}, 1_999_999, 1),
        ({"type": "int", "logicalType": "date"}, 2, 172_800_000),
        ({"type": "int", "connect.name": "io.debezium.time.Date"}, -1, -86_400_000),
        (["null", {"type": "long", "logicalType": "timestamp-millis"}], 7, 7),
        ({"type": "long", "logicalType": "timestamp-millis"}, 2**62, 2**62),
    ],
)
def test_times(kind, value, expected):
    """Times become milliseconds, rounded down, whatever `input.fields.time_unit` says; far ones raise nothing."""
    found = read(kind, value)
    assert (type(found), found) == (Milliseconds, expected)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("-12.34"), -12.34),
        (TENTHS, Decimal("0.1"), 0.1),
        ({"type": "string", "logicalType": "uuid"}, UUID, UUID),
        ({"type": "int", "logicalType": "time-millis"}, 5, 5),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, "b", "b"),
        ({"type": "array", "items": ["null", "int"]}, [1, None], [1, None]),
        ({"type": "map", "values": "double"}, {"x": 1.5}, {"x": 1.5}),
        ("bytes", b"\xff", b"\xff"),
        ("boolean", True, True),
    ],
)  # fmt: skip
def test_other_types(kind, value, expected):
    """Decimals become floats, unions their value, and records, arrays and maps remain."""
    found = read(kind, value)
    assert (type(found), found) == (type(expected), expected)


def test_bytes_are_no_number():
    """Bytes are rejected as a value, and not read as a text."""
    schema = {**EVENT, "fields": [*EVENT["fields"][:2], {"name": "value", "type": "bytes"}]}
    value = encoded(schema, {"series": "a", "timestamp": 1, "value": b"1"})
    (reject,) = decoded(frames_with({1: schema}), [value]).rejects
    assert reject.reason == "wrong_type"


def test_named_references():
    """Types of other schemas are found by their names, also those that these use themselves."""
    unit = {"type": "enum", "name": "a.Unit", "symbols": ["s", "ms"]}
    fields = [{"name": "value", "type": "double"}, {"name": "unit", "type": "Unit"}]
    inner = {"type": "record", "name": "a.Sample", "fields": fields}
    fields = [{"name": "sample", "type": "a.Sample"}, {"name": "again", "type": "a.Unit"}]
    outer = {"type": "record", "name": "b.Event", "fields": fields}
    references = [RegisteredSchema(json.dumps(one)) for one in (unit, inner)]
    decode = codec_of(RegisteredSchema(json.dumps(outer), "AVRO", references))
    assert decode(b"\0\0\0\0\1" + b"\0" * 6 + b"\xf8\x3f" + b"\2" + b"\0") == {
        "sample": {"value": 1.5, "unit": "ms"},
        "again": "s",
    }


def test_union_at_the_top():
    """A topic with several event types in a union of records is read by value."""
    schema = [{**EVENT, "name": name} for name in ("One", "Two")]
    decode = codec_of(RegisteredSchema(json.dumps(schema)))
    payload = encoded({**EVENT}, {"series": "a", "timestamp": 1, "value": 2.0})[5:]
    assert decode(frame(1, b"\2" + payload)) == {"series": "a", "timestamp": 1, "value": 2.0}


names = st.text(min_size=1, max_size=8).filter(lambda text: text.strip() and text.isprintable())
records = st.fixed_dictionaries(
    {
        "series": names,
        "timestamp": st.integers(EARLIEST_MS, LATEST_MS),
        "value": st.none() | st.floats(allow_nan=False),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(records, min_size=1, max_size=5))
def test_equal_to_json(events):
    """Avro records are the same events as JSON records with the same content."""
    fields = {"fields": {"time_unit": "ms"}}
    avro = decoded(frames_with({1: EVENT}), [encoded(EVENT, event) for event in events], **fields)
    plain = decoded(frames_with({}), [json.dumps(event).encode() for event in events], **fields)
    assert (avro.series, avro.timestamp_ms.tolist(), avro.rejects) == (plain.series, plain.timestamp_ms.tolist(), [])
    assert avro.value.tobytes() == plain.value.tobytes()
    assert (avro.positions, avro.missing) == (plain.positions, plain.missing)


kinds = st.recursive(
    st.sampled_from(["boolean", "int", "long", "float", "double", "string", "bytes", "null"])
    | st.just({"type": "long", "logicalType": "timestamp-millis"})
    | st.just({"type": "long", "logicalType": "timestamp-micros"})
    | st.just({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2})
    | st.just({"type": "int", "logicalType": "date"}),
    lambda inner: st.builds(lambda items: {"type": "array", "items": items}, inner)
    | st.builds(lambda values: {"type": "map", "values": values}, inner)
    | st.builds(lambda kind: ["null", kind] if not isinstance(kind, list) and kind != "null" else kind, inner),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(kinds, st.binary(max_size=200))
@example({"type": "array", "items": "null"}, varint(100_000_000) + b"\0")
@example({"type": "map", "values": "null"}, varint(100_000_000) + b"\0")
@example("string", varint(1 << 40))
@example("bytes", varint(-1) + b"abc")
@example({"type": "array", "items": "long"}, varint(-(1 << 62)))
@example({"type": "bytes", "logicalType": "decimal", "scale": 2}, varint(100) + b"\1" * 100)
def test_any_payload(kind, payload):
    """Arbitrary bytes after a frame are an event or a reject, within memory in proportion to their number."""
    try:
        decode = codec_of(RegisteredSchema(json.dumps(field(kind))))
    except SchemaError:
        return
    tracemalloc.start()
    try:
        with contextlib.suppress(FrameError):
            decode(frame(1, payload))
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100_000 + 1000 * len(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\2", encoded(EVENT, {"series": "a", "timestamp": 1, "value": None})[5:] + b"\0"]
)
def test_unfit_payload(payload):
    """A payload that ends early or late is rejected, and its neighbours are forecast."""
    good = encoded(EVENT, {"series": "a", "timestamp": 1, "value": 1.0})
    found = decoded(frames_with({1: EVENT}), [good, frame(1, payload), good])
    assert [(reject.position, reject.reason) for reject in found.rejects] == [(1, "undecodable")]
    assert found.positions == [0, 2]


def nested(levels: int) -> Any:
    """Returns arrays in arrays."""
    kind: Any = "int"
    for _ in range(levels):
        kind = {"type": "array", "items": kind}
    return kind


def doubling(levels: int) -> Any:
    """Returns records of 2 ** levels values without a byte."""
    made: Any = {"type": "record", "name": "R0", "fields": [{"name": "n", "type": "null"}]}
    for level in range(1, levels):
        fields = [{"name": "a", "type": made}, {"name": "b", "type": f"R{level - 1}"}]
        made = {"type": "record", "name": f"R{level}", "fields": fields}
    return made


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}, "recursive type L"),
        (field({"type": "array", "items": "null"}), "elements of 0 bytes"),
        (field({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}), "elements of 0 bytes"),
        (field({"type": "map", "values": doubling(3)}), f"expected at most {MOST_FREE} per byte"),
        (doubling(30), "values that take no byte in one record"),
        (nested(140), "levels deep"),
        (field("unknown"), "cannot be parsed"),
        (field({"type": "fixed", "name": "F", "size": -1}), "size of F"),
        ({"type": "record", "fields": []}, "cannot be parsed"),
        ({"type": "record", "name": "R", "fields": [1]}, "cannot be parsed"),
        (None, "cannot be parsed"),
        (3, "cannot be parsed"),
        ({}, "cannot be parsed"),
    ],
)
def test_refused_schemas(schema, text):
    """A schema that is malformed, or lets a few bytes become many values, is refused with its reason."""
    with pytest.raises(SchemaError, match=text):
        codec_of(RegisteredSchema(json.dumps(schema)))


def test_deep_names():
    """Named types nested through their names are refused as well, before the library reads a payload."""
    schemas, before = [], '"int"'
    for level in range(200):
        fields = f'{{"name": "f", "type": {before}}}'
        schemas.append(RegisteredSchema(f'{{"type": "record", "name": "R{level}", "fields": [{fields}]}}'))
        before = f'"R{level}"'
    with pytest.raises(SchemaError, match=r"levels deep|recursive"):
        codec_of(RegisteredSchema(before, "AVRO", schemas))


def test_library_functions_stay():
    """The library's own logical types stay as they are for others in the process."""
    schema = parse_schema({"type": "long", "logicalType": "timestamp-millis"})
    assert schemaless_reader(io.BytesIO(varint(0)), schema, None) == datetime(1970, 1, 1, tzinfo=UTC)
    day = parse_schema({"type": "int", "logicalType": "date"})
    assert schemaless_reader(io.BytesIO(varint(0)), day, None) == date(1970, 1, 1)


def test_missing_values():
    """NaN and null are missing values, as in JSON."""
    values = [
        encoded(EVENT, {"series": "a", "timestamp": at, "value": value}) for at, value in ((1, math.nan), (2, None))
    ]
    assert decoded(frames_with({1: EVENT}), values).missing == 2
