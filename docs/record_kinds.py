"""The kinds of records of Kafka that need no setting, as data: the bytes of each, and the events that it has.

tests/service/messages/test_record_kinds.py decodes every one, tests/broker/test_kinds_on_kafka.py sends them to a real
topic, and docs/kinds.md lists them, with those of rejected_kinds.py and configured_kinds.py.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

RECORD_MS: Final = 1_795_341_607_000
"""Time of every record, epoch milliseconds: seven seconds after `AT`."""
AT: Final = "2026-11-22T10:00:00.000Z"
RECORD_TIME: Final = "2026-11-22T10:00:07.000Z"


class Kind(NamedTuple):
    """A kind of record, and what becomes of it.

    Attributes:
        name: unique, for people.
        value: the bytes; None: a record without a value. Of a kind with a schema what follows the frame.
        events: series, time and value of each; a missing value is nan. `{topic}` stands for the name of the topic.
        key, headers: of the record.
        reason: of the reject; empty: there is none.
        says: a part of the text of the reject: what would read the record.
        schema: type and text of a schema in the registry; an integer: an id that the registry does not have.
        remedy: keys of the section `input` with which the rejected record is read.
    """

    name: str
    value: bytes | None
    events: tuple[tuple[str, str, float], ...] = ()
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    reason: str = ""
    says: str = ""
    schema: tuple[str, str] | int | None = None
    remedy: Mapping[str, Any] = MappingProxyType({})


def _one(series: str, value: float = 2.5, time: str = AT) -> tuple[tuple[str, str, float], ...]:
    return ((series, time, value),)


def _timed(name: str, series: str, time: bytes, expected: str = AT) -> Kind:
    """A kind of which only the time is unusual."""
    return Kind(
        name, b'{"series": "%s", "timestamp": %s, "value": 2.5}' % (series.encode(), time), _one(series, 2.5, expected)
    )


def _valued(name: str, series: str, value: bytes, expected: float) -> Kind:
    """A kind of which only the value is unusual."""
    return Kind(
        name,
        b'{"series": "%s", "timestamp": 1795341600000, "value": %s}' % (series.encode(), value),
        _one(series, expected),
    )


def _named(name: str, series: bytes, expected: str, key: bytes | None = None) -> Kind:
    """A kind of which only the field with the name of the series is unusual."""
    return Kind(name, b'{%s"timestamp": 1795341600000, "value": 2.5}' % series, _one(expected), key)


def _of_connect(name: str, series: str, value: bytes, fields: bytes) -> Kind:
    """A row of Kafka Connect with a schema of these fields."""
    schema = b'{"type": "struct", "fields": [{"field": "series", "type": "string"}, %s]}' % fields
    payload = b'{"series": "%s", %s}' % (series.encode(), value)
    return Kind(name, b'{"schema": %s, "payload": %s}' % (schema, payload), _one(series))


_PLAIN: Final = b'{"series": "%s", "timestamp": 1795341600000, "value": 2.5}'
_CLOUD: Final = b'{"specversion": "1.0", "id": "1", "type": "reading", "source": "/4", "time": "2026-11-22T10:00:00Z", '
_DOUBLE: Final = b'{"field": "value", "type": "double"}'
_DECIMAL: Final = (
    b'{"field": "value", "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", '
    b'"parameters": {"scale": "2"}}'
)
_SOURCE: Final = b'"source": {"connector": "postgresql", "db": "shop"}, "ts_ms": 1795341600000'

FLAT: Final = (
    Kind("a flat object", _PLAIN % b"flat", _one("flat")),
    Kind(
        "with further fields",
        b'{"series": "more", "timestamp": 1795341600000, "value": 2.5, "unit": "C", "a": [{}]}',
        _one("more"),
    ),
    Kind(
        "over several lines, with CR LF",
        b'{\r\n "series": "lines",\r\n "timestamp": 1795341600000,\r\n "value": 2.5\r\n}\r\n',
        _one("lines"),
    ),
    Kind("with a byte order mark", b"\xef\xbb\xbf" + _PLAIN % b"bom", _one("bom")),
    Kind(
        "a repeated field, of which the last counts",
        b'{"series": "twice", "timestamp": 1795341600000, "value": 1, "value": 2.5}',
        _one("twice"),
    ),
    Kind(
        "several JSON lines", _PLAIN % b"line.1" + b"\n" + _PLAIN % b"line.2" + b"\n", _one("line.1") + _one("line.2")
    ),
    Kind("an array of events", b"[%s, %s]" % (_PLAIN % b"item.1", _PLAIN % b"item.2"), _one("item.1") + _one("item.2")),
)

TIMES: Final = (
    _timed("epoch seconds", "time.s", b"1795341600"),
    _timed("epoch seconds with a fraction", "time.float", b"1795341600.25", "2026-11-22T10:00:00.250Z"),
    _timed("epoch microseconds", "time.us", b"1795341600000000"),
    _timed("epoch nanoseconds", "time.ns", b"1795341600000000000"),
    _timed("epoch milliseconds as a text", "time.text", b'"1795341600000"'),
    _timed("epoch milliseconds as a float", "time.exponent", b"1.7953416E12"),
    _timed("ISO-8601 with an offset", "time.offset", b'"2026-11-22T11:00:00+01:00"'),
    _timed(
        "ISO-8601 with nine digits of a second",
        "time.nine",
        b'"2026-11-22T10:00:00.123456789Z"',
        "2026-11-22T10:00:00.123Z",
    ),
    _timed("ISO-8601 with a blank and no zone", "time.blank", b'"2026-11-22 10:00:00"'),
    _timed("ISO-8601 basic", "time.basic", b'"20261122T100000Z"'),
    _timed("a date", "time.date", b'"2026-11-22"', "2026-11-22T00:00:00.000Z"),
    _timed("a date with slashes", "time.slashes", b'"2026/11/22 10:00"'),
    _timed("RFC 2822, as in mails", "time.mail", b'"Sun, 22 Nov 2026 10:00:00 +0000"'),
    _timed("RFC 7231, as in HTTP", "time.http", b'"Sun, 22 Nov 2026 10:00:00 GMT"'),
    _timed("null: the time of the record", "time.null", b"null", RECORD_TIME),
    Kind("no time: that of the record", b'{"series": "time.none", "value": 2.5}', _one("time.none", 2.5, RECORD_TIME)),
)

VALUES: Final = (
    _valued("an integer", "value.int", b"3", 3.0),
    _valued("a number as a text", "value.text", b'"2.5"', 2.5),
    _valued("a boolean", "value.bool", b"true", 1.0),
    _valued("null", "value.null", b"null", math.nan),
    _valued("NaN, which is no JSON", "value.nan", b"NaN", math.nan),
    _valued("a text for a missing value", "value.na", b'"NA"', math.nan),
    _valued("a number beyond a double", "value.huge", b"1e999", math.nan),
    _valued("an integer of 30 digits", "value.long", b"1" * 30, float("1" * 30)),
    _valued("Avro's JSON: a union", "value.union", b'{"double": 2.5}', 2.5),
    Kind(
        "Avro's JSON: all fields unions",
        b'{"series": {"string": "all.union"}, "timestamp": {"long": 1795341600000}, "value": {"float": 2.5}}',
        _one("all.union"),
    ),
)

NAMES: Final = (
    _named("an integer device id", b'"series": 4711, ', "4711"),
    _named("an integer of 64 bits", b'"series": 9223372036854775807, ', "9223372036854775807"),
    _named("a name that is no ASCII", b'"series": "K\xc3\xbchlung", ', "K\u00fchlung"),
    _named("a name with escapes", b'"series": "K\\u00e4lte", ', "K\u00e4lte"),
    _named("in the key, a text", b"", "key.text", b"key.text"),
    _named("in the key, a long of 8 bytes", b"", "4712", (4712).to_bytes(8, "big")),
    _named("in the key, an int of 4 bytes", b"", "4713", (4713).to_bytes(4, "big")),
    Kind("a bare number, with the series in the key", b"2.5", _one("bare", 2.5, RECORD_TIME), b"bare"),
    Kind("a bare number, with a long as the key", b"2.5", _one("4714", 2.5, RECORD_TIME), (4714).to_bytes(8, "big")),
)

ENVELOPES: Final = (
    Kind("JSON in the frame of a registry", b"\x00\x00\x00\x00\x07" + _PLAIN % b"framed", _one("framed")),
    _of_connect("Kafka Connect with a schema", "connect.schema", b'"timestamp": 1795341600000, "value": 2.5', _DOUBLE),
    _of_connect(
        "Kafka Connect, a Decimal in base64",
        "connect.decimal",
        b'"timestamp": 1795341600000, "value": "APo="',
        _DECIMAL,
    ),
    _of_connect(
        "Kafka Connect, a Timestamp",
        "connect.time",
        b'"timestamp": 1795341600000, "value": 2.5',
        b'{"field": "timestamp", "type": "int64", "name": "org.apache.kafka.connect.data.Timestamp"}',
    ),
    _of_connect(
        "Debezium's microseconds",
        "connect.micro",
        b'"timestamp": 1795341600000000, "value": 2.5',
        b'{"field": "timestamp", "type": "int64", "name": "io.debezium.time.MicroTimestamp"}',
    ),
    Kind(
        "Kafka Connect without a schema",
        b'{"schema": null, "payload": %s}' % (_PLAIN % b"connect.none"),
        _one("connect.none"),
    ),
    Kind(
        "Debezium, a created row",
        b'{"before": null, "after": %s, "op": "c", %s}' % (_PLAIN % b"debezium.c", _SOURCE),
        _one("debezium.c"),
    ),
    Kind(
        "Debezium, a changed row in Kafka Connect's envelope",
        b'{"schema": null, "payload": {"before": {"series": "x"}, "after": %s, "op": "u", %s}}'
        % (_PLAIN % b"debezium.u", _SOURCE),
        _one("debezium.u"),
    ),
    Kind(
        "Debezium, a row without a time: that of the change",
        b'{"before": null, "after": {"series": "debezium.t", "value": 2.5}, "op": "r", %s}' % _SOURCE,
        _one("debezium.t"),
    ),
    Kind(
        "CloudEvents in structured mode",
        _CLOUD + b'"data": {"series": "cloud.data", "value": 2.5}}',
        _one("cloud.data"),
    ),
    Kind(
        "CloudEvents with data_base64",
        _CLOUD + b'"data_base64": "%s"}' % b64encode(b'{"series": "cloud.base64", "value": 2.5}'),
        _one("cloud.base64"),
    ),
    Kind(
        "CloudEvents with JSON in a text",
        _CLOUD + b'"data": "{\\"series\\": \\"cloud.text\\", \\"value\\": 2.5}"}',
        _one("cloud.text"),
    ),
    Kind(
        "CloudEvents in binary mode",
        b'{"series": "cloud.binary", "value": 2.5}',
        _one("cloud.binary"),
        headers=(("ce_specversion", b"1.0"), ("ce_time", b"2026-11-22T10:00:00Z")),
    ),
    Kind(
        "CloudEvents in a batch",
        b"[%s]" % (_CLOUD + b'"data": {"series": "cloud.batch", "value": 2.5}}'),
        _one("cloud.batch"),
    ),
)

OTHER_FORMATS: Final = (
    Kind("InfluxDB line protocol", b"cpu,host=a idle=2.5 1795341600000000000", _one("cpu,host=a idle")),
    Kind(
        "several lines of it",
        b"# a comment\nmem,host=a free=2.5,used=3i 1795341600000000000\ndisk up=t 1795341600\n",
        (*_one("mem,host=a free"), *_one("mem,host=a used", 3.0), *_one("disk up", 1.0)),
    ),
    Kind(
        "a line of CSV, with the header line in a header",
        b"csv.line,1795341600000,2.5",
        _one("csv.line"),
        headers=(("csv-header", b"series,timestamp,value"),),
    ),
    Kind(
        "CSV with semicolons and quotes",
        b'2.5;"csv;quoted";"2026-11-22T10:00:00Z"',
        _one("csv;quoted"),
        headers=(("csv-header", b"value;series;timestamp"),),
    ),
    Kind(
        "JSON in a JSON text",
        b'"{\\"series\\": \\"in.text\\", \\"timestamp\\": 1795341600000, \\"value\\": 2.5}"',
        _one("in.text"),
    ),
    Kind("no value: a tombstone, which is only counted", None, key=b"gone"),
    Kind(
        "a control record, which has no event",
        b'{"exclude": {"series": "nothing.*", "from": "2026-11-22T10:00Z", "to": "2026-11-22T11:00Z"}}',
    ),
)

READ: Final = (*FLAT, *TIMES, *VALUES, *NAMES, *ENVELOPES, *OTHER_FORMATS)
