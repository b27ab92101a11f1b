"""Envelopes around JSON events: recognised by their complete shape, removed, and their logical types converted."""

from __future__ import annotations

import json
import math
import time
from base64 import b64encode
from contextlib import suppress
from copy import deepcopy
from decimal import Decimal
from typing import Any, get_args

import pytest
from envelope_records import ROW, SOURCE, change, cloudevent
from hypothesis import given
from hypothesis import strategies as st

from service.messages.envelopes import Envelope, NotAnEvent, Unwrapped, unwrap
from service.messages.timestamps import Milliseconds

CONNECT_NAMES = [f"org.apache.kafka.connect.data.{name}" for name in ("Decimal", "Timestamp", "Date", "Time")]
DEBEZIUM_NAMES = [f"io.debezium.time.{name}" for name in ("Timestamp", "MicroTimestamp", "NanoTimestamp", "Date")]
NAMES = [*CONNECT_NAMES, *DEBEZIUM_NAMES, "io.debezium.data.VariableScaleDecimal"]
OF_CONNECT = ["schema", "payload", "fields", "field", "name", "items", "keys", "values", "parameters", "scale", "value"]
OF_DEBEZIUM = ["op", "before", "after", "source", "ts_ms", "connector", "iodebeziumop", "iodebeziumtsms"]
OF_CLOUDEVENTS = ["specversion", "type", "id", "data", "data_base64", "datacontentencoding"]
WORDS = [*OF_CONNECT, *OF_DEBEZIUM, *OF_CLOUDEVENTS]
TEXTS = ["c", "d", "t", "1.0", "0.3", "base64", "struct", "array", "map", "2", "AQ==", "e30=", "{", '{"a": 1}', *NAMES]

scalars = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(TEXTS) | st.text(max_size=4)
values = st.recursive(
    scalars | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=15,
)


def struct(**fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a struct."""
    return {"type": "struct", "optional": False, "fields": [{**kind, "field": name} for name, kind in fields.items()]}


def schemas(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Returns schemas of any nesting with these names of logical types."""
    leaf = st.fixed_dictionaries(
        {"type": st.sampled_from(["int64", "bytes", "struct", "string"])},
        optional={"name": st.sampled_from(names), "parameters": st.just({"scale": "2"}) | values},
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.builds(lambda kind: {"type": "array", "items": kind}, inner)
            | st.builds(lambda kind: {"type": "map", "values": kind}, inner)
            | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4).map(lambda fields: struct(**fields))
        ),
        max_leaves=6,
    )


connects = st.fixed_dictionaries({"schema": st.none() | schemas(NAMES) | values, "payload": values})
changes = st.fixed_dictionaries(
    {"op": st.sampled_from("curdtmx"), "before": st.none() | values, "after": values, "ts_ms": values}
)
cloudevents = st.fixed_dictionaries(
    {"specversion": st.sampled_from(["1.0", "0.3", "2.0"]), "type": st.just("t"), "id": st.just("1")},
    optional={"data": values | connects | changes, "data_base64": values, "iodebeziumop": st.sampled_from("cdx")},
).map(lambda event: event | {"source": "/a"})


def typed(kind: dict[str, Any], value: object) -> object:
    """Returns what becomes of a value with this schema."""
    return unwrap({"schema": kind, "payload": value}, "connect").payload


def logical(name: str, **more: object) -> dict[str, Any]:
    """Returns the schema of a logical type."""
    return {"type": "int64", "optional": True, "name": name, "version": 1, **more}


def decimal(scale: object) -> dict[str, Any]:
    """Returns the schema of Kafka Connect's decimals."""
    return logical(CONNECT_NAMES[0], type="bytes", parameters={"scale": scale})


def encoded(number: int, size: int | None = None) -> str:
    """Returns a number as Java's BigInteger.toByteArray, in base64."""
    shortest = (~number if number < 0 else number).bit_length() // 8 + 1
    return b64encode(number.to_bytes(size or shortest, "big", signed=True)).decode()


@given(values | connects | changes | cloudevents, st.sampled_from(get_args(Envelope)))
def test_any_record(record: object, envelope: Envelope) -> None:
    """Whatever a record has, it is unwrapped or it is no event; it is never modified."""
    before = deepcopy(record)
    with suppress(NotAnEvent):
        assert isinstance(unwrap(record, envelope), Unwrapped)
    assert record == before


@given(values, st.none() | schemas(["io.debezium.data.Json", "server.table.Value"]))
def test_connect_around_any_value(value: object, schema: dict[str, Any] | None) -> None:
    """The payload of a Kafka Connect envelope whose schema has no logical types is returned as it is."""
    assert unwrap({"schema": schema, "payload": value}, "connect").payload is value


