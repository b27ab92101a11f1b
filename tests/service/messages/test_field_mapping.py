"""Mapping of records to events: laws for any table and any bytes."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapped_records import (
    METRICS,
    NOON,
    WIDE,
    Row,
    decode,
    dumped,
    flat,
    forms,
    only,
    outcomes,
    record,
    tables,
    wide,
)

from service.messages.parse_csv import SEPARATORS


@given(tables())
def test_all_json_forms_have_the_same_events(table: list[Row]) -> None:
    """A table gives the same events in the same order, whatever the form of its records."""
    expected = [("/".join((one["site"], one["host"], one["metric"])), one["t"], one["v"]) for one in flat(table)]
    for form, (values, fields) in forms(table).items():
        assert only(*values, fields=fields) == expected, form


@given(
    tables(),
    st.sampled_from(list(SEPARATORS)),
    st.sampled_from([(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (".", "'"), (",", "_")]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_csv_has_the_events_of_json(
    table: list[Row],
    separator: str,
    notation: tuple[str, str],
    quoting: Any,
    auto: bool,
) -> None:
    """A wide CSV file has the events of wide JSON records, whatever its separators."""
    decimal, thousands = notation
    text = io.StringIO()
    writer = csv.writer(text, delimiter=SEPARATORS[separator], quoting=quoting, lineterminator="\n")
    signs = str.maketrans({",": thousands, ".": decimal})
    writer.writerow(["t", "c2", "host", "c0", "site", "c1"])  # the order of the columns differs from the configured one
    for site, host, time, values in table:
        first, second, third = ("" if value is None else f"{value:,.2f}".translate(signs) for value in values)
        writer.writerow([time, third, host, first, site, second])
    header, *lines = text.getvalue().encode().splitlines()
    fields = {"series": "{site}/{host}/{field}", "timestamp": "t", "values": METRICS}
    notated = fields | {"decimal": decimal, "thousands": thousands}

    found = only(*lines, header=header, fields=notated, separator="auto" if auto else separator)

    assert found == only(*dumped(*wide(table)), fields=fields)


CELLS = [
    "1",
    "-2.5",
    "",
    " ",
    " 3 ",
    "nan",
    "NaN",
    "inf",
    "1e400",
    "true",
    "null",
    "NA",
    "1_0",
    "x",
    "1,5",
    "é",
    "\x0b",
]
TIMES = ["5", str(NOON), " 5 ", "", " ", "2026-01-01T12:00:00Z", "2026-01-01 12:00:00", "x", "5.0"]
SERIES = ["a", "b c", " a ", "", " ", "\t", "\x0b", "\u2003", "1"]
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "one value": ("series;timestamp;value;r;x", {"fields": {"record_time": "r"}}),
    "several": ("series;timestamp;a;b;r", {"fields": {"values": ["a", "b"]}}),
    "reject": ("series;timestamp;a;b;r", {"fields": {"values": ["a", "b"]}, "partial": "reject"}),
    "decimal comma": ("series;timestamp;a;b;r", {"fields": {"values": ["a", "b"], "decimal": ","}}),
    "all": ("series;timestamp;a;b;r", {"fields": {"values": ["*"], "record_time": "r"}}),
    "a name and all": ("series;timestamp;b;a;r", {"fields": {"values": ["a", "*"]}}),
    "globs": ("series;timestamp;p.a;p.b;q", {"fields": {"values": ["p.*"]}}),
    "twice": ("series;timestamp;a;a;b", {"fields": {"values": ["*"]}}),
    "pointers": ("series;timestamp;value;r;x", {"fields": {"value": "/value", "record_time": "/r"}}),
    "template": (
        "series;timestamp;a;b;r",
        {"fields": {"series": "{series}-{r}", "values": ["a"]}, "covariates": ["b"]},
    ),
    "a condition": ("series;timestamp;a;b;r", {"fields": {"values": ["a", "b"]}, "where": "b > 1 or r == '5'"}),
    "a condition on texts": ("series;timestamp;value;b;r", {"where": "series != 'a' and (b is null or b in [1, 'x'])"}),
    "arrays": ("series;timestamp;s[].v;b;r", {"fields": {"value": "s[].v"}}),
}


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_csv_by_column_and_by_line(name: str, data: st.DataObject) -> None:
    """Lines of CSV have the same result together, alone, and in a batch with a line that has quotes."""
    header, config = FILES[name]
    cell = st.sampled_from(CELLS)
    line = st.tuples(st.sampled_from(SERIES), st.sampled_from(TIMES), cell, cell, st.sampled_from(["", "5", " ", "1"]))
    lines = [";".join(cells).encode() for cells in data.draw(st.lists(line, min_size=1, max_size=3))]
    how = {"header": header.encode(), "separator": ";", **config}

    together = outcomes(*lines, **how)

    assert together == [one for line in lines for one in outcomes(line, **how)]
    assert together == outcomes(*lines, b'"s";5;1;2;3', **how)[:-1]


TOKENS = {
    "series": [
        '"s"',
        '""',
        '" "',
        "5",
        "5.0",
        "1.5",
        "true",
        "null",
        '{"string":"u"}',
        '"\\ud800"',
        '"\xff"',
    ],
    "timestamp": ["5", str(NOON), "5.0", "1.5", '"5"', '""', '" "', "true", "null", '{"long":7}', "1e400", "NaN"],
    "value": ["1", "-2.5", '"1.5"', '"x"', '""', "null", "NaN", "1e400", "false", "[]", '{"double":2.5}', "1" * 400],
    "r": ["5", '"5"', '""', '" "', "null", "true", "[]", '"x"', str(NOON)],
    "unused": ["1", '"\\ud800"', '"a\nb"', "01", "[[1],{}]", "1e999", "NaN", '{"op":"d"}'],
}


GOOD = {"series": '"s"', "timestamp": "5", "value": "1"}


@pytest.mark.parametrize(("name", "token"), [(name, token) for name, tokens in TOKENS.items() for token in tokens])
def test_flat_records_as_a_struct_and_as_an_object(name: str, token: str) -> None:
    """A flat record has the same result if a path has another spelling, which excludes the struct."""
    tokens = GOOD | {name: token}
    value = b"{" + b",".join(b'"%b":%b' % (key.encode(), text.encode("latin-1")) for key, text in tokens.items()) + b"}"

    found = [outcomes(value, fields={"timestamp": path, "record_time": "r"}) for path in ("timestamp", "/timestamp")]

    assert found[0] == found[1]


SHAPED: dict[str, dict[str, Any]] = {
    "nested": {"fields": {"series": "a.s", "timestamp": "b.t", "value": "a.v", "record_time": "b.r"}},
    "template": {"fields": {"series": "{a.s}/{b.s}", "timestamp": "b.t", "value": "a.v"}},
    "several": {"fields": {"series": "a.s", "timestamp": "b.t", "values": ["a.v", "b.w"]}},
    "names of the values": {"fields": {"series": "", "timestamp": "t", "values": ["a.v", "v", "b.w"]}},
    "a condition": {"fields": {"series": "a.s", "timestamp": "t", "value": "v"}, "where": "v > 1 or b.w is null"},
    "a condition on used fields": {
        "fields": {"series": "a.s", "timestamp": "t", "values": ["a.v", "v"]},
        "where": "not (a.s == 'x') and (v is null or a.v != 2.5) or b.r == 5",
    },
    "covariates": {"fields": {"series": "a.s", "timestamp": "t", "values": ["v", "a.v"]}, "covariates": ["b.w"]},
}
PARTS = st.fixed_dictionaries({}, optional={
    "s": st.sampled_from(["x", "y", "", 5, None]), "t": st.sampled_from([5, "7", "x", None, True]),
    "v": st.sampled_from([1, 2.5, None, "3", "x", []]), "w": st.sampled_from([1, -1.5, None, "y"]),
    "r": st.sampled_from([5, None, "x"]), "a.s": st.just("literal"), "a.v": st.just(9),
})  # fmt: skip


@pytest.mark.parametrize("name", SHAPED)
@given(st.lists(st.tuples(PARTS, PARTS | st.none(), PARTS | st.just(3)), min_size=1, max_size=3))
def test_records_of_other_shapes_as_a_struct_and_as_an_object(name: str, parts: list[tuple[Any, Any, Any]]) -> None:
    """Nested and wide records have the same result if a path is spelled as a pointer, which excludes the struct."""
    values = [json.dumps(top | {"a": a, "b": b}).encode() for top, a, b in parts]
    config = SHAPED[name]
    time = config["fields"]["timestamp"]
    spelled = config | {"fields": config["fields"] | {"timestamp": "/" + time.replace(".", "/")}}
    assert outcomes(*values, **config) == outcomes(*values, **spelled)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["s", "", "5", "x", "2026-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*TOKENS, "a", "b", "payload", "samples", "exclude", "double", "op"]), inner)
    ),
    max_leaves=12,
)
ANY: list[dict[str, Any]] = [
    {"fields": {"record_time": "r"}, "covariates": ["a"]},
    {"fields": WIDE, "partial": "reject"},
    {"fields": {"values": ["*", "payload.*"], "series": ["series", "a"]}},
    {"fields": {"series": "", "values": ["samples[].a", "samples[].*"], "timestamp": "samples[].timestamp"}},
    {
        "fields": {"series": "{a}{key}", "value": "samples[].a[].b", "timestamp": "samples[].b"},
        "covariates": ["samples[].x"],
    },
    {"fields": {"series": "series", "timestamp": "payload[:].a", "values": ["payload[:].b", "payload[:].*"]}},
    {"fields": {"series": "[:].series", "timestamp": ["[:].a", "[:].timestamp"], "value": "[:].value"}},
    {"fields": {"timestamp": ["timestamp", "a"], "date_order": "mdy"}, "units": [{"series": "*", "factor": -1e300}]},
    {"fields": {"series": "{payload.a[0]}{header:X}", "value": "/payload/value", "timezone": "America/New_York"}},
]
LINE = st.sampled_from(
    [record(), record(series="b", value="x"), record(value="2"), b"5", b'{"a":1,"b":"x","timestamp":5}']
)
BYTES = st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()) | LINE


@pytest.mark.parametrize("config", ANY, ids=range(len(ANY)))
@pytest.mark.parametrize("header", [None, b"timestamp,series,a,value", b'"'])
@given(st.lists(BYTES, max_size=4), st.booleans())
def test_any_records(
    config: dict[str, Any],
    header: bytes | None,
    values: list[bytes],
    kafka: bool,
) -> None:
    """Any record has events, a control or one reject, independent of the others; never an exception."""
    alone = {"keys": [b"k"], "times": [7]} if kafka else {}
    around = {name: one * len(values) for name, one in alone.items()}

    together = outcomes(*values, header=header, **around, **config)

    assert together == [one for value in values for one in outcomes(value, header=header, **alone, **config)]
    for one in together:
        assert len(one.reasons) <= 1
        assert one.reasons or one.events or one.controls == 1


@given(st.lists(st.integers(0, 4), max_size=6))
def test_numbers_of_events_within_their_record(counts: list[int]) -> None:
    """Every event has its number within its record, -1 where it is the only one."""
    decoded = decode(
        *(record(value=..., **dict.fromkeys("abcd"[:n], 1)) for n in counts), fields={"values": list("abcd")}
    )
    expected = [number if count > 1 else -1 for count in counts for number in range(count)]

    assert decoded.within == (expected if any(count > 1 for count in counts) else None)
    assert decoded.index == [at for at, count in enumerate(counts) for _ in range(count)]
    assert decoded.last_record_events == next((count for count in reversed(counts) if count), 1)
    for end in range(1, len(decoded) + 1):
        expected_end = next(
            at for at in range(end, len(decoded) + 1) if decoded.index[at - 1 : at + 1].count(decoded.index[at - 1]) < 2
        )
        assert decoded.end_of_record(end) == expected_end
