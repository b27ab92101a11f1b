"""InfluxDB line protocol: the law that its events are those of JSON, any bytes, and cases for each part of a line."""

from __future__ import annotations

import functools
import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.input import InputConfig
from service.messages.decode import REASONS, Decoded, Decoder
from service.messages.line_protocol import parse_line
from service.messages.mapping import MOST_EVENTS
from service.messages.parse_lines import FORMAT_HEADER
from service.messages.text_lines import LineError
from service.ports import Records

NANOSECONDS = 1_767_571_200_000_000_000  # 2026-01-05T00:00:00Z
MILLISECONDS = NANOSECONDS // 1_000_000
Event = tuple[str, int, float | None]


@functools.cache
def decoder(config: str) -> Decoder:
    """Returns a decoder for input settings, written as JSON."""
    return Decoder(InputConfig.model_validate_json(config))


def decode(*values: bytes, times: list[int] | None = None, of_file: bool = False, **config: Any) -> Decoded:
    """Decodes one batch by the given input settings; `of_file`: as lines of a file of line protocol."""
    headers = [((FORMAT_HEADER, b"influx"),)] * len(values) if of_file else None
    records = Records("p", range(len(values)), len(values), values, headers=headers, timestamps_ms=times)
    return decoder(json.dumps(config)).decode(records)


def events(decoded: Decoded) -> list[Event]:
    """Returns the events; a missing value is None, so that they can be compared."""
    values = [None if math.isnan(value) else value for value in decoded.value.tolist()]
    return list(zip(decoded.series, decoded.timestamp_ms.tolist(), values, strict=True))


def only(*values: bytes, **how: Any) -> list[Event]:
    """Returns the events of a batch without rejects."""
    decoded = decode(*values, **how)
    assert decoded.rejects == []
    return events(decoded)


def reason(value: bytes, **how: Any) -> str:
    """Returns the reason for which the only record is rejected; it has no events."""
    decoded = decode(value, **how)
    assert events(decoded) == []
    (reject,) = decoded.rejects
    assert (reject.value, reject.reason in REASONS, bool(reject.detail)) == (value, True, True)
    return reject.reason


# Laws --------------------------------------------------------------------------------------------------------


def escaped(text: str, signs: str) -> str:
    """Returns a text with a backslash before each of some signs."""
    return "".join("\\" + sign if sign in signs else sign for sign in text)


def written(value: float | bool | str) -> str:
    """Returns the value of a field as a client writes it."""
    if isinstance(value, bool):
        return "true" if value else "F"
    if isinstance(value, str):
        return '"' + escaped(value, '"\\') + '"'
    return f"{value}i" if isinstance(value, int) else repr(value)


Point = tuple[str, dict[str, str], dict[str, float | bool | str], int]


@st.composite
def points(draw: st.DrawFn) -> Point:
    """Draws measurement, tags, fields with distinct names, and a time; a name cannot end in a backslash."""
    text = st.text('aé0,=\\ "#{}*.\u3000', min_size=1, max_size=6)
    name = text.filter(lambda one: not one.endswith("\\"))
    value = (
        st.floats(allow_nan=False, allow_infinity=False)
        | st.integers(-(2**63), 2**63 - 1)
        | st.booleans()
        | st.text('a0", =\\é')
    )
    names = draw(st.lists(name, min_size=1, max_size=8, unique=True))
    cut = draw(st.integers(0, len(names) - 1))
    tags = {"site": draw(name)} | {one: draw(name) for one in names[:cut]}
    fields = {one: draw(value) for one in names[cut:]}
    return draw(name.filter(lambda one: not one.startswith("#"))), tags, fields, draw(st.integers(10**17, 4 * 10**18))


def line(point: Point) -> bytes:
    """Returns the line of a point."""
    measurement, tags, fields, time = point
    head = [escaped(measurement, ", "), *(f"{escaped(k, ', =')}={escaped(v, ', =')}" for k, v in tags.items())]
    values = [f"{escaped(key, ', =')}={written(value)}" for key, value in fields.items()]
    return f"{','.join(head)} {','.join(values)} {time}".encode()


def numeric(point: Point) -> dict[str, float]:
    """Returns the fields that are values, as numbers."""
    return {key: float(value) for key, value in point[2].items() if not isinstance(value, str)}


FIELDS = {"series": "{measurement}|{site}|{field}", "values": ["*"]}