@given(st.dictionaries(st.sampled_from([word for word in WORDS if word != "id"]) | st.text(max_size=3), scalars))
def test_plain_events(event: dict[str, object]) -> None:
    """A flat event stays the same object whatever its fields are called."""
    assert unwrap(event) == (event, None)
    assert unwrap(event).payload is event


@pytest.mark.parametrize(
    "record",
    [
        ROW,
        ROW | {"payload": 1},
        ROW | {"op": "c"},
        {"schema": {"type": "string"}, "payload": 1, "series": "a"},
        {"schema": "public", "payload": ROW},
        {"schema": ["public"], "payload": ROW},
        {"payload": ROW},
        {"op": "x", "before": None, "after": ROW},
        {"op": "cu", "before": None, "after": ROW},
        {"op": "", "before": None, "after": ROW},
        {"op": ["c"], "before": None, "after": ROW},
        {"op": "u", "before": 1.5, "after": 2.5},
        {"op": "c", "after": ROW},
        {"op": "c", "after": ROW, "source": "sensor"},
        {"op": "c", "source": SOURCE},
        {"op": "t", "source": {"name": "a"}},
        cloudevent(),
        cloudevent(data=ROW, specversion="2.0"),
        cloudevent(data=ROW, specversion=1.0),
        cloudevent(data=1.5, id=None),
        {"specversion": "1.0", "data": "text"},
        [change()],
        "text",
        None,
    ],
)
def test_similar_records(record: object) -> None:
    """A record with a part of the shape of an envelope is not taken for one, and not of any named kind."""
    assert unwrap(record).payload is record
    for envelope in ("connect", "debezium", "cloudevents"):
        with pytest.raises(NotAnEvent, match=r"^got .*, expected an? "):
            unwrap(record, envelope)


@pytest.mark.parametrize(
    ("envelope", "record"),
    [
        ("connect", {"schema": None, "payload": ROW}),
        ("connect", {"schema": {"type": "struct", "fields": []}, "payload": ROW}),
        ("debezium", change("c")),
        ("debezium", change("u", before=ROW)),
        ("debezium", change("r")),
        ("debezium", {"op": "c", "before": None, "after": ROW}),
        ("debezium", {"op": "c", "after": ROW, "source": SOURCE}),
        ("debezium", {"schema": None, "payload": change()}),
        ("cloudevents", cloudevent(data=ROW)),
        ("cloudevents", cloudevent(data=ROW, data_base64=None)),
        ("cloudevents", cloudevent(data=ROW, specversion="0.3")),
        ("cloudevents", cloudevent(data=" " + json.dumps(ROW))),
        ("cloudevents", cloudevent(data_base64=b64encode(json.dumps(ROW).encode()).decode())),
        ("cloudevents", cloudevent(data=None, data_base64=b64encode(json.dumps(ROW).encode()).decode())),
        (
            "cloudevents",
            cloudevent(
                data=b64encode(json.dumps(ROW).encode()).decode(), specversion="0.3", datacontentencoding="base64"
            ),
        ),
    ],
)
def test_each_kind(envelope: Envelope, record: dict[str, Any]) -> None:
    """A kind that is named is removed as well by shape; "none" leaves it."""
    assert unwrap(record, envelope).payload == ROW
    assert unwrap(record).payload == ROW
    assert unwrap(record, "none") == (record, None)


def test_other_kinds_are_refused() -> None:
    """An envelope of another kind than named is refused, with what it has instead."""
    for envelope, record in (
        ("connect", change()),
        ("debezium", cloudevent(data=change())),
        ("cloudevents", {"schema": None, "payload": ROW}),
    ):
        with pytest.raises(NotAnEvent, match=f"got an object with the fields '{next(iter(record))}', "):
            unwrap(record, envelope)
    with pytest.raises(NotAnEvent, match="got an object with the fields 'series', 'timestamp', 'value', expected"):
        unwrap({"schema": None, "payload": ROW}, "debezium")
    with pytest.raises(NotAnEvent, match=r"'a{39}, 'b', 'c', 'd', 'e', 'f' \.\.\., expected") as found:
        unwrap(dict.fromkeys(["a" * 10_000, *"bcdefgh"]), "connect")
    assert len(str(found.value)) < 300


