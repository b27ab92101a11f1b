"""The kinds of records of Kafka that are rejected without any setting, with what each reject says would read it."""

from __future__ import annotations

import gzip
from typing import Final

from record_kinds import Kind

_PLAIN: Final = '{"series": "s", "timestamp": 1795341600000, "value": 2.5}'


def _kind(name: str, value: str | bytes, reason: str, says: str, key: bytes | None = None, **remedy: object) -> Kind:
    data = value.encode() if isinstance(value, str) else value
    return Kind(name, data, key=key, reason=reason, says=says, remedy=remedy)


def _value(name: str, value: str, says: str, /, **fields: str) -> Kind:
    """A kind of which only the value is unusual."""
    return _kind(
        name,
        f'{{"series": "s", "timestamp": 1795341600000, "value": {value}}}',
        "wrong_type",
        says,
        **({"fields": fields} if fields else {}),
    )


def _time(name: str, time: str, reason: str, says: str, /, **fields: object) -> Kind:
    """A kind of which only the time is unusual."""
    return _kind(
        name,
        f'{{"series": "s", "timestamp": {time}, "value": 2.5}}',
        reason,
        says,
        **({"fields": fields} if fields else {}),
    )


_OF_TOPIC: Final = {"series": "{topic}"}

FIELDS: Final = (
    _kind(
        "other names of fields",
        '{"device": "s", "ts": 1795341600000, "temp": 2.5}',
        "missing_field",
        "input.fields",
        fields={"series": "device", "timestamp": "ts", "value": "temp"},
    ),
    _kind(
        "nested objects",
        '{"timestamp": 1795341600000, "tags": {"id": "s"}, "fields": {"t": 2.5}}',
        "missing_field",
        "input.fields",
        fields={"series": "tags.id", "value": "fields.t"},
    ),
    _kind(
        "no series, and no key",
        '{"timestamp": 1795341600000, "value": 2.5}',
        "missing_field",
        "input.fields",
        fields=_OF_TOPIC,
    ),
    _kind(
        "a key that is no text",
        '{"timestamp": 1795341600000, "value": 2.5}',
        "undecodable",
        "input.fields.series",
        b"\xff\xfe",
        fields=_OF_TOPIC,
    ),
    _kind("an empty key", "2.5", "missing_field", "input.fields.series", b"", fields=_OF_TOPIC),
    _kind(
        "an object as the series",
        '{"series": {"id": 7}, "timestamp": 1795341600000, "value": 2.5}',
        "wrong_type",
        'input.fields.series = "series.id"',
        fields={"series": "series.id"},
    ),
    _value("a decimal comma", '"2,5"', "input.fields.decimal", decimal=","),
    _value("separators of thousands", '"1,234.5"', "input.fields.thousands", thousands=","),
    _value("a number with its unit", '"21.5 C"', "without its unit"),
    _value("a value in an object", '{"celsius": 2.5}', 'input.fields.value = "value.celsius"', value="value.celsius"),
    _value("values in an array", "[2.5, 3]", 'input.fields.value = "value[0]"', value="value[0]"),
    _time(
        "a date with the day first", '"22.11.2026 10:00"', "bad_timestamp", "input.fields.date_order", date_order="dmy"
    ),
    _time("a time of day alone", '"10:00:00"', "bad_timestamp", "a list in input.fields.timestamp"),
    _time("a time with the name of its zone", '"2026-11-22 10:00:00 CET"', "bad_timestamp", "input.fields.timezone"),
    _time(
        "MongoDB's time, an object",
        '{"$date": 1795341600000}',
        "wrong_type",
        'input.fields.timestamp = "timestamp.$date"',
        timestamp="timestamp.$date",
    ),
    _time("numbers of year, month and day", "[2026, 11, 22, 10, 0]", "wrong_type", "expected an ISO-8601 time"),
    _time(
        "nanoseconds of a clock that begins with the machine",
        "4294967296000000",
        "too_far_ahead",
        "input.fields.time_unit",
        time_unit="ns",
    ),
)

