"""Many Avro payloads at once are decoded to the same events as each by the library, whatever their bytes are."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from avro_records import EVENT, Shelf, decoded, encoded, frame, frames_with
from fastavro import parse_schema, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from service.messages.frames import Wanted
from service.messages.timestamps import plain_milliseconds
from service.schemas import frames as frames_module
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames

FLAT = Wanted((("series",),), ("timestamp",), (("value",),), frozenset(), plain_milliseconds("auto"))
MILLISECONDS = {"type": "long", "logicalType": "timestamp-millis"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}


class OneByOne(SchemaFrames):
    """Decodes with the library only."""

    def columns(self, values: Any, wanted: Any) -> None:
        """There is no other way."""


@pytest.fixture(autouse=True, scope="module")
def _few():
    """Takes few records for many."""
    before, frames_module._FEWEST = frames_module._FEWEST, 1
    yield
    frames_module._FEWEST = before


def payload_of(kind: Any, value: Any) -> bytes:
    """Encodes a value."""
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema(kind), value)
    return stream.getvalue()


def check(schemas: dict[int, Any], values: list[bytes], **more: Any) -> Any:
    """Decodes records in both ways; returns the events."""
    fast, slow = frames_with(schemas), OneByOne(Shelf(schemas), codec_of, 100)
    found, expected = decoded(fast, values, **more), decoded(slow, values, **more)
    assert found.timestamp_ms.tolist() == expected.timestamp_ms.tolist()
    assert found.value.tobytes() == expected.value.tobytes()
    plain = [replace(one, timestamp_ms=None, value=None, covariates=None, future=None) for one in (found, expected)]
    assert plain[0] == plain[1]
    return found


def usual(schema: Any, values: list[bytes], wanted: Wanted = FLAT) -> list[bool]:
    """Returns which records are decoded in columns."""
    frames = frames_with({1: schema})
    frames.prepare(values)
    found = frames.columns(values, wanted)
    return [False] * len(values) if found is None else found.usual.tolist()


def record(name: str, **fields: Any) -> dict[str, Any]:
    """Returns the schema of a record."""
    return {"type": "record", "name": name, "fields": [{"name": one, "type": kind} for one, kind in fields.items()]}


def test_usual_records():
    """Records with optional values, of all lengths of numbers, are decoded in columns, none by the library."""
    values = [
        encoded(EVENT, {"series": name, "timestamp": at, "value": value})
        for name in ("a", "é", "x" * 300, "\U0001f600")
        for at in (0, -1, 63, 64, -65, 1 << 20, 1 << 41, (1 << 55) - 1, 1 << 55, -(1 << 61))
        for value in (None, 0.1, -math.inf)
    ]
    assert usual(EVENT, values) == [True] * len(values)
    check({1: EVENT}, values)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", True), ("int", -5), ("long", 1 << 60), ("float", 1.5), ("double", 2.5), ("string", "üx"),
        ("bytes", b"\xff\0"), ("null", None), (MILLISECONDS, 7), (DECIMAL, b"\1\2"),
        ({"type": "fixed", "name": "F", "size": 3}, b"abc"),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, "b"),
        ({"type": "array", "items": "string"}, ["a", "b", ""]),
        ({"type": "array", "items": "string"}, []),
        ({"type": "map", "values": ["null", "long"]}, {"a": 1, "b": None}),
        ({"type": "array", "items": {"type": "array", "items": "int"}}, [[1], [], [2, 3]]),
        (["null", record("N", a="int", b=["string", "long"])], {"a": 1, "b": "x"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_passed_types(kind, value, first):
    """Fields of every type are passed, in front of the wanted ones and behind them."""
    wanted = {"series": "string", "timestamp": "long", "value": "float"}
    schema = record("R", **({"other": kind, **wanted} if first else {**wanted, "other": kind}))
    if kind == DECIMAL:
        schema["fields"][0 if first else -1]["type"] = "bytes"  # the library writes bytes as they are
    row = {"series": "a", "timestamp": 1_700_000_000_000, "value": 1.5, "other": value}
    values = [encoded(schema, row | {"series": f"s{at}"}) for at in range(5)]
    schema["fields"][0 if first else -1]["type"] = kind
    assert usual(schema, values) == [True] * 5
    check({1: schema}, values)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (DECIMAL, "value", b"\1"), ("boolean", "value", True), ("string", "value", "2.5"), (MILLISECONDS, "value", 5),
        ("long", "series", 17), ("bytes", "series", b"a"), ("boolean", "timestamp", True),
        (["null", "string"], "series", None), (["null", "long"], "timestamp", None), ("string", "series", ""),
    ],
)  # fmt: skip
def test_other_records(kind, field, value):
    """What is no number, name or time as it is, is left to the other decoder, with its conversion or reject."""
    schema = record("R", **({"series": "string", "timestamp": "long", "value": "double"} | {field: kind}))
    plain = record("R", **({"series": "string", "timestamp": "long", "value": "double"} | {field: kind}))
    if kind == DECIMAL:
        plain["fields"][2]["type"] = "bytes"
    values = [encoded(plain, {"series": "a", "timestamp": 1, "value": 1.5} | {field: value})]
    assert usual(schema, values) == [False]
    check({1: schema}, values)


def test_names_with_dots():
    """A record with a field whose name is the whole text of a path is left: that field counts."""
    schema = record("R", sensor=record("S", id="string"), timestamp="long", value="double")
    values = [encoded(schema, {"sensor": {"id": "a"}, "timestamp": 1, "value": 1.0})]
    wanted = FLAT._replace(texts=(("sensor", "id"),), without=frozenset({"sensor.id"}))
    assert usual(schema, values, wanted) == [True]
    assert usual(schema, values, wanted._replace(without=frozenset({"sensor"}))) == [False]


def test_mixed_batch():
    """The order of events stays where records of several schemas, JSON, and broken ones are mixed."""
    other = record("O", series="string", value="int", timestamp=["string", MILLISECONDS], more="string")
    row = {"series": "a", "timestamp": 1_700_000_000_000, "value": 2}
    kinds = [
        encoded(EVENT, row),
        encoded(other, row | {"more": "x"}, 2),
        encoded(other, row | {"more": "x", "timestamp": "2026-01-01T00:00:00Z"}, 2),
        json.dumps(row).encode(),
        frame(1, b"\2"),
        frame(9, b"\2a"),
        b"",
        b"\0\0",
    ]
    values = [kinds[at] for at in np.random.default_rng(1).integers(0, len(kinds), 200)]
    found = check({1: EVENT, 2: other}, values)
    assert len(found) + len(found.rejects) == 200


def test_names_of_parts():
    """Names of several fields, texts and values are the same in both ways."""
    schema = record("R", site=record("S", id="string"), at="long", cpu="double", mem=["null", "float"])
    values = [encoded(schema, {"site": {"id": f"s{i}"}, "at": i, "cpu": i, "mem": None}) for i in range(9)]
    fields = {"series": "x-{site.id}/{field}", "timestamp": "at", "values": ["mem", "cpu"]}
    assert check({1: schema}, values, fields=fields).series[:2] == ["x-s0/mem", "x-s0/cpu"]
    wanted = Wanted((("site", "id"),), ("at",), (("mem",), ("cpu",)), frozenset(), plain_milliseconds("auto"))
    assert usual(schema, values, wanted) == [True] * 9


unused = st.recursive(
    st.sampled_from(["boolean", "int", "long", "float", "double", "string", "bytes", "null"])
    | st.sampled_from([MILLISECONDS, DECIMAL, {"type": "int", "logicalType": "date"}]),
    lambda inner: st.builds(lambda items: {"type": "array", "items": items}, inner)
    | st.builds(lambda values: {"type": "map", "values": values}, inner)
    | st.builds(lambda kind: ["null", kind] if not isinstance(kind, list) and kind != "null" else kind, inner),
    max_leaves=5,
)  # fmt: skip
times = st.sampled_from(
    [
        *("long", "int", "double", "string", MILLISECONDS, {"type": "int", "logicalType": "date"}),
        ["null", MILLISECONDS],
        ["string", "long", {"type": "long", "logicalType": "timestamp-micros"}],
    ]
)
numbers = st.sampled_from(["double", "float", "int", "long", ["null", "double"], ["int", "string", "null"], "boolean"])
names = st.sampled_from(["string", ["null", "string"], {"type": "enum", "name": "E", "symbols": ["p", "q"]}])


def values_of(kind: Any) -> st.SearchStrategy[bytes]:
    """Returns encoded values of a type."""
    if isinstance(kind, list):
        branches = [values_of(one).map(lambda text, at=at: payload_of("int", at) + text) for at, one in enumerate(kind)]
        return st.one_of(branches)
    name = kind if isinstance(kind, str) else kind["type"]
    if name == "array":
        blocks = st.lists(st.lists(values_of(kind["items"]), min_size=1, max_size=3), max_size=2)
        return st.tuples(blocks, st.booleans()).map(lambda drawn: in_blocks(*drawn))
    if name == "map":
        pair = st.tuples(values_of("string"), values_of(kind["values"])).map(b"".join)
        return st.lists(pair, max_size=3).map(lambda pairs: in_blocks([pairs] if pairs else [], sized=False))
    if name == "record":
        return st.tuples(*(values_of(one["type"]) for one in kind["fields"])).map(b"".join)
    of_python = {
        "boolean": st.booleans(),
        "int": st.integers(-(1 << 31), (1 << 31) - 1),
        "long": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(1_600_000_000_000, 1_900_000_000_000),
        "float": st.floats(width=32),
        "double": st.floats(),
        "string": st.text(max_size=6) | st.just("2026-01-01T00:00:00Z"),
        "bytes": st.binary(max_size=6) | st.just(bytes(70)),
        "null": st.none(),
        "enum": st.sampled_from(["p", "q"]),
    }
    plain = kind if name == "enum" else name
    return of_python[name].map(lambda value: payload_of(plain, value))


def in_blocks(blocks: list[list[bytes]], sized: bool) -> bytes:
    """Encodes an array, with the size of each block in bytes or without."""
    made = b""
    for block in blocks:
        body = b"".join(block)
        made += payload_of("long", -len(block)) + payload_of("long", len(body)) if sized else b""
        made += (b"" if sized else payload_of("long", len(block))) + body
    return made + b"\0"


@st.composite
def batches(draw) -> tuple[Any, list[bytes]]:
    """Draws a schema, and payloads of which some are damaged."""
    fields = {"series": draw(names), "timestamp": draw(times), "data": record("D", value=draw(numbers))}
    if draw(st.booleans()):
        fields["data"] = ["null", fields["data"]]
    fields |= {f"o{at}": kind for at, kind in enumerate(draw(st.lists(unused, max_size=3)))}
    order = draw(st.permutations(list(fields)))
    schema = record("R", **{name: fields[name] for name in order})
    payloads = draw(st.lists(values_of(schema), min_size=1, max_size=6))
    made = []
    for payload in payloads:
        damage = draw(st.sampled_from(["", "", "", "cut", "more", "byte"]))
        at = draw(st.integers(0, len(payload)))
        if damage == "cut":
            payload = payload[:at]
        elif damage == "more":
            payload += draw(st.binary(min_size=1, max_size=3))
        elif damage == "byte":
            payload = payload[:at] + bytes([draw(st.integers(0, 255))]) + payload[at + 1 :]
        made.append(frame(1, payload))
    return schema, made


@settings(max_examples=200, deadline=None)
@given(batches(), st.sampled_from(["auto", "s", "ms", "us"]))
def test_equal_to_the_library(batch, unit):
    """Any schema, and any bytes: the events and rejects are those of the library."""
    schema, values = batch
    check({1: schema}, values, fields={"value": "data.value", "time_unit": unit})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), unused)
def test_any_bytes(payloads, kind):
    """Arbitrary bytes behind a frame do no harm."""
    schema = record("R", series="string", o=kind, timestamp="long", value=["null", "double"])
    check({1: schema}, [frame(1, payload) for payload in payloads])


def test_bounded_time():
    """Records that would take a step for each of their bytes are left to the other decoder."""
    array: Any = {"type": "array", "items": {"type": "array", "items": "int"}}
    schema = record("R", o=array, series="string", timestamp="long", value="double")
    row = {"series": "a", "timestamp": 1, "value": 1.0, "o": [[at] for at in range(50_000)]}
    values = [encoded(schema, row)]
    began = time.perf_counter()
    assert usual(schema, values) == [False]
    assert time.perf_counter() - began < 5
