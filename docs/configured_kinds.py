"""The kinds of records of Kafka by the settings that they need, as data, with those that need a schema registry."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NamedTuple

from record_kinds import AT, READ, RECORD_TIME, Kind
from rejected_kinds import REJECTED

LATER: Final = "2026-11-22T10:01:00.000Z"
AVRO, PROTOBUF, JSON_SCHEMA = "AVRO", "PROTOBUF", "JSON"


class Group(NamedTuple):
    """Records that are read with the same settings.

    Attributes:
        name: unique, for people.
        settings: the section `input`.
        kinds: the records.
        has_registry: whether there is a schema registry.
        in_daemon: whether the test with a broker runs a daemon for it; else it decodes what Kafka's source returns.
    """

    name: str
    settings: dict[str, Any]
    kinds: tuple[Kind, ...]
    has_registry: bool = False
    in_daemon: bool = False


def _record(**types: object) -> str:
    """An Avro schema with fields of these types."""
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return json.dumps({"type": "record", "name": "Event", "fields": fields})


def _avro(name: str, series: str, fields: bytes, /, **types: object) -> Kind:
    """An Avro record of the value 2.5 at `AT` whose fields are of these types."""
    return Kind(name, fields, ((series, AT, 2.5),), schema=(AVRO, _record(**types)))


def _text(text: str) -> bytes:
    """A short string in Avro's encoding."""
    return bytes([2 * len(text)]) + text.encode()


