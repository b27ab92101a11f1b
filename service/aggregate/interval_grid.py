"""The window that an event time belongs to: intervals aligned to midnight in a time zone.

whole days   from a local midnight to another one, of 23 to 25 hours per day where the clock changes; counted from
             1970-01-01, and whole weeks from Monday, 1970-01-05
over 1 h     between the times of the clock that are multiples of the interval; the window in which the clock
             changes is longer or shorter by the change
up to 1 h    multiples of the interval after a local midnight, all of the same length; a day has 23 to 25 of an hour
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from service.messages.timestamps import EARLIEST_MS

DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_WEEK: Final = 7
_MONDAY: Final = 4  # 1970-01-05, in days after 1970-01-01
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
# Outside of these years clocks have no known rules, and windows are those of UTC.
_FIRST_MS: Final = -2_208_988_800_000  # 1900
_LAST_MS: Final = 7_258_118_400_000  # 2200
_REMEMBERED: Final = 4096  # days with their boundaries; then the cache is cleared


class IntervalGrid:
    """The windows of one interval.

    Args:
        interval_ms: a divisor of a day, or whole days; see `service.config.aggregate`.
        timezone: a name of the tz database.
    """

    def __init__(self, interval_ms: int, timezone: str) -> None:
        self.interval_ms = interval_ms
        self._days = interval_ms // DAY_MS
        self._zone = None if timezone == "UTC" else ZoneInfo(timezone)
        self._first_day = _MONDAY if self._days and self._days % _WEEK == 0 else 0
        self._known: dict[int, list[int]] = {}

    def bounds(self, time_ms: int) -> tuple[int, int]:
        """Returns begin and end of the window of an event time, epoch ms; the end belongs to the next window.

        Windows that reach over 1900 or 2200, where the rules of clocks begin and end, are cut there, and the first one
        of the year 1 begins with it, as event times do.
        """
        if self._zone is None:
            start, end = self._utc_bounds(time_ms)
        elif time_ms < _FIRST_MS:
            start, end = self._utc_bounds(time_ms)
            end = min(end, _FIRST_MS)
        elif time_ms < _LAST_MS:
            start, end = self._local_bounds(time_ms, self._zone)
            return max(start, _FIRST_MS), min(end, _LAST_MS)
        else:
            start, end = self._utc_bounds(time_ms)
            return max(start, _LAST_MS), end
        return max(start, EARLIEST_MS), end

    def _utc_bounds(self, time_ms: int) -> tuple[int, int]:
        offset = self._first_day * DAY_MS
        start = time_ms - (time_ms - offset) % self.interval_ms
        return start, start + self.interval_ms

    def _local_bounds(self, time_ms: int, zone: ZoneInfo) -> tuple[int, int]:
        day = self._day_of(time_ms, zone)
        if self._days:
            first = day - (day - self._first_day) % self._days
            return _instant(first, 0, zone), _instant(first + self._days, 0, zone)
        edges = self._edges(day, zone)
        if self.interval_ms <= _HOUR_MS:
            start = time_ms - (time_ms - edges[0]) % self.interval_ms
            return start, min(start + self.interval_ms, edges[-1])
        at = bisect_right(edges, time_ms)
        return edges[at - 1], edges[at]

    def _day_of(self, time_ms: int, zone: ZoneInfo) -> int:
        """Returns the local day of an event time, in days after 1970-01-01."""
        local = datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(zone).date().toordinal() - _EPOCH_DAY
        # Where the clock goes back over midnight, the day before returns for an hour, which belongs to the new day.
        while self._edges(local, zone)[-1] <= time_ms:
            local += 1
        return local

    def _edges(self, day: int, zone: ZoneInfo) -> list[int]:
        """Returns the rising boundaries of the windows of a day; of short windows and days, its begin and end only."""
        found = self._known.get(day)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            step = DAY_MS if self._days or self.interval_ms <= _HOUR_MS else self.interval_ms
            edges = {_instant(day, at, zone) for at in range(0, DAY_MS, step)} | {_instant(day + 1, 0, zone)}
            found = self._known[day] = sorted(edges)
        return found


def _instant(day: int, clock_ms: int, zone: ZoneInfo) -> int:
    """Returns when the clock shows a time of a day: the first time, or where it is skipped, the change of the clock."""
    moment = datetime.combine(date.fromordinal(day + _EPOCH_DAY), time(0), zone) + timedelta(milliseconds=clock_ms)
    return round(moment.timestamp() * 1000)