def test_nested_envelopes() -> None:
    """CloudEvents around Kafka Connect around Debezium is removed at once, with the types and the time."""
    row = struct(series={"type": "string"}, timestamp=logical("io.debezium.time.MicroTimestamp"), value=decimal("2"))
    schema = struct(before=row, after=row, op={"type": "string"}, ts_ms={"type": "int64"})
    after = {"series": "a", "timestamp": 1767571200000999, "value": encoded(-150)}
    found = unwrap(cloudevent(data=json.dumps({"schema": schema, "payload": change(after=after)})))

    assert found == ({"series": "a", "timestamp": 1767571200000, "value": -1.5}, 1767571200002)
    assert type(found.payload) is dict
    assert type(found.payload["timestamp"]) is Milliseconds


def test_each_envelope_once() -> None:
    """A row that looks like an envelope is not opened: it is a table with such columns."""
    for row in (change(), {"schema": None, "payload": 1}, cloudevent(data=1)):
        assert unwrap(change(after=row)).payload is row
        assert unwrap(cloudevent(data={"schema": None, "payload": change(after=row)})).payload is row


@pytest.mark.parametrize("around", [lambda data: data, lambda data: {"schema": None, "payload": data}])
@pytest.mark.parametrize("rows", [{"before": None, "after": ROW}, {"after": ROW}])
def test_cloudevents_of_debezium(around: Any, rows: dict[str, Any]) -> None:
    """The CloudEvents of Debezium's own converter have the operation as an attribute instead of in the data."""
    event = cloudevent(data=around(rows), iodebeziumop="r", iodebeziumtsms="1767571200001")
    assert unwrap(event) == (ROW, 1767571200001)
    assert unwrap(event | {"iodebeziumtsms": 1767571200001}) == (ROW, 1767571200001)
    assert unwrap(event | {"iodebeziumop": "n"}) == (rows, None)
    with pytest.raises(NotAnEvent, match="Debezium delete"):
        unwrap(event | {"iodebeziumop": "d"})


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (change("d", before=ROW, after=None), "delete"),
        (change("d"), "delete"),
        (change("t", after=None), "truncate"),
        ({"op": "t", "source": SOURCE, "ts_ms": 1}, "truncate"),
        ({"op": "m", "source": SOURCE, "ts_ms": 1, "message": {"prefix": "a", "content": "AQ=="}}, "message"),
        (change("u", after=None), "update"),
        ({"op": "c", "before": ROW, "source": SOURCE}, "create"),
    ],
)
def test_changes_without_a_row(record: dict[str, Any], name: str) -> None:
    """A change that leaves no row is no event, within its Kafka Connect envelope too."""
    for found in (record, {"schema": None, "payload": record}):
        for envelope in ("auto", "debezium"):
            with pytest.raises(NotAnEvent, match=f'got a Debezium {name} .*, expected .*"after"'):
                unwrap(found, envelope)


@pytest.mark.parametrize(
    ("time_ms", "expected"), [(5, 5), (0, 0), (None, None), ("5", None), (True, None), (5.5, None)]
)
def test_the_time_of_a_change(time_ms: object, expected: int | None) -> None:
    """The change's own time is returned in milliseconds, and the row keeps a column of that name."""
    found = unwrap(change(ts_ms=time_ms, after=ROW | {"ts_ms": 7}))
    assert found == (ROW | {"ts_ms": 7}, expected)
    assert type(found.time_ms) is (type(None) if expected is None else Milliseconds)


@given(st.integers(-(2**63), 2**63 - 1))
def test_times(number: int) -> None:
    """Each time of a schema becomes milliseconds, rounded to the past, that no configured unit changes."""
    for name, expected in (
        ("org.apache.kafka.connect.data.Timestamp", number),
        ("org.apache.kafka.connect.data.Date", number * 86_400_000),
        ("io.debezium.time.Timestamp", number),
        ("io.debezium.time.MicroTimestamp", math.floor(Decimal(number).scaleb(-3))),
        ("io.debezium.time.NanoTimestamp", math.floor(Decimal(number).scaleb(-6))),
        ("io.debezium.time.Date", number * 86_400_000),
    ):
        found = typed(logical(name), number)
        assert (type(found), found) == (Milliseconds, expected)


@given(st.integers(-(2**511), 2**511 - 1), st.integers(-400, 400))
def test_decimals(unscaled: int, scale: int) -> None:
    """A decimal of up to 64 bytes becomes the nearest float; outside of the range of floats it stays text."""
    text = encoded(unscaled)
    expected = float(Decimal(f"{unscaled}e{-scale}"))
    both = {"scale": scale, "value": text}
    fits = math.isfinite(expected)

    assert typed(decimal(str(scale)), text) == (expected if fits else text)
    assert typed(logical(NAMES[-1], type="struct"), both) == (expected if fits else both)


