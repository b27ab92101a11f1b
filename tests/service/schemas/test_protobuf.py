"""Protobuf records are decoded to the same events as their JSON twins, and no payload does harm."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import struct
import tracemalloc
from functools import cache
from typing import Any

import pytest
from avro_records import decoded, frame, frames_with
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from proto_records import EVENT, decoder, event_record, in_file, message, message_class, proto_record, registered

from service.messages.frames import FrameError
from service.messages.timestamps import EARLIEST_MS, LATEST_MS, Milliseconds
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.schemas.proto_files import MAIN, file_descriptors
from service.schemas.proto_values import MOST_VALUES
from service.schemas.protobuf import message_indexes
from service.schemas.schema import SchemaError

KNOWN = """import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "confluent/type/decimal.proto";
import "google/type/money.proto";
enum Unit { option allow_alias = true; PERCENT = 0; SECONDS = 3; SECS = 3; }
message Point { double x = 1; }
"""


FIELDS = [
    ("google.protobuf.Timestamp", "1970-01-01T00:00:01.999999Z", Milliseconds(1999)),
    ("google.protobuf.Timestamp", "1969-12-31T23:59:59.999999Z", Milliseconds(-1)),
    ("google.protobuf.Timestamp", None, None),
    ("google.protobuf.Duration", "1.5s", 1.5),
    ("google.protobuf.DoubleValue", 0.0, 0.0),
    ("google.protobuf.DoubleValue", None, None),
    ("google.protobuf.StringValue", "a", "a"),
    ("google.protobuf.Struct", {"b": [1, None, {"c": True}], "a": "t"}, {"a": "t", "b": [1.0, None, {"c": True}]}),
    ("google.protobuf.Value", "t", "t"),
    ("confluent.type.Decimal", {"value": base64.b64encode(b"\xfb\x2e").decode(), "scale": 2}, -12.34),
    ("google.type.Money", {"units": "3"}, {"currency_code": "", "nanos": 0, "units": 3}),
    ("Unit", "SECONDS", "SECONDS"),
    ("Unit", 7, 7),
    ("Unit", None, "PERCENT"),
    ("repeated Unit", ["SECS", "PERCENT"], ["SECONDS", "PERCENT"]),
    ("int64", str(-(2**63)), -(2**63)),
    ("uint64", str(2**64 - 1), 2**64 - 1),
    ("sint64", str(2**53 + 1), 2**53 + 1),
    ("double", None, 0.0),
    ("optional double", None, None),
    ("optional double", 0.0, 0.0),
    ("bytes", base64.b64encode(b"\xff").decode(), b"\xff"),
    ("bool", True, True),
    ("Point", None, None),
    ("Point", {"x": 2.5}, {"x": 2.5}),
    ("repeated Point", [{}, {"x": 1}], [{"x": 0.0}, {"x": 1.0}]),
    ("map<string, double>", {"b": 1.0, "a": 2.0}, {"a": 2.0, "b": 1.0}),
    ("map<int32, Unit>", {"-3": "SECONDS"}, {"-3": "SECONDS"}),
    ("map<bool, Point>", {"true": {"x": 1}}, {"true": {"x": 1.0}}),
]
ALL_FIELDS = in_file(KNOWN + "".join(f"message R{at} {{ {kind} f = 1; }}" for at, (kind, _, _) in enumerate(FIELDS)))


@pytest.mark.parametrize(("kind", "content", "expected"), FIELDS)
def test_fields(kind, content, expected):
    """Integers are exact, enums names, times milliseconds, maps and lists as in JSON; unset fields have presence."""
    at = FIELDS.index((kind, content, expected))
    place = 2 * (at + 1)  # behind Point
    indexes = bytes([2, place] if place < 0x80 else [2, place & 0x7F | 0x80, place >> 7])
    found = decoder(ALL_FIELDS)(proto_record(ALL_FIELDS, f"R{at}", {} if content is None else {"f": content}, indexes))[
        "f"
    ]
    assert (type(found), found) == (type(expected), expected)
    if kind.startswith(("map", "google.protobuf.Struct")):
        assert list(found) == sorted(found)


def test_oneof():
    """Of a oneof only the member that is set is there, with its default too."""
    schema = in_file("message R { oneof v { double a = 1; string b = 2; } optional int32 c = 3; }")
    decode = codec_of(schema)
    assert decode(proto_record(schema, "R", {"a": 0.0})) == {"a": 0.0, "c": None}
    assert decode(proto_record(schema, "R", {})) == {"c": None}


@pytest.mark.parametrize(("package", "name"), [("google.protobuf", "Timestamp"), ("confluent.type", "Decimal")])
def test_types_with_the_names_of_others(package, name):
    """A type of the schema with the name of a well-known one is read with the fields that it has."""
    schema = registered(f'syntax = "proto3"; package {package}; message {name} {{ string x = 1; }}')
    assert codec_of(schema)(frame(1, b"\0\n\1a")) == {"x": "a"}


def test_proto2_defaults():
    """An unset field with a default of its own has it; another one is missing."""
    schema = registered(
        'syntax = "proto2"; message R { optional double a = 1 [default = 2.5]; optional double b = 2; }'
    )
    assert codec_of(schema)(proto_record(schema, "R", {})) == {"a": 2.5, "b": None}


def test_bytes_are_no_number_in_protobuf():
    """Bytes are rejected as a value, and not read as a text."""
    schema = in_file("message Event { string series = 1; int64 timestamp = 2; bytes value = 3; }")
    value = proto_record(schema, "Event", {"series": "a", "timestamp": 1, "value": "MQ=="})
    (reject,) = decoded(frames_with({1: schema}), [value]).rejects
    assert reject.reason == "wrong_type"


UNIT = 'syntax = "proto3"; package m; enum Unit { PERCENT = 0; SECONDS = 1; }'
SAMPLE = 'syntax = "proto3"; package m; import "a/unit.proto"; message Sample { double value = 1; Unit unit = 2; }'
OUTER = 'syntax = "proto3"; import "sample.proto"; import "a/unit.proto"; message R { m.Sample s = 1; m.Unit u = 2; }'


@pytest.mark.parametrize("as_descriptors", ["", "0", "1", "01", "2", "012"])
def test_imports(as_descriptors):
    """Files of other subjects are found by the names in the imports, as texts or as registered descriptors."""
    texts = [("a/unit.proto", UNIT), ("sample.proto", SAMPLE)]
    references = [registered(text, name) for name, text in texts]
    schema = registered(OUTER, "", references)
    value = proto_record(schema, "R", {"s": {"value": 1.5, "unit": "SECONDS"}})
    files = {file.name: base64.b64encode(file.SerializeToString()).decode() for file in file_descriptors(schema)}
    names = ["a/unit.proto", "sample.proto", MAIN]
    used = [
        files[name] if str(at) in as_descriptors else text for at, (name, text) in enumerate([*texts, (MAIN, OUTER)])
    ]
    *inner, outer = used
    mixed = registered(outer, "", [registered(text, name) for name, text in zip(names, inner, strict=False)])
    assert codec_of(mixed)(value) == {"s": {"value": 1.5, "unit": "SECONDS"}, "u": "PERCENT"}


NESTED = """message A {
  map<string, int32> m = 1; message B { message C { string c = 1; } } message D { string d = 1; }
}
message E { string e = 1; }"""


@pytest.mark.parametrize(
    ("indexes", "name", "field"),
    [(b"\2\2", "E", "e"), (b"\4\0\2", "A.D", "d"), (b"\6\0\0\0", "A.B.C", "c"), (b"\2\x82\0", "E", "e")],
)
def test_message_indexes(indexes, name, field):
    """The indexes lead to messages in messages; the types of maps, which the text does not have, are not counted."""
    schema = in_file(NESTED)
    value = proto_record(schema, name, {field: "x"}, indexes)
    assert codec_of(schema)(value) == {field: "x"}


def test_indexes_of_a_descriptor():
    """In a descriptor that a client has registered the types of maps are messages like others."""
    file = file_descriptors(in_file(NESTED))[-1]
    schema = registered(base64.b64encode(file.SerializeToString()).decode())
    assert codec_of(schema)(proto_record(in_file(NESTED), "A.D", {"d": "x"}, b"\4\0\4")) == {"d": "x"}


@pytest.mark.parametrize(
    "indexes", [b"", b"\1", b"\xff\xff\xff\xff\xff\0", b"\2", b"\2\4", b"\2\1", b"\4\2\0", b"\x92\3"]
)
def test_unfit_indexes(indexes):
    """Indexes that end early, or lead nowhere, are rejected; their neighbours are forecast."""
    good = event_record({"series": "a", "timestamp": 1, "value": 1.0})
    found = decoded(of_events(), [good, frame(1, indexes), good])
    assert [(reject.position, reject.reason) for reject in found.rejects] == [(1, "undecodable")]
    assert found.positions == [0, 2]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20), st.binary(max_size=5))
def test_indexes_round_trip(indexes, rest):
    """The indexes are read as the format writes them, and what follows them is the message."""
    made = bytearray()
    for number in (len(indexes), *indexes):
        left = (number << 1) ^ (number >> 31)
        while left & ~0x7F:
            made.append(left & 0x7F | 0x80)
            left >>= 7
        made.append(left)
    assert message_indexes(frame(1, bytes(made) + rest)) == (tuple(indexes), 5 + len(made))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (registered("syntax"), "cannot be compiled: forecaster/schema.proto:1:7"),
        (registered('syntax = "proto3"; import "gone.proto"; message A {}'), "gone.proto: File not found"),
        (in_file("message A { int32 a = 1; int32 b = 1; }"), "already been used"),
        (in_file("message A { Gone a = 1; }"), '"Gone" is not defined'),
        (in_file("message A { " * 200 + "}" * 200), "cannot be compiled"),
        (registered("\ud800"), "cannot be read"),
        (registered(OUTER, "", [registered(UNIT, "../unit.proto")]), "got a reference with the name '../unit.proto'"),
        (registered(OUTER, "", [registered(UNIT, "/etc/unit.proto")]), "expected the path in its import"),
        (registered(OUTER, "", [registered(UNIT, "u.proto"), registered("", "u.proto")]), "got two schemas"),
    ],
)
def test_refused_protobuf_schemas(schema, text):
    """A schema that cannot be compiled is refused with the compiler's reason."""
    with pytest.raises(SchemaError, match=text.replace("(", r"\(")):
        codec_of(schema)


