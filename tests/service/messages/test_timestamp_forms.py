"""Forms of event times."""

from __future__ import annotations

import pytest
from mapped_records import (
    HEADER,
    NOON,
    decode,
    only,
    reason,
    record,
)


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
        ("month", "expected"), [("2026-02", "2026-02-01T00:00:00Z"), ("0001-01", "0001-01-01T00:00:00Z")]
    )
    def test_a_month(self, month: str, expected: str) -> None:
        """A month is its first day, in the zone of the setting; alone and together with other texts."""
        assert only(record(timestamp=month), record(timestamp=expected))[0] == only(record(timestamp=expected))[0]
        line, day = f"s,{month},1.5".encode(), f"s,{month}-01,1.5".encode()
        for zone in ("UTC", "America/New_York"):
            found = only(line, line, day, header=HEADER, fields={"timezone": zone})
            assert found == [found[0]] * 3

    @pytest.mark.parametrize("text", ["2026-13", "2026-00", "26-01", "2026-1", "2026-01Z", "2026/01"])
    def test_no_month(self, text: str) -> None:
        """Texts like a month that are none are rejected."""
        assert reason(record(timestamp=text)) == "bad_timestamp"

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
        "time", ["2026-13-01T00:00", "20260132T0000", "32 Jan 2026 12:00:00 GMT", "1/1/2026", "now"]
    )
    def test_no_times(self, time: str) -> None:
        """What is no time is rejected."""
        assert reason(record(timestamp=time)) == "bad_timestamp"
