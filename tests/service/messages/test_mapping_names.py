"""Names of series from around a record, and globs of its fields."""

from __future__ import annotations

from typing import Any

import pytest
from mapped_records import (
    HEADER,
    NOON,
    decoder,
    only,
    reason,
    record,
)

from service.messages.outside import FILE_NAME
from service.ports import Records


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
