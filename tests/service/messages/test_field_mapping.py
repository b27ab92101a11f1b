"""Mapping of records to events: laws for any table and any bytes, and cases for each setting of `input.fields`."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.input import InputConfig
from service.messages import mapping, parse_csv
from service.messages.decode import CSV_HEADER, REASONS, Decoded, Decoder
from service.messages.mapping import FILE_NAME
from service.messages.parse_csv import SEPARATORS
from service.ports import Records

NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z
HEADER = b"series,timestamp,value"
WIDE = {"values": ["a", "b", "c"]}


@functools.cache
def decoder(config: str) -> Decoder:
    """Returns a decoder for input settings, written as JSON."""
    return Decoder(InputConfig.model_validate_json(config))


def decode(
    *values: bytes,
    header: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
    keys: list[bytes | None] | None = None,
    times: list[int] | None = None,
    **config: Any,
) -> Decoded:
    """Decodes one batch by the given input settings."""
    around = headers if header is None else ((CSV_HEADER, header), *headers)
    positions, end = range(0, 10 * len(values), 10), 10 * len(values)
    shared = [around] * len(values) if around else None
    records = Records("events-3", positions, end, values, keys=keys, headers=shared, timestamps_ms=times)
    return decoder(json.dumps(config)).decode(records)


Event = tuple[str, int, float | None]


class Outcome(NamedTuple):
    """What becomes of a record."""

    events: list[Event]
    reasons: list[str]
    controls: int


def events(decoded: Decoded) -> list[Event]:
    """Returns the events; a missing value is None, so that they can be compared."""
    values = [None if math.isnan(value) else value for value in decoded.value.tolist()]
    return list(zip(decoded.series, decoded.timestamp_ms.tolist(), values, strict=True))


def outcomes(*values: bytes, **how: Any) -> list[Outcome]:
    """Decodes one batch, and returns what becomes of each record."""
    decoded = decode(*values, **how)
    found = [Outcome([], [], 0) for _ in values]
    for index, position, event in zip(decoded.index, decoded.positions, events(decoded), strict=True):
        assert position == 10 * index
        found[index].events.append(event)
    for reject in decoded.rejects:
        assert (reject.value, reject.reason in REASONS, bool(reject.detail)) == (
            values[reject.position // 10],
            True,
            True,
        )
        found[reject.position // 10].reasons.append(reject.reason)
    for control in decoded.controls:
        at = control.position // 10
        found[at] = found[at]._replace(controls=found[at].controls + 1)
    return found


def only(*values: bytes, **how: Any) -> list[Event]:
    """Returns the events of a batch without rejects."""
    decoded = decode(*values, **how)
    assert decoded.rejects == []
    return events(decoded)


def reason(value: bytes, **how: Any) -> str:
    """Returns the reason for which the only record is rejected; it has no events."""
    ((found, (code,), _),) = outcomes(value, **how)
    assert found == []
    return code


def record(**changes: object) -> bytes:
    """Returns a good record with some fields changed; `...` as a change removes the field."""
    fields = {"series": "s", "timestamp": NOON, "value": 1.5} | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


# Laws --------------------------------------------------------------------------------------------------------

METRICS = ["c0", "c1", "c2"]
Row = tuple[str, str, int, list[float | None]]


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Draws rows of site, host, time and a value for each of `METRICS`."""
    name = st.text("aé0,;|/.{}\"'x", min_size=1, max_size=5)
    value = st.none() | st.integers(-(10**9), 10**9).map(lambda n: n / 4)
    row = st.tuples(name, name, st.integers(0, 4 * 10**12), st.lists(value, min_size=3, max_size=3))
    return draw(st.lists(row.filter(lambda row: not 10**8 <= row[2] < 10**11), min_size=1, max_size=4))


def flat(table: list[Row]) -> list[dict[str, Any]]:
    """Returns an object with one value for each value of a table."""
    return [
        {"site": site, "host": host, "metric": metric, "t": time, "v": value}
        for site, host, time, values in table
        for metric, value in zip(METRICS, values, strict=True)
    ]


def wide(table: list[Row]) -> list[dict[str, Any]]:
    """Returns an object for each row of a table."""
    return [
        {"site": site, "host": host, "t": time, **dict(zip(METRICS, values, strict=True))}
        for site, host, time, values in table
    ]