_MILLIS: Final = {"type": "long", "logicalType": "timestamp-millis"}
_MICROS: Final = {"type": "long", "logicalType": "timestamp-micros"}
_DECIMAL: Final = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
_ENUM: Final = {"type": "enum", "name": "Device", "symbols": ["pump", "valve"]}
_AT_MS: Final = bytes.fromhex("809496abc068")  # `AT` as a long of Avro, in milliseconds
_AT_US: Final = bytes.fromhex("80a08ca5d1b6b006")  # in microseconds
_HALVES: Final = bytes.fromhex("0000000000000440")  # 2.5 as a double
_PROTO: Final = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Other { string name = 1; }
message Event { string series = 1; google.protobuf.Timestamp timestamp = 2; double value = 3; }
"""
_PROTO_TIME: Final = b"\x12\x06\x08" + bytes.fromhex("a0fa8ad806")  # its field 2, in seconds
_UNKNOWN: Final = 987_654

REGISTERED: Final = (
    _avro(
        "Avro", "avro.plain", _text("avro.plain") + _AT_MS + _HALVES, series="string", timestamp=_MILLIS, value="double"
    ),
    _avro(
        "Avro, microseconds, and a union with null",
        "avro.union",
        _text("avro.union") + _AT_US + b"\x02" + _HALVES,
        series="string",
        timestamp=_MICROS,
        value=["null", "double"],
    ),
    _avro(
        "Avro, a decimal",
        "avro.decimal",
        _text("avro.decimal") + _AT_MS + b"\x04\x00\xfa",
        series="string",
        timestamp=_MILLIS,
        value=_DECIMAL,
    ),
    _avro(
        "Avro, an integer device id",
        "4715",
        b"\xd6\x49" + _AT_MS + b"\x04" + _HALVES,
        series="long",
        timestamp=_MILLIS,
        count="int",
        value="double",
    ),
    _avro(
        "Avro, an enum as the series",
        "valve",
        b"\x02" + _AT_MS + _HALVES,
        series=_ENUM,
        timestamp=_MILLIS,
        value="double",
    ),
    Kind(
        "Protobuf, the second message of its file",
        b"\x02\x02\x0a\x05proto" + _PROTO_TIME + b"\x19" + _HALVES,
        (("proto", AT, 2.5),),
        schema=(PROTOBUF, _PROTO),
    ),
    Kind(
        "JSON Schema",
        b'{"series": "json.schema", "timestamp": 1795341600000, "value": 2.5}',
        (("json.schema", AT, 2.5),),
        schema=(JSON_SCHEMA, '{"type": "object", "properties": {"value": {"type": "number"}}}'),
    ),
    Kind(
        "JSON without a frame, among the others",
        b'{"series": "no.frame", "timestamp": 1795341600000, "value": 2.5}',
        (("no.frame", AT, 2.5),),
    ),
    Kind(
        "a schema that the registry does not have",
        b"\x02a",
        reason="unknown_schema",
        says=str(_UNKNOWN),
        schema=_UNKNOWN,
    ),
    Kind(
        "Avro that is cut off",
        b"\x08av",
        reason="undecodable",
        says="schema",
        schema=(AVRO, _record(series="string", timestamp=_MILLIS, value="double")),
    ),
)

MAPPED: Final = (
    Kind(
        "nested objects, and several values",
        b'{"device": {"id": 7}, "at": 1795341600000, "reading": {"temp": 2.5, "rh": 40}}',
        (("7.reading.temp", AT, 2.5), ("7.reading.rh", AT, 40.0)),
    ),
    Kind(
        "a decimal comma, and separators of thousands",
        b'{"device": {"id": "comma"}, "at": 1795341600000, "reading": {"p": "1.002,5"}}',
        (("comma.reading.p", AT, 1002.5),),
    ),
    Kind(
        "a time without a zone, of another zone",
        b'{"device": {"id": "zone"}, "at": "2026-11-22T11:00:00", "reading": {"p": 1}}',
        (("zone.reading.p", AT, 1.0),),
    ),
    Kind(
        "the day first in a date",
        b'{"device": {"id": "day"}, "at": "22.11.2026 11:00", "reading": {"p": 1}}',
        (("day.reading.p", AT, 1.0),),
    ),
    Kind(
        "an array of such objects, of which one is filtered",
        b'[{"device": {"id": "one"}, "at": 1795341600000, "reading": {"p": 1}},'
        b' {"device": {"id": "one"}, "at": 1795341600000, "reading": {"p": 2}, "state": "test"},'
        b' {"device": {"id": "one"}, "at": 1795341660000, "reading": {"p": 3, "state": "on"}}]',
        (("one.reading.p", AT, 1.0), ("one.reading.p", LATER, 3.0)),
    ),
    Kind(
        "a record that does not meet input.where",
        b'{"device": {"id": "not"}, "at": 1795341600000, "reading": {"p": 1}, "state": "test"}',
    ),
    Kind(
        "a record without a number",
        b'{"device": {"id": "x"}, "at": 1795341600000, "reading": {"state": "on"}}',
        reason="missing_field",
        says="expected reading.*",
    ),
)

SAMPLES: Final = (
    Kind(
        "an array of samples",
        b'{"id": "samples", "samples": [{"t": 1795341600, "v": 1}, {"t": 1795341660, "v": 2}]}',
        (("samples", AT, 1.0), ("samples", LATER, 2.0)),
    ),
    Kind("no array", b'{"id": "samples"}', reason="missing_field", says="expected an array of samples"),
)
COLUMNS: Final = (
    Kind(
        "parallel arrays",
        b'{"id": "columns", "t": [1795341600, 1795341660], "v": [1, 2]}',
        (("columns", AT, 1.0), ("columns", LATER, 2.0)),
    ),
)
OUTSIDE: Final = (
    Kind(
        "topic, key and a header as the series",
        b'{"timestamp": 1795341600000, "value": 2.5}',
        (("{topic}/k/north", AT, 2.5),),
        b"k",
        (("site", b"north"),),
    ),
    Kind(
        "no such header", b'{"timestamp": 1795341600000, "value": 2.5}', (), b"k", (), "missing_field", "header 'site'"
    ),
)
MONGO: Final = (
    Kind(
        "MongoDB's time and value, objects",
        b'{"series": "mongo", "timestamp": {"$date": 1795341600000}, "value": {"$numberDouble": "2.5"}}',
        (("mongo", AT, 2.5),),
    ),
)
TWO_PARTS: Final = (
    Kind(
        "a date and a time of day",
        b'{"series": "parts", "date": "22/11/2026", "time": "10:00", "value": 2.5}',
        (("parts", AT, 2.5),),
    ),
)
TICKS: Final = (
    Kind(
        "microseconds before 2001",
        b'{"series": "old", "timestamp": 86400000000, "value": 2.5}',
        (("old", "1970-01-02T00:00:00.000Z", 2.5),),
    ),
)
LINES: Final = (Kind("the time of the record", b"cpu,host=b idle=2.5", (("cpu,host=b idle", RECORD_TIME, 2.5),)),)


def _entry(path: str, behind: str = "", before: str = "") -> bytes:
    """A line of an access log at `AT`."""
    return f'{before}10.0.0.7 - - [22/Nov/2026:11:00:00 +0100] "GET {path} HTTP/1.1" 200 512{behind}'.encode()


ENTRIES: Final = (
    Kind("nginx, combined, seconds behind it", _entry("/a?page=2", ' "-" "curl/8.5" 2.500'), (("GET /a", AT, 2.5),)),
    Kind("with names behind it", _entry("/b", ' "-" "curl/8.5" rt=2.5 urt="2.1"'), (("GET /b", AT, 2.5),)),
    Kind(
        "Apache with a virtual host, microseconds",
        _entry("/c", ' "-" "curl/8.5" 2500', "example.org:443 "),
        (("GET /c", AT, 2500.0),),
    ),
    Kind("common, without the time of the request", _entry("/d"), (("GET /d", AT, math.nan),)),
    Kind(
        "no request",
        rb'10.0.0.7 - - [22/Nov/2026:10:00:00 +0000] "\x16\x03\x01" 400 0 "-" "-" 2.5',
        (("- -", AT, 2.5),),
    ),
    Kind(
        "an event as JSON",
        b'{"method": "GET", "path": "/json", "timestamp": 1795341600000, "request_time": 2.5}',
        (("GET /json", AT, 2.5),),
    ),
    Kind(
        "a line of another log",
        b"2026/11/22 10:00:00 [error] 7#7: connect() failed",
        reason="undecodable",
        says="expected an entry of an access log",
    ),
    Kind(
        "a time that does not exist",
        b'10.0.0.7 - - [31/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5',
        reason="bad_timestamp",
        says="22/Nov/2026",
    ),
)

GROUPS: Final = (
    Group("No settings", {}, READ, in_daemon=True),
    Group("No settings: rejected, and what the reject says", {}, REJECTED, in_daemon=True),
    Group("With a schema registry", {}, REGISTERED, has_registry=True, in_daemon=True),
    Group(
        "Fields in objects, several values, numbers and times as people write them",
        {
            "fields": {
                "series": "device.id",
                "timestamp": "at",
                "values": ["reading.*"],
                "decimal": ",",
                "thousands": ".",
                "timezone": "Europe/Berlin",
                "date_order": "dmy",
            },
            "where": "state is null or state != 'test'",
        },
        MAPPED,
        in_daemon=True,
    ),
    Group(
        "Arrays of samples", {"fields": {"series": "id", "timestamp": "samples[].t", "value": "samples[].v"}}, SAMPLES
    ),
    Group("Parallel arrays", {"fields": {"series": "id", "timestamp": "[:].t", "value": "[:].v"}}, COLUMNS),
    Group("The series outside of the value", {"fields": {"series": "{topic}/{key}/{header:site}"}}, OUTSIDE),
    Group(
        "MongoDB's extended JSON", {"fields": {"timestamp": "timestamp.$date", "value": "value.$numberDouble"}}, MONGO
    ),
    Group(
        "A date and a time of day in two fields",
        {"fields": {"timestamp": ["date", "time"], "date_order": "dmy"}},
        TWO_PARTS,
    ),
    Group("A unit of times", {"fields": {"time_unit": "us"}}, TICKS),
    Group("InfluxDB line protocol, also without times", {"format": "influx"}, LINES),
    Group(
        "Lines of an access log",
        {"format": "access-log", "fields": {"series": "{method} {path}", "value": "request_time"}},
        ENTRIES,
    ),
)
