"""The windows of event times: every time has one window, and days are days of the zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.aggregate.interval_grid import DAY_MS, IntervalGrid
from service.messages.timestamps import EARLIEST_MS, LATEST_MS

HOUR = 3_600_000
ZONES = [
    "UTC", "Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata",
    "America/Havana", "Asia/Beirut", "America/Scoresbysund",
]  # fmt: skip
INTERVALS = [1000, 60_000, 900_000, HOUR, 2 * HOUR, 6 * HOUR, DAY_MS, 2 * DAY_MS, 7 * DAY_MS]
EDGES = [-2_208_988_800_000, 7_258_118_400_000]  # 1900 and 2200, beyond which windows are those of UTC
TIMES = st.integers(0, 2_000_000_000_000) | st.builds(
    int.__add__, st.sampled_from(EDGES), st.integers(-14 * DAY_MS, 14 * DAY_MS)
)
RECENT = st.integers(0, 2_000_000_000_000)


def at(text: str, zone: str = "Europe/Berlin") -> int:
    """Returns the epoch ms of a time of a zone."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize("zone", ZONES)
@given(time=TIMES, interval=st.sampled_from(INTERVALS))
def test_windows_partition_the_time(zone: str, time: int, interval: int) -> None:
    """A window has the time, all times in it have the same window, and its neighbours touch it."""
    grid = IntervalGrid(interval, zone)
    start, end = grid.bounds(time)

    assert start <= time < end
    assert grid.bounds(start) == grid.bounds(end - 1) == (start, end)
    assert grid.bounds(start - 1)[1] == start
    assert grid.bounds(end)[0] == end


@pytest.mark.parametrize("zone", ZONES)
@given(time=st.integers(EARLIEST_MS, LATEST_MS), interval=st.sampled_from(INTERVALS))
def test_all_times(zone: str, time: int, interval: int) -> None:
    """Every time from year 1 to 9999 has a window."""
    start, end = IntervalGrid(interval, zone).bounds(time)
    assert EARLIEST_MS <= start <= time < end


@pytest.mark.parametrize("interval", [2 * DAY_MS, 7 * DAY_MS, 366 * DAY_MS])
def test_the_first_window(interval: int) -> None:
    """The first window begins with the year 1, so that its begin is an event time."""
    assert IntervalGrid(interval, "UTC").bounds(EARLIEST_MS)[0] == EARLIEST_MS


@pytest.mark.parametrize("zone", ZONES)
@given(time=RECENT)
def test_days_are_local(zone: str, time: int) -> None:
    """A day begins when the clock of the zone first shows its date, and all its times but repeated ones have it."""
    start, end = IntervalGrid(DAY_MS, zone).bounds(time)
    days = [datetime.fromtimestamp(one / 1000, ZoneInfo(zone)).date() for one in (start - 1, start, end - 1, end)]

    assert days[0] < days[1] <= days[2] <= days[3]
    assert 23 * HOUR <= end - start <= 25 * HOUR


@pytest.mark.parametrize(
    ("interval", "time", "start", "end"),
    [
        (DAY_MS, "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),  # 23 hours
        (DAY_MS, "2026-10-25T12:00", "2026-10-25T00:00", "2026-10-26T00:00"),  # 25 hours
        (6 * HOUR, "2026-03-29T04:00", "2026-03-29T00:00", "2026-03-29T06:00"),  # 5 hours
        (6 * HOUR, "2026-10-25T13:00", "2026-10-25T12:00", "2026-10-25T18:00"),
        (7 * DAY_MS, "2026-11-26T12:00", "2026-11-23T00:00", "2026-11-30T00:00"),  # a Monday
        (HOUR, "2026-10-25T04:30", "2026-10-25T04:00", "2026-10-25T05:00"),
    ],
)
def test_changes_of_the_clock(interval: int, time: str, start: str, end: str) -> None:
    """Windows of more than an hour follow the clock of the zone."""
    assert IntervalGrid(interval, "Europe/Berlin").bounds(at(time)) == (at(start), at(end))


def test_hours_of_a_long_day() -> None:
    """The hour that the clock shows twice has two windows of an hour."""
    grid, time, lengths = IntervalGrid(HOUR, "Europe/Berlin"), at("2026-10-25T00:00"), []
    while time < at("2026-10-26T00:00"):
        start, end = grid.bounds(time)
        lengths.append(end - start)
        time = end
    assert lengths == [HOUR] * 25