def dumped(*values: object) -> list[bytes]:
    """Returns values as JSON records."""
    return [json.dumps(value).encode() for value in values]


def forms(table: list[Row]) -> dict[str, tuple[list[bytes], dict[str, Any]]]:
    """Returns the records of a table in each JSON form, and the fields of that form."""
    alone = {"series": ["site", "host", "metric"], "timestamp": "t", "value": "v"}
    together = {"series": "{site}/{host}/{field}", "timestamp": "t", "values": METRICS}
    nested = [
        {
            "tags": {"site": one["site"], "more": [one["host"], {"m/m": one["metric"]}]},
            "at": {"t": one["t"]},
            "v": one["v"],
        }
        for one in flat(table)
    ]
    deep = {"series": "{tags.site}/{tags.more[0]}/{tags.more[1].m/m}", "timestamp": "/at/t", "value": "v"}
    samples = [
        {
            "site": s,
            "id": {"host": h},
            "t": t,
            "samples": [{"metric": m, "v": v} for m, v in zip(METRICS, vs, strict=True)],
        }
        for s, h, t, vs in table
    ]
    each = {"series": ["site", "id.host", "samples[].metric"], "timestamp": "t", "value": "samples[].v"}
    both = {
        "series": ["rows[].site", "rows[].id.host", "rows[].samples[].metric"],
        "timestamp": "rows[].t",
        "value": "rows[].samples[].v",
    }
    lines = b"\n".join(dumped(*flat(table)))
    found = {
        "flat": (dumped(*flat(table)), alone),
        "nested": (dumped(*nested), deep),
        "wide": (dumped(*wide(table)), together),
        "samples of a record": (dumped(*samples), each),
        "samples of rows": (dumped({"rows": samples}), both),
        "array": (dumped(flat(table)), alone),
        "array of wide ones": (dumped(wide(table)), together),
        "JSON lines": ([lines], alone),
        "with a byte order mark": ([b"\xef\xbb\xbf" + lines + b"\r\n"], alone),
    }
    if all(value is not None for *_, values in table for value in values):  # a glob leaves out what is no number
        found["glob"] = (dumped(*wide(table)), together | {"values": ["c?"]})
        found["rest"] = (dumped(*wide(table)), together | {"values": ["*"]})
    return found


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


# Cases -------------------------------------------------------------------------------------------------------