@given(st.lists(points(), min_size=1, max_size=4))
def test_its_events_are_those_of_json(found: list[Point]) -> None:
    """A line has the events of the JSON object with its tags and numeric fields, whatever its names and values."""
    wide = [
        json.dumps(
            {"measurement": point[0], "site": point[1]["site"], "timestamp": point[3]}
            | {name: (value if math.isfinite(value) else None) for name, value in numeric(point).items()}
        ).encode()
        for point in found
    ]
    expected = decode(*wide, fields=FIELDS)
    json_like = any(point[0][0] in "{[" for point in found)
    for lines in ({"of_file": True}, *(() if json_like else ({"format": "influx"}, {}))):
        decoded = decode(*map(line, found), fields=FIELDS, **lines)
        assert events(decoded) == events(expected)
        assert decoded.positions == expected.positions
        assert [one.position for one in decoded.rejects] == [one.position for one in expected.rejects]


@given(points(), points())
def test_default_names_differ(one: Point, other: Point) -> None:
    """The default name of a series is the same for the same measurement, tags and field only."""
    names = [
        {
            series: (point[0], sorted(point[1].items()), field)
            for (series, _, _), field in zip(found, fields, strict=True)
        }
        for point in (one, other)
        for found, fields in [(events(decode(line(point), of_file=True)), numeric(point))]
    ]
    for series in names[0].keys() & names[1].keys():
        assert names[0][series] == names[1][series]


@given(st.lists(st.binary(max_size=40) | points().map(line), max_size=6), st.booleans())
def test_any_bytes(found: list[bytes], configured: bool) -> None:
    """Any line is events, a comment or a reject, and lines have the same events in one record as in several."""
    how: dict[str, Any] = {"format": "influx"} if configured else {"of_file": True}
    lines = b"\n".join(found).split(b"\n")
    alone = decode(*lines, **how)
    rejected = {one.position for one in alone.rejects}
    for at, one in enumerate(lines):
        assert at in {*alone.positions, *rejected} or one.strip(b"\xef\xbb\xbf \t\r")[:1] in {b"", b"#"}
    for one in alone.rejects:
        assert (one.value, one.reason in REASONS) == (lines[one.position], True)
    if configured and any(one.lstrip()[:1] in {b"", b"{", b"[", b"\0", b"\xef"} for one in lines):
        return  # may be JSON, or has a byte order mark
    together = decode(b"\n".join(lines), **how)
    assert events(together) == events(alone)
    assert len(together.rejects) == bool(rejected)


# Lines -------------------------------------------------------------------------------------------------------


