"""Local time and holidays as one array for kernels: [n, first day, days, n transitions, n + 1 offsets, days flags].

Transitions are epoch milliseconds, rising; the offset between two of them, in milliseconds, is added to UTC. Flags are
1 on local holidays, by day since 1970. Both cover 1970 to 2069: outside, the first and the last offset apply and there
are no holidays. Each time is looked up by itself, so a target after a clock change has the local time at the target.
Offsets and holidays are those of the installed tz database and `holidays` package.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError, install_command
from forecaster.kernels.jit import inlined

DAY_MS = 86_400_000
YEARS = range(1970, 2070)
_START, _END = datetime(YEARS.start, 1, 1, tzinfo=UTC), datetime(YEARS.stop, 1, 1, tzinfo=UTC)
_LOOK = timedelta(days=3)  # no zone ever changed its clocks twice in three days; daily probes cost a start 0.1 s


@functools.lru_cache(maxsize=16)
def calendar_table(timezone: str, holidays: str) -> NDArray[np.int64]:
    """Returns the array for a time zone ("Europe/Berlin") and the holidays of a country or part of it ("DE", "AU-VIC").

    Raises:
        ConfigError: there are no such holidays, or the package is not installed.
    """
    transitions, offsets = _transitions(ZoneInfo(timezone))
    flags = _holidays(holidays)
    array = np.array([len(transitions), 0, len(flags), *transitions, *offsets, *flags], np.int64)
    array.flags.writeable = False
    return array


def _transitions(zone: ZoneInfo) -> tuple[list[int], list[int]]:
    """Returns the times at which the offset changes (to the minute), and the offsets before, between and after."""

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta(0)

    before = offset(_START)
    transitions, offsets, day = list[int](), [before], _START
    while day < _END:
        following = day + _LOOK
        after = offset(following)
        if after != before:
            low, high = day, following
            while high - low > timedelta(minutes=1):
                middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            transitions.append(round(high.timestamp() * 1000))
            offsets.append(after)
        day, before = following, after
    return transitions, [one // timedelta(milliseconds=1) for one in offsets]


def _holidays(code: str) -> list[int]:
    if not code:
        return []
    expected = 'a country or a part of one as the package "holidays" names it, e.g. "DE" or "AU-VIC"'
    try:
        import holidays as package  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("holidays", code, f"the extra to be installed: {install_command('holidays')}") from error
    country, _, part = code.partition("-")
    try:
        found = package.country_holidays(country, subdiv=part or None, years=YEARS)
    except NotImplementedError as error:
        raise ConfigError("holidays", code, expected) from error
    flags = [0] * (_END - _START).days
    for date in found:
        flags[(date - _START.date()).days] = 1
    return flags


@inlined
def transitions_until(A: Any, ts: int) -> int:
    """Returns the number of transitions at or before `ts`."""
    low, high = 0, A[0]  # low <= count <= high
    while low < high:
        middle = (low + high) // 2
        if A[3 + middle] <= ts:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def local_time(A: Any, ts: int) -> int:
    """Returns the local clock time at epoch milliseconds `ts`, as if it were UTC."""
    return ts + A[3 + A[0] + transitions_until(A, ts)]  # type: ignore[no-any-return]


@inlined
def is_holiday(A: Any, local: int) -> float:
    """Returns 1 if the day of a local time is a holiday, else 0."""
    day = local // DAY_MS - A[1]
    if day < 0 or day >= A[2]:
        return 0.0
    return 1.0 if A[4 + 2 * A[0] + day] == 1 else 0.0