class TestPartial:
    """Bad parts of a record with several events."""

    BAD = record(value=..., a=1, b="x", c=3)

    def test_blank(self) -> None:
        """A bad value is a missing one by default; the record is not rejected."""
        assert only(self.BAD, fields=WIDE) == [("s.a", NOON, 1.0), ("s.b", NOON, None), ("s.c", NOON, 3.0)]

    @pytest.mark.parametrize("bad", [BAD, record(value=..., a=1, b="x", c=3, d=[], e={"f": 1})])
    def test_reject(self, bad: bytes) -> None:
        """A bad value may be no event; the others are forecast, and the record is rejected once."""
        fields = {"values": ["a", "b", "d", "e", "c"]}
        (found,) = outcomes(bad, fields=fields, partial="reject")
        assert found == ([("s.a", NOON, 1.0), ("s.c", NOON, 3.0)], ["wrong_type"], 0)

    @pytest.mark.parametrize("bad", [b"s,5,1,x", b'"s",5,1,x'])
    def test_csv(self, bad: bytes) -> None:
        """A bad cell is handled like a bad field."""
        how: dict[str, Any] = {"header": b"series,timestamp,a,b", "fields": {"values": ["a", "b"]}}
        assert only(bad, **how) == [("s.a", 5, 1.0), ("s.b", 5, None)]
        assert outcomes(bad, **how, partial="reject") == [([("s.a", 5, 1.0)], ["wrong_type"], 0)]

    def test_all_values_bad(self) -> None:
        """A record of which nothing is left is rejected once."""
        assert reason(record(value=..., a="x", b="y"), fields=WIDE, partial="reject") == "wrong_type"

    def test_a_value_that_is_absent(self) -> None:
        """An absent field is no event; null is a missing value."""
        assert only(record(value=..., a=None, c=1), fields=WIDE) == [("s.a", NOON, None), ("s.c", NOON, 1.0)]
        assert reason(record(value=...), fields=WIDE) == "missing_field"

    @pytest.mark.parametrize("bad", [{"v": 2}, {"t": None, "v": 2}, {"t": 6}, {"t": 6, "v": "x"}, 5, None])
    def test_a_bad_element(self, bad: object) -> None:
        """The elements after a bad one are forecast too; the record is rejected once."""
        value = json.dumps({"s": "s", "rows": [{"t": 5, "v": 1}, bad, {"t": 7, "v": 3}]}).encode()
        (found,) = outcomes(value, fields={"series": "s", "timestamp": "rows[].t", "value": "rows[].v"})
        assert found.events == [("s", 5, 1.0), ("s", 7, 3.0)]
        assert len(found.reasons) == 1

    def test_a_bad_record_of_an_array(self) -> None:
        """The records after a bad one in an array or on lines are forecast too."""
        rows = [record(timestamp=5), record(timestamp=...), record(timestamp=7)]
        for value in (b"[" + b",".join(rows) + b"]", b"\n".join(rows)):
            assert outcomes(value) == [([("s", 5, 1.5), ("s", 7, 1.5)], ["missing_field"], 0)]

    def test_a_time_that_cannot_be_parsed(self) -> None:
        """Of several elements only the one with a bad time has no event, and the others keep their numbers."""
        value = json.dumps([{"series": "s", "timestamp": time, "value": 1} for time in (5, "x", 7)]).encode()
        assert outcomes(value) == [([("s", 5, 1.0), ("s", 7, 1.0)], ["bad_timestamp"], 0)]
        assert decode(value).within == [0, 2]

    @pytest.mark.parametrize("value", [b"[]", b'{"s":"s","rows":[]}', b'{"s":"s"}', b'{"s":"s","rows":{"t":5}}'])
    def test_no_elements(self, value: bytes) -> None:
        """A record without elements is rejected once."""
        assert reason(value, fields={"series": "s", "timestamp": "rows[].t", "value": "rows[].v"})


class TestNumbersAndNames:
    """Values of fields that are not of the usual type."""

    @pytest.mark.parametrize(
        ("raw", "value"),
        [("2.5", 2.5), (" 7 ", 7.0), (True, 1.0), (False, 0.0), ("true", 1.0), ("FALSE", 0.0), ("", None), ("NA", None),
         ("None", None), (10**400, None), ({"double": 2.5}, 2.5), ({"long": 3}, 3.0), ({"string": "4"}, 4.0)],
    )  # fmt: skip
    def test_values(self, raw: object, value: float | None) -> None:
        """Texts of numbers, booleans and Avro's unions are numbers."""
        assert only(record(value=raw)) == [("s", NOON, value)]

    @pytest.mark.parametrize("raw", ["x", "1_0", "1,5", [], {}, {"double": "x"}, {"other": 1}, {"int": 1, "long": 2}])
    def test_no_values(self, raw: object) -> None:
        """Anything else is rejected."""
        assert reason(record(value=raw)) == "wrong_type"

    @pytest.mark.parametrize(
        ("raw", "name"), [(7, "7"), (-7, "-7"), (7.0, "7"), (True, "true"), (2**60, str(2**60)), ({"string": "u"}, "u")]
    )
    def test_series(self, raw: object, name: str) -> None:
        """The name of a series may be an integer or a boolean."""
        assert only(record(series=raw)) == [(name, NOON, 1.5)]

    @pytest.mark.parametrize("raw", [7.5, None, [], {}, {"other": "x"}])
    def test_no_series(self, raw: object) -> None:
        """Anything else is no name."""
        assert reason(record(series=raw)) == "wrong_type"

    @pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**64, 10**30])
    def test_long_integers(self, number: int) -> None:
        """An integer of 64 bits is the same series, whatever the value of the event; a longer one is none."""
        values = [b'{"series":%d,"timestamp":5,"value":%b}' % (number, value) for value in (b"1", b"NaN")]
        assert decode(*values).series == ([str(number)] * 2 if number < 2**64 else [])

    def test_decimal_comma_of_json_texts(self) -> None:
        """Separators apply to texts only."""
        how: dict[str, Any] = {"fields": {"decimal": ",", "thousands": "."}}
        assert only(record(value="1.234,5"), record(value=1.5), **how) == [("s", NOON, 1234.5), ("s", NOON, 1.5)]
        assert reason(record(value="1.5"), fields={"decimal": ","}) == "wrong_type"

    @pytest.mark.parametrize("cell", ["1,5 2,5", "1,5|2,5"])
    def test_decimal_comma_of_known_future_values(self, cell: str) -> None:
        """Separators apply to known future values in CSV too."""
        line, header = f"s;5;1,5;{cell}".encode(), b"series;timestamp;value;future.p"
        decoded = decode(line, header=header, fields={"decimal": ","}, future_covariates=["p"])
        assert decoded.rejects == []
        assert decoded.future is not None
        assert decoded.future.tolist() == [[[1.5]]]


