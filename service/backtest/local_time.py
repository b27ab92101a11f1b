"""Hours of the day and days of the week of times, by the clocks of a time zone."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_QUARTER_MS = 900_000  # the offsets of all zones since 1972 are multiples of a quarter of an hour
_THURSDAY = 3  # 1970-01-01, counted from Monday


def hours_and_weekdays(times_ms: NDArray[np.int64], timezone: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the hours (0 to 23) and the weekdays (0 is Monday) of times, in their shape.

    Args:
        times_ms: epoch milliseconds.
        timezone: name of the tz database.
    """
    local = times_ms
    if timezone != "UTC":
        zone = ZoneInfo(timezone)
        quarters, place = np.unique(times_ms // _QUARTER_MS, return_inverse=True)
        offsets = np.array([_offset_ms(int(at) * _QUARTER_MS, zone) for at in quarters], np.int64)
        local = times_ms + offsets[place].reshape(times_ms.shape)
    return local % DAY_MS // HOUR_MS, (local // DAY_MS + _THURSDAY) % 7


def _offset_ms(time_ms: int, zone: ZoneInfo) -> int:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=time_ms)
    offset = moment.astimezone(zone).utcoffset() or dt.timedelta(0)
    return round(offset.total_seconds() * 1000)
