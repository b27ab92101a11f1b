"""Dates with a time of day as people and spreadsheets write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapped_records import decode, dumped, only, reason, record

from service.config.input import DateOrder
from service.messages.dates import parse_date
from service.messages.timestamps import parse_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Without a zone, as the texts are.
MOMENTS = st.integers(0, 36_500 * 86_400 - 1).map(lambda at: (EPOCH + timedelta(seconds=at)).replace(tzinfo=None))
FIELDS: dict[str, Any] = {"series": "series", "timestamp": ["d", "c"], "value": "value", "date_order": "dmy"}
DATES: dict[DateOrder, list[str]] = {
    "ymd": ["{t.year:04}/{t.month}/{t.day}", "{t.year:04}.{t.month:02}.{t.day:02}", "{t.year:04}-{t.month}-{t.day}",
            "{t:%Y%m%d}"],
    "dmy": ["{t:%d.%m.%Y}", "{t.day}/{t.month}/{t:%Y}", "{t:%d-%m-%y}"],
    "mdy": ["{t:%m/%d/%Y}", "{t.month}-{t.day}-{t:%y}", "{t.month}.{t.day}.{t:%Y}"],
}  # fmt: skip
CLOCKS = ["{t.hour}:{t:%M:%S}", "{t:%H:%M:%S}", "{half}:{t:%M:%S} {t:%p}", "{half}:{t:%M:%S}{t:%p}"]


@given(st.data(), MOMENTS, st.sampled_from(["ymd", "dmy", "mdy"]), st.sampled_from([" ", ", ", "T"]))
def test_every_form(data: st.DataObject, time: datetime, order: DateOrder, between: str) -> None:
    """Every form of a date and of a time of day is that time, with a zone and without one."""
    date, clock = data.draw(st.sampled_from(DATES[order])), data.draw(st.sampled_from(CLOCKS))
    text = (date + between + clock).format(t=time, half=time.hour % 12 or 12)
    assert parse_date(text, order) == time
    assert parse_date(text + " +01:30", order) == (time - timedelta(hours=1.5)).replace(tzinfo=UTC)
    assert parse_date(text + "Z", order) == time.replace(tzinfo=UTC)
    assert parse_time(text, order=order) == (time.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


@given(MOMENTS, st.sampled_from(DATES["dmy"] + DATES["mdy"]))
def test_no_guess(time: datetime, date: str) -> None:
    """A date whose year is not first is no time without a configured order."""
    assert parse_time(date.format(t=time)) is None


@pytest.mark.parametrize(
    "text",
    ["31.02.2026", "1/2", "1/2/202", "1/2-2026", "32/1/2026", "1/2/2026 24:00", "1/2/2026 5", "1/2/2026 13:00 PM",
     "1/2/2026 0 AM", "1/2/2026 10:00:60", "1/2/2026  ", "100/2/2026", "2026/1/100", "1/2/2026 10:00 +99"],
)  # fmt: skip
@pytest.mark.parametrize("order", ["ymd", "dmy", "mdy"])
def test_no_dates(text: str, order: DateOrder) -> None:
    """What is no date in any order is rejected."""
    assert parse_date(text, order) is None


def test_years_of_two_digits() -> None:
    """Years of two digits are 1970 to 2069."""
    assert [parse_date(f"1.2.{year}", "dmy").year for year in ("69", "70", "00")] == [2069, 1970, 2000]  # type: ignore[union-attr]


class TestTwoFields:
    """A date and a time of day in two fields."""

    @given(st.lists(MOMENTS, min_size=1, max_size=4), st.booleans())
    def test_the_same_as_in_one(self, times: list[datetime], quoted: bool) -> None:
        """The events are those of one field with both, in JSON and CSV, by column and by line."""
        rows = [(f"{time:%d.%m.%Y}", f"{time:%H:%M:%S}") for time in times]
        values = dumped(*({"series": "s", "d": d, "c": c, "value": 1} for d, c in rows))
        lines = [f"s,{d}, {c} ,1".encode() for d, c in rows]
        lines += [b'"s",1.1.2026,10:00,1'] if quoted else []
        expected = only(*(record(timestamp=f"{time:%Y-%m-%dT%H:%M:%SZ}", value=1) for time in times))
        assert only(*values, fields=FIELDS) == expected
        assert only(*lines, header=b"series,d,c,value", fields=FIELDS)[: len(times)] == expected

    def test_one_is_missing(self) -> None:
        """A record without one of them is rejected; without both it has the time of the record."""
        assert reason(b'{"series":"s","d":"1.1.2026","value":1}', fields=FIELDS) == "missing_field"
        assert reason(b"s,1.1.2026, ,1", header=b"series,d,c,value", fields=FIELDS) == "missing_field"
        assert reason(b'{"series":"s","d":"1.1.2026","c":true,"value":1}', fields=FIELDS) == "wrong_type"
        assert only(b'{"series":"s","value":1}', fields=FIELDS, times=[7]) == [("s", 7, 1.0)]


def test_the_message_names_the_setting() -> None:
    """The reject of such a date says what to set."""
    (reject,) = decode(record(timestamp="31/12/2026")).rejects
    assert reject.reason == "bad_timestamp"
    assert "input.fields.date_order" in reject.detail