class TestAround:
    """Names of series and times from around the value of a record."""

    @pytest.mark.parametrize(
        ("key", "name"),
        [
            (b"host1", "host1"),
            ((42).to_bytes(8, "big"), "42"),
            ((42).to_bytes(4, "big"), "42"),
            (b"12345678", "12345678"),
        ],
    )
    def test_key_and_record_time(self, key: bytes, name: str) -> None:
        """A bare number has its series from the key, as text or as an integer, and the time of the record."""
        assert only(b"2.5", keys=[key], times=[NOON]) == [(name, NOON, 2.5)]
        assert only(b'{"value":2.5}', keys=[key], times=[NOON], fields={"series": "{key}"}) == [(name, NOON, 2.5)]

    @pytest.mark.parametrize("key", [b"host1", (42).to_bytes(8, "big")])
    def test_a_tombstone_has_the_series_of_its_key(self, key: bytes) -> None:
        """A record without a value names the series that events with its key have."""
        records = Records("events-3", [0, 1], 2, [b"2.5", b""], [key, key], None, [5, 6], {}, frozenset({1}))
        decoded = decoder('{"tombstone": "forget"}').decode(records)
        assert [one.series for one in decoded.tombstones] == decoded.series

    def test_bare_numbers_need_both(self) -> None:
        """Without key or record time a bare number is rejected."""
        assert reason(b"2.5", keys=[None], times=[5]) == "missing_field"
        assert reason(b"2.5", keys=[b"k"]) == "wrong_type"
        assert reason(b"true", keys=[b"k"], times=[5]) == "wrong_type"
        assert reason(b"2.5", keys=[b"\xff"], times=[5]) == "undecodable"

    def test_a_key_replaces_one_field_only(self) -> None:
        """A key cannot stand for one of several fields."""
        how: dict[str, Any] = {"keys": [b"k"], "times": [NOON]}
        assert only(record(series=...), **how) == [("k", NOON, 1.5)]
        assert reason(record(series=...), **how, fields={"series": ["series", "host"]}) == "missing_field"

    @pytest.mark.parametrize("line", [b"s,5,1.5", b'"s",5,1.5'])
    def test_topic_header_and_file(self, line: bytes) -> None:
        """Templates have the topic, headers and the name of the file, in JSON and CSV."""
        how: dict[str, Any] = {"keys": [b"k"], "headers": (("X", b"x1"), (FILE_NAME, b"cpu"), ("X", b"x2"))}
        fields = {"series": "{topic}/{key}/{header:X}/{file}/{series}/{field}"}
        assert only(record(timestamp=5), **how, fields=fields) == [("events/k/x1/cpu/s/value", 5, 1.5)]
        assert only(line, header=HEADER, **how, fields=fields) == [("events/k/x1/cpu/s/value", 5, 1.5)]

    @pytest.mark.parametrize("rule", ["{key}", "{header:X}", "{file}"])
    def test_without_them(self, rule: str) -> None:
        """A record without what the template needs is rejected."""
        assert reason(record(), fields={"series": rule}) == "missing_field"
        assert reason(b"s,5,1", header=HEADER, fields={"series": rule}) == "missing_field"

    def test_the_field_alone(self) -> None:
        """Without a rule the series are the fields, of JSON and CSV."""
        fields = {"series": "", "values": ["*"]}
        expected = [("a", 5, 1.0), ("b", 5, 2.0)]
        assert only(b'{"timestamp":5,"a":1,"b":2}', fields=fields) == expected
        assert only(b"5,1,2", header=b"timestamp,a,b", fields=fields) == expected


