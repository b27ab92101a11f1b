"""Records of which a part cannot be used, and limits of one record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mapped_records import (
    HEADER,
    NOON,
    WIDE,
    decode,
    only,
    outcomes,
    reason,
    record,
)

from service.messages import mapping, parse_csv


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