class TestLine:
    """The parts of a line."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1", 1.0), ("-1.5e-3", -0.0015), ("+.5", 0.5), ("1.", 1.0), ("12i", 12.0), ("-3i", -3.0),
         ("18446744073709551615u", 2.0**64), ("t", 1.0), ("True", 1.0), ("FALSE", 0.0), ("f", 0.0)],
    )  # fmt: skip
    def test_values(self, text: str, value: float) -> None:
        """Floats, integers, unsigned integers and booleans are numbers."""
        assert parse_line(f"m f={text}") == {"measurement": "m", "series": "m", "f": value}

    @pytest.mark.parametrize("text", ["nan", "-Inf", "1e999"])
    def test_not_finite(self, text: str) -> None:
        """A number that is not finite is a missing value."""
        assert only(f"m f={text} {NANOSECONDS}".encode()) == [("m f", MILLISECONDS, None)]

    @pytest.mark.parametrize("text", ["abc", "1.5i", "-1u", "0x1", "1_0", "1=2", "tRue", "", "--1", "１"])  # noqa: RUF001 - a digit that is not ASCII
    @pytest.mark.parametrize("partial", ["blank", "reject"])
    def test_bad_value(self, text: str, partial: str) -> None:
        """A bad value is blanked or rejected as input.partial says, and the others of the line are forecast."""
        decoded = decode(f"m f={text},g=2 {NANOSECONDS}".encode(), format="influx", partial=partial)
        good = ("m g", MILLISECONDS, 2.0)
        assert events(decoded) == ([("m f", MILLISECONDS, None), good] if partial == "blank" else [good])
        assert [one.reason for one in decoded.rejects] == (["wrong_type"] if partial == "reject" else [])

    @pytest.mark.parametrize(
        "text",
        ["m", "m ", "m f", "m =1", "m f=1,", "m f=1,,g=2", ",a=b f=1", "m,a f=1", "m,a= f=1", "m,=b f=1", "m, f=1",
         "m,a=b=c f=1", "m,a=1,a=2 f=1", 'm f="open 1', 'm f="a"b 1', 'm f=a"b" 1', "m,a\\ f=1", "m\\ f=1",
         'm,a=1,a\\=2 f="x" 1', "a,b,c", "series,timestamp,value"],
    )  # fmt: skip
    def test_no_line(self, text: str) -> None:
        """What has another shape is an error that says what was received."""
        with pytest.raises(LineError, match=r"got .*expected"):
            parse_line(text)
        assert reason(text.encode(), of_file=True) == "undecodable"

    def test_blanks(self) -> None:
        """Several blanks separate the parts as well, and none around a line counts."""
        assert parse_line(" m,a=b   f=1    5 \r") == {
            "measurement": "m", "series": "m,a=b", "a": "b", "f": 1.0, "timestamp": 5,
        }  # fmt: skip
        assert parse_line('m  f="a  b"   5')["timestamp"] == 5

    def test_quotes_in_names(self) -> None:
        """Quotes have a meaning only at the beginning of the value of a field."""
        found = parse_line('"m",a="b\\ c" "f"=1,s="x, y=1 \\" \\\\" 7')
        assert found["measurement"] == '"m"'
        assert (found["a"], found['"f"'], found["s"], found["timestamp"]) == ('"b c"', 1.0, 'x, y=1 " \\', 7)

    def test_names_that_are_taken(self) -> None:
        """A name that is taken gets a number, so that no field is lost; the last value of a repeated field counts."""
        text = f"m,host=a,measurement=b host=1,host_1=2,timestamp=3,series=4,f=5,f=6 {NANOSECONDS}".encode()
        series = "m,host=a,measurement=b "
        assert [(name.removeprefix(series), value) for name, _, value in only(text)] == [
            ("host_2", 1.0), ("host_1", 2.0), ("timestamp_1", 3.0), ("series_1", 4.0), ("f", 6.0),
        ]  # fmt: skip
        assert only(text, fields={"series": "{measurement_1}.{field}", "value": "f"}) == [("b.f", MILLISECONDS, 6.0)]

    @pytest.mark.parametrize("time", ["x", "1.5", "2026-01-05T00:00:00Z", "1 2", "99999999999999999999", "1_0"])
    def test_bad_timestamp(self, time: str) -> None:
        """A timestamp that is no whole number is a reject."""
        for value in (f"m f=1 {time}", f'm f=1,s="a" {time}'):
            assert reason(value.encode(), of_file=True) == "bad_timestamp"


# Records -----------------------------------------------------------------------------------------------------


class TestRecords:
    """Records of one line or several."""

    LINES = f"# from Telegraf\r\n\ncpu,host=a idle=1i,user=2 {NANOSECONDS}\ncpu,host=b idle=3i {NANOSECONDS}\n".encode()

    def test_several_lines(self) -> None:
        """The events of a record follow its lines, and within a line its fields; they have one position."""
        decoded = decode(b"m f=1 1767571200", self.LINES)
        assert events(decoded)[1:] == [
            ("cpu,host=a idle", MILLISECONDS, 1.0),
            ("cpu,host=a user", MILLISECONDS, 2.0),
            ("cpu,host=b idle", MILLISECONDS, 3.0),
        ]
        assert (decoded.positions, decoded.within) == ([0, 1, 1, 1], [-1, 0, 1, 2])

    def test_fields_by_configuration(self) -> None:
        """Templates, values and covariates name tags and fields like those of JSON records."""
        fields = {"series": "{host}/{measurement}.{field}", "values": ["idle"]}
        assert only(self.LINES, fields=fields) == [
            ("a/cpu.idle", MILLISECONDS, 1.0), ("b/cpu.idle", MILLISECONDS, 3.0)
        ]  # fmt: skip
        assert [name for name, _, _ in only(self.LINES, where="host == 'b' and idle > 2")] == ["cpu,host=b idle"]
        halved = decode(self.LINES, units=[{"series": "* idle", "factor": 0.5}])
        assert halved.value.tolist() == [0.5, 2.0, 1.5]
        decoded = decode(f"m,host=a load=1,heat=2 {NANOSECONDS}".encode(), covariates=["heat"])
        assert events(decoded) == [("m,host=a load", MILLISECONDS, 1.0)]
        assert decoded.covariates is not None
        assert decoded.covariates.tolist() == [[2.0]]

    def test_time_units(self) -> None:
        """The unit of the timestamp is that of the configuration, or follows from its size."""
        for digits in (1, 1000, 10**6, 10**9):
            assert only(f"m f=1 {1767571200 * digits}".encode())[0][1] == MILLISECONDS
        assert only(b"m f=1 5", format="influx", fields={"time_unit": "s"})[0][1] == 5000
        assert only(b"m f=1 1500000", of_file=True, fields={"time_unit": "ns"})[0][1] == 1

    def test_record_time(self) -> None:
        """A line without a timestamp has the time of its record, and is rejected where that has none."""
        assert only(b"m f=1\nm f=2 7", format="influx", times=[5]) == [("m f", 5, 1.0), ("m f", 7, 2.0)]
        decoded = decode(b"m f=1", of_file=True)
        assert "without a timestamp" in decoded.rejects[0].detail
        assert reason(b"m f=1", of_file=True) == "missing_field"
        at = only(b"m f=1,at=1767571200000i", format="influx", fields={"timestamp": "at", "value": "f"})
        assert at == [("m f", MILLISECONDS, 1.0)]

    def test_one_bad_line(self) -> None:
        """A bad line rejects its record, once, and the other lines are forecast."""
        decoded = decode(b"m f=1 1\nx\n\xff f=1 1\nm f=2 2", format="influx")
        assert events(decoded) == [("m f", 1, 1.0), ("m f", 2, 2.0)]
        assert [one.reason for one in decoded.rejects] == ["undecodable"]

    def test_texts_are_no_values(self) -> None:
        """Strings and tags are never values, also where they look like numbers; named as a value, they are bad ones."""
        value = f'm,cpu=0 f=1,s="2" {NANOSECONDS}'.encode()
        assert only(value) == [("m,cpu=0 f", MILLISECONDS, 1.0)]
        assert only(value, fields={"values": ["cpu", "s", "f"]}) == [
            ("m,cpu=0 cpu", MILLISECONDS, None), ("m,cpu=0 s", MILLISECONDS, None), ("m,cpu=0 f", MILLISECONDS, 1.0),
        ]  # fmt: skip
        assert reason(b'm s="2" 1', of_file=True) == "missing_field"

    def test_comments_alone(self) -> None:
        """A record of comments and blank lines is neither an event nor a reject."""
        assert only(b"# a\n \n#b", of_file=True) == []

    def test_recognised(self) -> None:
        """Without a configured format a record is line protocol where its first point has a timestamp."""
        assert only(b"\xef\xbb\xbf# c\nm f=1 7") == [("m f", 7, 1.0)]
        for value in (b"error code=5", b"level=info status=200", b"# comment", b"12", b'{"f": "m f=1 7"}'):
            assert reason(value, times=[5]) in {"undecodable", "missing_field"}
        assert "input.format" in decode(b"error code=5", times=[5]).rejects[0].detail
        assert reason(b"m f=1 7", format="jsonl") == "undecodable"

    def test_json_beside_it(self) -> None:
        """With the format configured, JSON events and control records of a topic or of remote write are read too."""
        values = [
            b'{"series": "a", "timestamp": 7, "value": 1}', b"m f=1 7",
            b'{"exclude": {"series": "a", "from": 1, "to": 2}}', b'[{"series": "b", "timestamp": 7, "value": 2}]',
        ]  # fmt: skip
        decoded = decode(*values, format="influx")
        assert events(decoded) == [("a", 7, 1.0), ("m f", 7, 1.0), ("b", 7, 2.0)]
        assert (len(decoded.controls), decoded.rejects) == (1, [])


class TestBounds:
    """Hostile records need a small multiple of their size."""

    def test_most_events(self) -> None:
        """A record has its first events, and is rejected for the others."""
        decoded = decode(b"m f=1,g=2 7\n" * MOST_EVENTS, format="influx", max_record_bytes=1 << 20)
        assert len(decoded) == MOST_EVENTS
        assert [one.reason for one in decoded.rejects] == ["too_large"]

    @pytest.mark.parametrize(
        "value",
        [b"m f=1 7\n" * (1 << 15), b"x\n" * (1 << 17), b"\n" * (1 << 18), b"m " + b"f=1," * (1 << 16) + b"f=1 7",
         b"m " + b'f="",' * (1 << 15) + b"f=1 7", b"m," + b"a=b," * (1 << 16) + b"a=b f=1 7",
         b'm f="' + b"\\" * (1 << 18), b"m" + b"\\ " * (1 << 17) + b" f=1 7", b"m f=" + b"1" * (1 << 18) + b" 7",
         b"m,a\\==b" + b",a=b" * (1 << 16) + b" f=1 7"],
        ids=["points", "bad", "empty", "fields", "strings", "tags", "open", "escapes", "digits", "escaped-tags"],
    )  # fmt: skip
    def test_memory(self, value: bytes) -> None:
        """A quarter of a megabyte of short lines, fields, tags or escapes needs less than 16 megabytes."""
        how = {"format": "influx", "max_record_bytes": 1 << 20}
        decode(b"m f=1 7", **how)
        tracemalloc.start()
        try:
            decode(value, **how)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()