class TestGlobs:
    """Globs of fields with values."""

    def test_all_other_numbers(self) -> None:
        """`*` is every number that is not used otherwise; texts, nulls, booleans and objects are none."""
        value = record(value=..., r=NOON, b=1, a=2.5, d=None, e=True, f="x", g={"h": 1}, i="4", t=7, j={"double": 3})
        found = only(value, fields={"values": ["*"], "record_time": "r"}, covariates=["t"])
        assert found == [("s.b", NOON, 1.0), ("s.a", NOON, 2.5), ("s.i", NOON, 4.0), ("s.j", NOON, 3.0)]

    def test_prefixes(self) -> None:
        """A glob matches names, also of a nested object, whose used fields are left out."""
        value = b'{"cpu_a":1,"gpu":2,"cpu_b":3,"payload":{"t":5,"host":9,"x":4,"y":null,"z":6}}'
        fields = {"series": "payload.host", "timestamp": "payload.t", "values": ["cpu_*", "payload.*"]}
        names = ["9.cpu_a", "9.cpu_b", "9.payload.x", "9.payload.z"]
        assert only(value, fields=fields) == [
            (name, 5, one) for name, one in zip(names, [1.0, 3.0, 4.0, 6.0], strict=True)
        ]

    @pytest.mark.parametrize("timestamp", ["/payload/t", "payload.t"])
    def test_used_fields_in_another_spelling(self, timestamp: str) -> None:
        """A field that is used otherwise is left out however its path is written."""
        fields = {"timestamp": timestamp, "values": ["payload.*"]}
        assert only(b'{"series":"s","payload":{"t":5,"x":4}}', fields=fields) == [("s.payload.x", 5, 4.0)]

    @pytest.mark.parametrize("values", [["a", "*"], ["a*", "*"], ["*", "a"]])
    def test_every_field_once(self, values: list[str]) -> None:
        """A field that a name and a glob, or two globs, refer to is one event."""
        found = [
            only(b'{"series":"s","timestamp":5,"a":1,"b":2}', fields={"values": values}),
            only(b"s,5,1,2", header=b"series,timestamp,a,b", fields={"values": values}),
            only(b'"s",5,1,2', header=b"series,timestamp,a,b", fields={"values": values}),
        ]
        assert [sorted(one) for one in found] == [[("s.a", 5, 1.0), ("s.b", 5, 2.0)]] * 3

    def test_nothing_matches(self) -> None:
        """A record without any such number is rejected."""
        assert reason(record(value=..., a="x"), fields={"values": ["a*"]}) == "missing_field"
        assert reason(b"s,5,x", header=b"series,timestamp,a", fields={"values": ["a*"]}) == "missing_field"

    @pytest.mark.parametrize("line", [b"s,5,1,2,3", b'"s",5,1,2,3'])
    def test_columns(self, line: bytes) -> None:
        """A glob of columns has dots and the cells without a name in the header."""
        header = b"series,timestamp,p.a, ,p.c"
        assert only(line, header=header, fields={"values": ["p.*"]}) == [("s.p.a", 5, 1.0), ("s.p.c", 5, 3.0)]
        assert only(line, header=header, fields={"value": "column_4"}) == [("s", 5, 2.0)]

    def test_a_row_number_without_a_name(self) -> None:
        """The index that pandas writes, a column without a name, can be used by its number."""
        fields = {"series": "column_1", "timestamp": "t", "value": "v"}
        assert only(b"0,5,1", header=b",t,v", fields=fields) == [("0", 5, 1.0)]