ENVELOPES: Final = (
    _kind(
        "Debezium, a deleted row",
        '{"before": {"series": "s"}, "after": null, "op": "d", "source": {}, "ts_ms": 1}',
        "not_an_event",
        "expected a create, update or read",
    ),
    _kind(
        "CloudEvents, data_base64 that is not JSON",
        '{"specversion": "1.0", "id": "1", "type": "t", "source": "/4", "data_base64": "AAEC"}',
        "not_an_event",
        "expected an event as JSON in base64",
    ),
)

FORMATS: Final = (
    _kind("an empty value", "", "undecodable", "expected JSON"),
    _kind("JSON that is cut off", _PLAIN[:30], "undecodable", "expected JSON"),
    _kind("single quotes, as Python prints", "{'series': 's', 'value': 2.5}", "undecodable", "expected JSON"),
    _kind("a text", '"on"', "wrong_type", "or a number alone", b"s"),
    _kind("CSV without its header line", "s,1795341600000,2.5", "undecodable", "csv-header"),
    _kind(
        "CSV with its header line in the value",
        "series,timestamp,value\ns,1795341600000,2.5",
        "undecodable",
        "csv-header",
    ),
    _kind(
        "line protocol without a time", "cpu,host=a idle=2.5", "undecodable", 'input.format = "influx"', format="influx"
    ),
    _kind(
        "a line of an access log",
        '10.0.0.7 - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "-" 2.5',
        "undecodable",
        'input.format = "access-log"',
        format="access-log",
        fields={"series": "path", "value": "request_time"},
    ),
    _kind("a line of a log", "2026-11-22 10:00:00 INFO started", "undecodable", "expected JSON"),
    _kind("XML", "<event><series>s</series></event>", "undecodable", "expected JSON"),
    _kind("UTF-16", _PLAIN.encode("utf-16"), "undecodable", "UTF-8"),
    _kind("Latin-1", '{"series": "K\u00fche", "value": 2.5}'.encode("latin-1"), "undecodable", "UTF-8"),
    _kind("a double of 8 bytes", b"\x40\x04\x00\x00\x00\x00\x00\x00", "undecodable", "expected JSON", b"s"),
    _kind("gzip", gzip.compress(_PLAIN.encode(), mtime=0), "undecodable", "compression.type"),
    _kind("zstd", bytes.fromhex("28b52ffd0458") + b"abc", "undecodable", "compression.type"),
    _kind(
        "MessagePack",
        b"\x83\xa6series\xa1s\xa5value\xcb\x40\x04\x00\x00\x00\x00\x00\x00",
        "undecodable",
        "expected JSON",
    ),
    _kind(
        "Avro in the frame of a registry",
        b"\x00\x00\x00\x00\x07\x02s\x80\x80\xf0\xb7\xf0h",
        "undecodable",
        "schema_registry.url",
    ),
    _kind("Avro without a frame", b"\x02s\x80\x80\xf0\xb7\xf0h", "undecodable", "expected JSON"),
    _kind("an Avro object file", b"Obj\x01\x04\x14avro.codec\x08null", "undecodable", "input.files"),
    _kind("a Parquet file", b"PAR1\x15\x04\x15\x10", "undecodable", "input.files"),
    _kind("the frame of AWS Glue", b"\x03\x00" + bytes(range(16)) + b"\x02s", "undecodable", "Confluent's"),
    _kind(
        "a record that is too long",
        '{"series": "s", "pad": "' + "x" * 65_536 + '", "value": 2.5}',
        "too_large",
        "input.max_record_bytes",
        b"s",
        max_record_bytes=1 << 20,
    ),
    _kind(
        "a name that is too long",
        _PLAIN.replace('"s"', '"' + "s" * 2_000 + '"'),
        "series_too_long",
        "input.max_series_bytes",
        max_series_bytes=4_096,
    ),
    _kind("objects nested too deep", '{"a":' * 2_000 + "1" + "}" * 2_000, "undecodable", "expected an object"),
)

REJECTED: Final = (*FIELDS, *ENVELOPES, *FORMATS)