names = st.text(min_size=1, max_size=8).filter(lambda text: text.strip() and text.isprintable())
records = st.fixed_dictionaries(
    {
        "series": names,
        "timestamp": st.integers(EARLIEST_MS, LATEST_MS),
        "value": st.none() | st.floats(allow_nan=False),
    }
)


@cache
def of_events() -> SchemaFrames:
    """Returns frames with the schema of events, compiled once."""
    return frames_with({1: registered(EVENT)})


@settings(max_examples=60, deadline=None)
@given(st.lists(records, min_size=1, max_size=5))
def test_protobuf_equal_to_json(events):
    """Protobuf records are the same events as JSON records with the same content."""
    fields = {"fields": {"time_unit": "ms"}}
    proto = decoded(of_events(), [event_record(event) for event in events], **fields)
    plain = decoded(frames_with({}), [json.dumps(event).encode() for event in events], **fields)
    assert (proto.series, proto.timestamp_ms.tolist(), proto.rejects) == (plain.series, plain.timestamp_ms.tolist(), [])
    assert proto.value.tobytes() == plain.value.tobytes()
    assert (proto.positions, proto.missing) == (plain.positions, plain.missing)


ALL_KINDS = in_file("""enum Unit { PERCENT = 0; SECONDS = 1; }
message R {
  double d = 1; float f = 2; int64 i = 3; uint64 u = 4; sint32 s = 5; fixed64 x = 6; bool b = 7; string t = 8;
  Unit e = 9; repeated int64 ri = 10; repeated string rt = 11; map<string, double> m = 12; repeated R r = 13;
  optional double o = 14; map<int64, R> n = 15;
}""")
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
longs = st.integers(-(2**63), 2**63 - 1)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "d": finite, "f": st.floats(width=32, allow_nan=False, allow_infinity=False), "i": longs,
    "u": st.integers(0, 2**64 - 1), "s": st.integers(-(2**31), 2**31 - 1), "x": st.integers(0, 2**64 - 1),
    "b": st.booleans(), "t": texts, "e": st.sampled_from(["PERCENT", "SECONDS"]), "ri": st.lists(longs, max_size=3),
    "rt": st.lists(texts, max_size=3), "m": st.dictionaries(texts, finite, max_size=3), "o": finite,
}  # fmt: skip