class TestLimits:
    """Limits of one record."""

    @pytest.mark.parametrize("extra", [0, 1, 2])
    def test_most_events(self, monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
        """Of a record with too many events the first are forecast, and the record is rejected once, in every form."""
        for module in (mapping, parse_csv):
            monkeypatch.setattr(module, "MOST_EVENTS", 6)
        names = [f"c{number}" for number in range(6 + extra)]
        cells = b",".join(b"1" for _ in names)
        header, fields = ",".join(["series", "timestamp", *names]).encode(), {"values": ["c*"]}
        samples = {"series": "series", "value": "samples[]"}
        found = [
            *outcomes(record(value=..., **dict.fromkeys(names, 1)), fields=fields),
            *outcomes(record(value=..., samples=[1] * len(names)), fields=samples),
            *outcomes(b"[" + b",".join([record()] * len(names)) + b"]"),
            *outcomes(b'"s",5,' + cells, header=header, fields=fields),
            *outcomes(b"s,5," + cells, header=header, fields=fields),
        ]
        expected = (6, ["too_large"] if extra else [])
        assert [(len(one.events), one.reasons) for one in found] == [expected] * 5

    def test_the_limit_is_of_one_record(self) -> None:
        """By default a record may have ten thousand events, whatever the other records have."""
        many = json.dumps({"series": "s", "timestamp": 5, "samples": [1] * 10_001}).encode()
        found = outcomes(many, record(samples=[2]), many, fields={"value": "samples[]"})
        assert [(len(one.events), one.reasons) for one in found] == [
            (10_000, ["too_large"]),
            (1, []),
            (10_000, ["too_large"]),
        ]

    @pytest.mark.parametrize("line", [b"s,5,1,", b'"s",5,1,'])
    def test_a_long_cell(self, line: bytes) -> None:
        """A long cell that is not used does not matter, with quotes in the line or without."""
        found = only(line + b"x" * 140_000, header=HEADER + b",note", max_record_bytes=1 << 20)
        assert found == [("s", 5, 1.0)]


class TestJsonLines:
    """Records with JSON values on several lines."""

    @pytest.mark.parametrize(
        "first", [{"value": math.nan}, {"series": "NaN"}, {"value": math.inf}, {"note": "Infinity"}]
    )
    def test_what_json_does_not_have(self, first: dict[str, Any]) -> None:
        """NaN and Infinity are read on one of several lines as in a record of its own."""
        one, other = record(**first), record(series="t")
        assert outcomes(one + b"\n" + other) == [(only(one) + only(other), [], 0)]

    def test_broken_lines(self) -> None:
        """A record with a line that is not JSON is rejected as a whole."""
        assert reason(record() + b"\n{") == "undecodable"
        assert reason(record() + b" " + record()) == "undecodable"

    def test_an_envelope_does_not_depend_on_the_types(self) -> None:
        """A record without the configured envelope has the same result whether its value is a number or a text."""
        number, text = outcomes(record(value=2), record(value="2"), envelope="debezium")
        assert number == text

    def test_an_envelope_with_the_fields_of_an_event(self) -> None:
        """A recognised envelope is removed, or not, whatever the types of its fields."""
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "1970-01-01T00:00:05Z"}
        fields = {"series": "source", "timestamp": "time", "value": "data"}
        values = dumped(event | {"data": 5}, event | {"data": "5"})
        number, text = outcomes(*values, fields=fields)
        assert number == text


