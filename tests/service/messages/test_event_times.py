"""Times of events in their usual forms."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from decoded_records import NOON, decode
from hypothesis import given
from hypothesis import strategies as st

from service.messages.timestamps import (
    EARLIEST_MS,
    LATEST_MS,
    Milliseconds,
    format_times,
    parse_time,
    to_epoch_ms,
    written,
)


class TestTimes:
    """Event times."""

    @pytest.mark.parametrize(
        "text",
        ["2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000Z", "2026-01-01 12:00:00",
         "2026-01-01T13:00:00+01:00",
         "2026-01-01T12:00", "2026-01-01T12:00:00.0009Z", "1767268800000", " 2026-01-01t12:00:00z "],
    )  # fmt: skip
    def test_forms(self, text):
        """ISO-8601 with and without zone and fraction, and epoch milliseconds as text, are accepted."""
        assert parse_time(text) == NOON

    @pytest.mark.parametrize(
        "text",
        ["", "now", "NaT", "2026-W01", "20260101T00", "12:00", "1e3", "1.0", "\uff12026-01-01T00:00:00Z"],
    )
    def test_not_times(self, text):
        """Ambiguous texts, which some parsers accept, are refused."""
        assert parse_time(text) is None
        assert to_epoch_ms([text])[1] == [0]

    @pytest.mark.parametrize(
        "text",
        ["2026-01-01T12:00:00X", "-026-01-01T12:00:00Z", "2026-01-01T12:00:0 Z", "2026-13-01T12:00:00Z"],
    )
    def test_not_times_of_the_right_length(self, text):
        """A text as long as a time is checked in full, also in a column of good times."""
        column, bad = to_epoch_ms(["2026-01-01T12:00:00Z", text])
        assert (column.tolist(), bad) == ([NOON, 0], [1])

    def test_before_1970_is_cut_towards_the_past(self):
        """Fractions of a millisecond are rounded down on both sides of 1970."""
        assert parse_time("1969-12-31T23:59:59.9999Z") == -1

    @given(st.lists(st.datetimes().map(lambda t: t.replace(tzinfo=UTC)), min_size=1),
           st.sampled_from(["seconds", "milliseconds", "microseconds"]))  # fmt: skip
    def test_column_equals_single(self, times, precision):
        """A column of texts gives the times of its values one by one, and the times are right."""
        texts = [time.isoformat(timespec=precision).replace("+00:00", "Z") for time in times]
        column, bad = to_epoch_ms(texts)
        assert bad == []
        assert column.tolist() == [parse_time(text) for text in texts]
        exact = [(time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() for time in times]
        assert all(abs(got / 1000 - want) < 1.001 for got, want in zip(column.tolist(), exact, strict=True))

    @given(st.lists(st.text("0123456789-T:.Z ", min_size=20, max_size=20), min_size=1))
    def test_almost_times(self, texts):
        """Texts of the right length give equal results in a column and alone."""
        column, bad = to_epoch_ms(texts)
        alone = [parse_time(text) for text in texts]
        assert bad == [i for i, one in enumerate(alone) if one is None]
        assert column.tolist() == [one or 0 for one in alone]

    @given(st.lists(st.integers(EARLIEST_MS, LATEST_MS), min_size=1))
    def test_round_trip(self, times):
        """Formatted times are read back unchanged."""
        texts = format_times(np.array(times, np.int64))
        assert to_epoch_ms(texts)[0].tolist() == times

    @pytest.mark.parametrize(
        ("time", "expected"),
        [(1_767_571_200, 1_767_571_200_000), (1_767_571_200.5, 1_767_571_200_500),
         (1_767_571_200.123, 1_767_571_200_123), ("1767571200", 1_767_571_200_000),
         ("1767571200.5", 1_767_571_200_500), (" 1767571200.0 ", 1_767_571_200_000),
         (1_767_571_200_000, 1_767_571_200_000), (1_767_571_200_000.0, 1_767_571_200_000),
         ("1767571200000.0", 1_767_571_200_000),
         (-631_152_000, -631_152_000_000), (10**8, 10**11), (10**8 - 1, 10**8 - 1), (10**11, 10**11),
         (10**11 - 1, (10**11 - 1) * 1000), (0, 0), (1000, 1000), (2000.0, 2000),
         (1_767_571_200_000.5, None), (0.5, None), (float("nan"), None), (float("inf"), None),
         (1_767_571_200_000_123, 1_767_571_200_000), (1_767_571_200_000_000_123, 1_767_571_200_000),
         (3 * 10**14, None), (10**30, None)],
    )  # fmt: skip
    def test_seconds_and_milliseconds(self, time, expected):
        """A number is read as epoch seconds from 1e8 to below 1e11, of either sign."""
        assert parse_time(time) == expected
        assert to_epoch_ms([time]) == ([expected or 0], [] if expected is not None else [0])

    @given(
        st.lists(st.one_of(st.integers(-(10**13), 10**13), st.floats(-1e13, 1e13)), min_size=1),
        st.sampled_from(["auto", "s", "ms", "us", "ns"]),
        st.booleans(),
    )
    def test_a_number_is_judged_by_itself(self, numbers, unit, as_text):
        """A column of numbers gives the times of its values one by one, as numbers and as text."""
        times = [str(time) if as_text and isinstance(time, int) else time for time in numbers]
        column, bad = to_epoch_ms(times, unit)
        alone = [parse_time(time, unit) for time in numbers]
        assert bad == [i for i, one in enumerate(alone) if one is None]
        assert column.tolist() == [one or 0 for one in alone]

    @given(st.integers(EARLIEST_MS, LATEST_MS), st.sampled_from(["auto", "s", "ms", "us", "ns"]))
    def test_what_is_written_is_read(self, time, unit):
        """Milliseconds that the daemon writes itself are read back unchanged, whatever the unit of the stream."""
        assert parse_time(written(time, unit), unit) == time
        assert parse_time(Milliseconds(time), unit) == time
        assert to_epoch_ms([Milliseconds(time)], unit)[0].tolist() == [time]

    @pytest.mark.parametrize(
        ("unit", "number"), [("s", 1000), ("ms", 1_000_000), ("us", 1_000_000_999), ("ns", 1_000_000_999_999)]
    )
    def test_units(self, unit, number):
        """`input.time_unit` applies to all numbers; fractions of a millisecond are cut off."""
        assert parse_time(number, unit) == 1_000_000
        assert to_epoch_ms([number, str(number)], unit)[0].tolist() == [1_000_000] * 2

    def test_the_record_time_is_read_likewise(self):
        """Epoch seconds are accepted in JSON and CSV, as event time and as record time."""
        fields = {"record_time": "at"}
        json_line = b'{"series": "a", "timestamp": 1767571300, "value": 1, "at": 1767571200.5}'
        for max_ahead, kept in ((99, 0), (100, 1)):
            decoded = decode(json_line, fields=fields, max_ahead=max_ahead)
            assert len(decoded) == kept
        line = b"a,1767571300,1,1767571200.5"
        decoded = decode(line, header=b"series,timestamp,value,at", fields=fields, max_ahead=100)
        assert decoded.timestamp_ms.tolist() == [1_767_571_300_000]

    def test_times_of_two_units_are_noticed(self):
        """A stream that begins at 1970 in milliseconds is reported where its times pass 1e8."""
        lines = [b'{"series": "a", "timestamp": %d, "value": 1}' % time for time in (97_200_000, 100_800_000)]
        assert decode(*lines).two_units
        assert not decode(lines[0]).two_units
        assert not decode(lines[1]).two_units
        decoded_as_ms = decode(*lines, fields={"time_unit": "ms"})
        assert not decoded_as_ms.two_units
        assert decoded_as_ms.timestamp_ms.tolist() == [97_200_000, 100_800_000]