def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draws messages that hold such messages."""
    more = {"r": st.lists(inner, max_size=2), "n": st.dictionaries(longs.map(str), inner, max_size=2)}
    return st.fixed_dictionaries({}, optional=LEAVES | more)


contents = around(around(st.fixed_dictionaries({}, optional=LEAVES)))


def as_library(content: dict[str, Any]) -> dict[str, Any]:
    """Returns what the library's own conversion to JSON says of a message, with 64-bit integers as numbers."""
    return content | {
        **{name: int(content[name]) for name in ("i", "u", "x")},
        "ri": [int(one) for one in content["ri"]],
        "r": [as_library(one) for one in content["r"]],
        "n": {name: as_library(one) for name, one in content["n"].items()},
        "o": content.get("o"),
    }


@settings(max_examples=150, deadline=None)
@given(contents)
def test_equal_to_the_library(content):
    """A message has the values that the library's conversion to JSON shows, but for the types that JSON lacks."""
    made = message(ALL_KINDS, "R", content)
    shown = json_format.MessageToDict(made, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    found = decoder(ALL_KINDS)(frame(1, b"\0" + made.SerializeToString()))
    assert near(found, as_library(shown))


def near(found: Any, expected: Any) -> bool:
    """Returns whether both are equal; floats of 32 bits are shown with fewer digits."""
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(near(found[name], expected[name]) for name in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(near, found, expected))
    if isinstance(found, float) and found != expected:
        with contextlib.suppress(OverflowError):
            return struct.pack("f", found) == struct.pack("f", expected)
        return False
    return (type(found) is type(expected) and found == expected) or found == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_protobuf_payload(payload):
    """Arbitrary bytes after a frame are an event or a reject, within memory in proportion to their number."""
    decode = decoder(ALL_KINDS)
    tracemalloc.start()
    try:
        with contextlib.suppress(FrameError):
            decode(frame(1, payload))
        with contextlib.suppress(FrameError):
            decode(frame(1, b"\0" + payload))
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200_000 + 1000 * len(payload)


def test_depth():
    """Messages nested deeper than the library reads are rejected."""
    payload = b""
    for _ in range(200):
        size, head = len(payload), bytearray(b"\x6a")
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        payload = bytes([*head, size]) + payload
    with pytest.raises(FrameError, match="does not fit"):
        decoder(ALL_KINDS)(frame(1, b"\0" + payload))


def test_many_defaults():
    """Few bytes that would become millions of default values are rejected before they do."""
    fields = " ".join(f"double f{number} = {number};" for number in range(1, 1001))
    schema = in_file(f"message R {{ repeated S s = 1; }} message S {{ {fields} }}")
    decode = codec_of(schema)
    made = message_class(schema, "R")()
    for _ in range(MOST_VALUES // 1000 - 1):
        made.s.add()
    assert len(decode(frame(1, b"\0" + made.SerializeToString()))["s"]) == 99
    for _ in range(20_000):
        made.s.add()
    with pytest.raises(FrameError, match="more than 100000 values"):
        decode(frame(1, b"\0" + made.SerializeToString()))


def test_missing_values_in_protobuf():
    """NaN and an unset field are missing values; a field without presence is 0."""
    without = in_file("message Event { string series = 1; int64 timestamp = 2; double value = 3; }")
    values = [
        event_record({"series": "a", "timestamp": 1, "value": math.nan}),
        event_record({"series": "a", "timestamp": 2, "value": None}),
        proto_record(without, "Event", {"series": "a", "timestamp": 3}, number=2),
    ]
    found = decoded(frames_with({1: registered(EVENT), 2: without}), values)
    assert (found.missing, found.value.tolist()[2]) == (2, 0.0)