class TestTimes:
    """Forms of event times."""

    @pytest.mark.parametrize(
        "time",
        [
            NOON, NOON // 1000, NOON * 1000, NOON * 1_000_000, NOON * 1000 + 999, float(NOON), str(NOON),
            str(NOON * 1_000_000), "2026-01-01T12:00:00Z", "2026-01-01T14:00:00+02:00", "2026-01-01T12:00:00.000999Z",
            "20260101T120000Z", "20260101T1200Z", "20260101T130000+0100", "20260101t120000.000Z",
            "2026/01/01 12:00:00Z", "2026/01/01T12:00Z",
            "Thu, 01 Jan 2026 12:00:00 GMT", "1 Jan 2026 13:00 +0100",
            "01 Jan 2026 12:00:00 -0000",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
    def test_noon(self, time: float | str, zone: str) -> None:
        """Each form is noon, alone and together with another; times with a zone do not depend on the setting."""
        noon = ("s", NOON, 1.5)
        assert only(record(timestamp=time), fields={"timezone": zone}) == [noon]
        assert (
            only(record(timestamp=time), record(timestamp="2026-01-01T12:00Z"), fields={"timezone": zone}) == [noon] * 2
        )
        assert decode(record(timestamp=time), fields={"timezone": zone}).clock_changes == 0

    @pytest.mark.parametrize(
        "time",
        ["2026-01-01T13:00:00", "2026-01-01 13:00", "20260101T1300", "2026/01/01 13:00:00.0", "2026-01-01 13:00:00"],
    )
    def test_without_a_zone(self, time: str) -> None:
        """A time without a zone has that of the setting, in JSON and CSV."""
        assert only(record(timestamp=time), fields={"timezone": "Europe/Berlin"}) == [("s", NOON, 1.5)]
        line = f"s,{time},1.5".encode()
        assert only(line, line, header=HEADER, fields={"timezone": "Europe/Berlin"}) == [("s", NOON, 1.5)] * 2

    @pytest.mark.parametrize(
        ("text", "utc", "changes"),
        [
            ("2026-10-25 01:59:59", "2026-10-24T23:59:59Z", 0),
            ("2026-10-25 02:00:00", "2026-10-25T00:00:00Z", 1),
            ("2026-10-25 02:59:59", "2026-10-25T00:59:59Z", 1),
            ("2026-10-25 03:00:00", "2026-10-25T02:00:00Z", 0),
            ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00Z", 0),
            ("20261025T0230", "2026-10-25T00:30:00Z", 1),
            ("2026-03-29 01:59:59", "2026-03-29T00:59:59Z", 0),
            ("2026-03-29 02:00:00", "2026-03-29T01:00:00Z", 1),
            ("2026/03/29 02:30:00", "2026-03-29T01:30:00Z", 1),
            ("2026-03-29 03:00:00", "2026-03-29T01:00:00Z", 0),
        ],
    )
    def test_changes_of_the_clock(self, text: str, utc: str, changes: int) -> None:
        """Of a doubled hour the first is meant, a skipped one is moved by the change, and both are counted."""
        berlin = {"timezone": "Europe/Berlin"}
        (time,) = decode(record(timestamp=utc)).timestamp_ms.tolist()
        assert only(record(timestamp=text), fields=berlin) == [("s", time, 1.5)]
        others = [record(), record(timestamp="x"), record(timestamp="2026-01-01 12:00")]
        assert decode(record(timestamp=text), *others, fields=berlin).clock_changes == changes
        assert decode(record(timestamp=text)).clock_changes == 0

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_unit(self, unit: str) -> None:
        """A configured unit applies to all numbers and not to the time of the record."""
        factor = {"s": 0.001, "ms": 1, "us": 1000, "ns": 1_000_000}[unit]
        value = record(timestamp=round(NOON * factor))
        assert only(value, fields={"time_unit": unit}) == [("s", NOON, 1.5)]
        assert only(record(timestamp=...), times=[NOON], fields={"time_unit": unit}) == [("s", NOON, 1.5)]

    @pytest.mark.parametrize(
        "time", ["2026-13-01T00:00", "20260132T0000", "32 Jan 2026 12:00:00 GMT", "2026/1/1", "now"]
    )
    def test_no_times(self, time: str) -> None:
        """What is no time is rejected."""
        assert reason(record(timestamp=time)) == "bad_timestamp"


class TestSeparators:
    """Separators of columns."""

    @pytest.mark.parametrize("separator", SEPARATORS.values())
    def test_auto(self, separator: str) -> None:
        """The separator is the one with which the header has the fields of an event."""
        header, line = (
            separator.join(cells).encode()
            for cells in (["x,y;z", "series", "timestamp", "value"], ["1", "s", "5", "2"])
        )
        if separator in ",;":
            header = header.replace(b"x,y;z", b'"x,y;z"')
        assert only(line, header=header) == [("s", 5, 2.0)]

    def test_a_configured_one(self) -> None:
        """A configured separator applies, even where another would fit."""
        assert reason(b"s,5,2", header=HEADER, separator=";") == "missing_field"
        assert only(b"s|5|1,5", header=b"series|timestamp|value", separator="|", fields={"decimal": ","}) == [
            ("s", 5, 1.5)
        ]