def test_the_longest_decimal() -> None:
    """A decimal of more than 64 bytes is not converted, whatever its value is."""
    assert typed(decimal("0"), encoded(1, size=64)) == 1.0
    assert typed(decimal("0"), encoded(1, size=65)) == encoded(1, size=65)
    assert typed(decimal("0"), encoded(1, size=66)) == encoded(1, size=66)
    assert typed(decimal("0"), "A" * 4_000_000) == "A" * 4_000_000


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((decimal("2"), value) for value in ("", "?", "AQ", "AQ=", "AQ==AQ==", " AQ==", "é", 1.5, 7, True, None, [])),
        *((decimal(scale), "AQ==") for scale in (None, 2, "", "x", "2.0", "9" * 12, "9" * 5000, [])),
        (logical(NAMES[0]), "AQ=="),
        (logical(NAMES[0], parameters=["scale"]), "AQ=="),
        *((logical(name), value) for name in NAMES[1:3] + NAMES[4:8] for value in ("5", 5.0, True, None, [5], {})),
        (logical("org.apache.kafka.connect.data.Time"), 5),
        *(
            (logical(NAMES[-1], type="struct"), value)
            for value in ("AQ==", None, {}, {"scale": 1}, {"scale": "1", "value": "AQ=="}, {"scale": 1, "value": 1})
        ),
        (logical(NAMES[-1]), {"scale": True, "value": "AQ=="}),
        (logical(NAMES[-1]), {"scale": 10**4000, "value": "AQ=="}),
        (struct(value=decimal("2")), ["AQ=="]),
        ({"type": "array", "items": decimal("2")}, {"a": "AQ=="}),
        ({"type": "map", "values": decimal("2")}, "AQ=="),
    ],
)
def test_values_that_do_not_fit(kind: dict[str, Any], value: object) -> None:
    """A value that does not fit its schema remains, for the reject to show."""
    assert typed(kind, value) is value


def test_nested_types() -> None:
    """Logical types are found in structs, arrays and maps of both forms; all else is as it was, in its order."""
    day, price = logical("io.debezium.time.Date"), decimal("1")
    schema = struct(
        days={"type": "array", "items": day},
        prices={"type": "map", "keys": {"type": "string"}, "values": price},
        pairs={"type": "map", "keys": {"type": "int32"}, "values": price},
        inner={"type": "array", "items": struct(price=price, gone=price)},
        plain={"type": "string"},
    )
    value = {
        "plain": "AQ==",
        "unknown": "AQ==",
        "days": [0, None, 2],
        "prices": {"a": "DA=="},
        "pairs": [[1, "DA=="], [1], "DA=="],
        "inner": [{"price": "DA==", "other": "DA=="}, {}],
    }
    found = typed(schema, value)

    assert found == {
        "plain": "AQ==",
        "unknown": "AQ==",
        "days": [0, None, 172_800_000],
        "prices": {"a": 1.2},
        "pairs": [[1, 1.2], [1], "DA=="],
        "inner": [{"price": 1.2, "other": "DA=="}, {}],
    }
    assert isinstance(found, dict)
    assert list(found) == list(value)


@pytest.mark.parametrize("wrap", [lambda kind: {"type": "array", "items": kind}, lambda kind: struct(a=kind)])
def test_the_depth_of_schemas(wrap: Any) -> None:
    """Types are converted to a fixed depth; below it, and in schemas of any depth, values remain."""

    def nested(levels: int, kind: Any, value: Any) -> tuple[Any, Any]:
        for _ in range(levels):
            kind, value = wrap(kind), [value] if "items" in wrap(kind) else {"a": value}
        return kind, value

    for levels, expected in ((0, 0.1), (31, 0.1), (32, "AQ=="), (20_000, "AQ==")):
        kind, value = nested(levels, decimal("1"), "AQ==")
        found: Any = typed(kind, value)
        for _ in range(levels):
            found = found[0] if isinstance(found, list) else found["a"]
        assert found == expected


def test_the_time_of_long_schemas() -> None:
    """The time is the sum of the sizes of schema and payload, not their product."""
    schema = {"type": "array", "items": struct(**{f"f{number}": decimal("1") for number in range(20_000)})}
    value = [{"f1": "AQ=="}] + [{} for _ in range(20_000)]
    start = time.process_time()
    found = typed(schema, value)

    assert found == [{"f1": 0.1}] + [{}] * 20_000
    assert time.process_time() - start < 5
