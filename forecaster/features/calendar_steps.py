"""Steps of calendar months, quarters and years, which are no fixed number of milliseconds.

The steps of a forecast are `interval_ms` apart, or whole months. The number `calendar` of a row of `Forecasts` is 0 for
steps of a fixed length, or 32 times the months of a step (1, 3 for quarters, 12 for years) plus the day of the month
of the targets. In a month that is shorter than that day the target is the month's last day, so 31 stands for month
ends. Days and times of day are local to the network's time zone: targets of events at local midnight are at local
midnight. All target times are computed by `step_times`; `interval_ms` is an approximation where the steps are months.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Forecasts
from forecaster.config import MONTH_MS
from forecaster.features.calendar import DAY_MS, calendar_table

HALF_DAY_MS = DAY_MS // 2
CADENCES = ((1, 28, 31), (2, 59, 62), (3, 89, 92), (4, 120, 123), (6, 181, 184), (12, 365, 366))
"""Months of a step, and the fewest and the most days that so many months can have."""
SHORTEST_MS = 28 * DAY_MS - HALF_DAY_MS  # a shorter interval cannot be months
MONTH_END = 31
_LOOK = 48  # number of newest events that decide whether steps are months
_DAYS = 32  # factor of the months in a code


def calendar_code(months: Any, day: Any) -> Any:
    """Returns the code in `Forecasts.calendar` for steps of `months` and targets at `day`; also for arrays."""
    return months * _DAYS + day


def calendar_months(code: Any) -> Any:
    """Returns the months of a step from such a code, 0 for steps of a fixed length; also for arrays."""
    return code // _DAYS


def calendar_name(code: int) -> str:
    """Returns the months of a step as the setting `model.interval` has them: "1mo", "3mo", "1y"; "" for fixed steps.

    code: a calendar code, as in `Forecasts.calendar`.
    """
    months = calendar_months(code)
    if not months:
        return ""
    return f"{months // 12}y" if months % 12 == 0 else f"{months}mo"


def cadence_months(interval_ms: Any) -> NDArray[np.int64]:
    """Returns the months that intervals may be: 28 to 31 days are one, 89 to 92 three, 365 or 366 twelve; else 0.

    Args:
        interval_ms: milliseconds, of any shape.

    Returns:
        Numbers of months, in the same shape.
    """
    interval = np.asarray(interval_ms, np.int64)
    found = np.zeros(interval.shape, np.int64)
    for months, low, high in CADENCES:
        found[(interval >= low * DAY_MS - HALF_DAY_MS) & (interval <= high * DAY_MS + HALF_DAY_MS)] = months
    return found


def step_times(origin_ms: Any, interval_ms: Any, calendar: Any, steps: Any, timezone: str = "UTC") -> NDArray[np.int64]:
    """Returns the times of steps from origins; all arguments broadcast against each other.

    Args:
        origin_ms: epoch milliseconds.
        interval_ms: between two steps of a fixed length.
        calendar: codes, see the module; where one is not 0, steps are months.
        steps: number of steps after the origin, negative before it.
        timezone: of days and times of day.

    Returns:
        Epoch milliseconds, in the common shape.
    """
    found = np.broadcast_arrays(*(np.asarray(each, np.int64) for each in (origin_ms, interval_ms, calendar, steps)))
    origin, interval, code, count = found
    out: NDArray[np.int64] = np.array(origin + interval * count)
    at = code != 0
    if at.any():
        months = calendar_months(code[at]) * count[at]
        out[at] = months_later(origin[at], months, code[at] % _DAYS, timezone)
    return out


def months_later(
    origin_ms: NDArray[np.int64], months: NDArray[np.int64], day: NDArray[np.int64], timezone: str = "UTC"
) -> NDArray[np.int64]:
    """Returns the times (n,) that lie `months` after (n,) origins, at the same time of a day of the month.

    A local time that is skipped by a clock change is read by the clocks before the change; of a repeated one, the first
    is used.
    """
    month, _, _, time = dates(origin_ms, timezone)
    there = month + months
    start = _first_day(there)
    days = np.minimum(day, _first_day(there + 1) - start)
    return _universal((start + days - 1) * DAY_MS + time, timezone)


def dates(
    times_ms: NDArray[np.int64], timezone: str = "UTC"
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Returns local dates of times (n,): months since 1970, day of the month, whether it is the last, time in ms."""
    transitions, offsets = _clock(timezone)
    local = times_ms + offsets[np.searchsorted(transitions, times_ms, side="right")]
    day = local // DAY_MS
    month = day.astype("M8[D]").astype("M8[M]").astype(np.int64)
    start = _first_day(month)
    return month, day - start + 1, day + 1 == _first_day(month + 1), local - day * DAY_MS


def _first_day(month: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the days from 1970 to the beginning of months."""
    return month.astype("M8[M]").astype("M8[D]").astype(np.int64)


def _clock(timezone: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the times at which a zone changes its offset, and the offsets before, between and after."""
    array = calendar_table(timezone, "")
    count = int(array[0])
    return array[3 : 3 + count], array[3 + count : 4 + 2 * count]


def _universal(local: NDArray[np.int64], timezone: str) -> NDArray[np.int64]:
    transitions, offsets = _clock(timezone)
    turns = transitions + np.maximum(offsets[:-1], offsets[1:])  # local times from which the new offset applies
    return local - offsets[np.searchsorted(turns, local, side="right")]


def target_day(day: NDArray[np.int64], last: NDArray[np.bool_], usual: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the day of the month of the targets of an event.

    Args:
        day, last: (n,) of the event, as returned by `dates`.
        usual: (n,) day of the month of the series, 0 where all its events were at month ends, as of `usual_day`.
    """
    return np.where(~last, day, np.where(usual == 0, MONTH_END, np.maximum(usual, day)))


def usual_day(usual: Any, day: NDArray[np.int64], last: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns the usual day of the month of a series after an event.

    An event at the last day of a month shorter than 31 days is ambiguous: the day is that of earlier events, or the
    month's end if these were at month ends too.
    """
    return np.where(day == MONTH_END, 0, np.where(last, usual, day))


def steps_between(
    start_ms: int, times_ms: NDArray[np.int64], interval_ms: int, code: int, timezone: str = "UTC"
) -> NDArray[np.int64]:
    """Returns the number of the step from `start_ms` that is nearest to each time: the inverse of `step_times`.

    Args:
        start_ms: epoch milliseconds.
        times_ms: epoch milliseconds, shape (n,).
        interval_ms: between two steps of a fixed length.
        code: calendar code, 0 for fixed steps.
        timezone: of days and times of day.

    Returns:
        Shape (n,).
    """
    months = int(calendar_months(code))
    interval = months * MONTH_MS if months else interval_ms
    nearest: NDArray[np.int64] = (times_ms - start_ms + interval // 2) // interval
    if months:
        tried = nearest[:, None] + np.array([0, -1, 1])
        far = np.abs(step_times(start_ms, interval, code, tried, timezone) - times_ms[:, None])
        nearest = tried[np.arange(len(tried)), far.argmin(axis=1)]
    return nearest


def target_times(forecasts: Forecasts, which: Any = slice(None)) -> NDArray[np.int64]:
    """Returns the times of the targets of forecasts, epoch milliseconds; meaningless while the interval is not known.

    Args:
        forecasts: of n events.
        which: array index that selects m of them.

    Returns:
        (m, horizon) int64.
    """
    steps = np.arange(1, forecasts.quantiles.shape[1] + 1)
    origin, interval, code = forecasts.origin_ms[which], forecasts.interval_ms[which], forecasts.calendar[which]
    return step_times(origin[:, None], interval[:, None], code[:, None], steps, forecasts.timezone)


def follow_months(
    state: NDArray[np.int64],
    first: NDArray[np.bool_],
    ts: NDArray[np.int64],
    interval_ms: NDArray[np.int64],
    months: int,
    timezone: str,
) -> NDArray[np.int64]:
    """Returns the calendar state of series after each of their events.

    A series whose interval may be one of months has a score. An event that lies whole months after the previous one
    raises it by one, and so does one whose gap differs from the previous gap by more than half a day: no fixed interval
    does that. One that repeats the previous gap and lies on another day of the month lowers it by two, as with a fixed
    interval of 28 or 30 days. Steps are months while the score is at least 0.

    Args:
        state: (s, 3) of s series: time of the previous event, the gap before it (0: not known), and score and usual
            day as encoded by `packed`; the time is `NEVER` for a series without an earlier event.
        first: (n,) whether an event is the first one of the next of the s series. Those of a series are in order.
        ts, interval_ms: (n,) of the events. months: of a step where it is configured, else 0.
        timezone: of the network.

    Returns:
        The state (n, 3) after each event.
    """
    score, usual_first = unpacked(state[:, 2])
    before = _shifted(ts, first, state[:, 0])
    known = before != NEVER
    before = np.where(known, before, ts)
    gap = np.where(known, ts - before, 0)
    gap_before = _shifted(gap, first, state[:, 1])
    _, day, last, _ = dates(ts, timezone)
    _, day_before, last_before, _ = dates(before, timezone)

    tells_day = (day == MONTH_END) | ~last
    at = np.maximum.accumulate(np.where(tells_day | first, np.arange(len(ts)), 0))
    usual = np.where(tells_day[at], usual_day(0, day[at], last[at]), usual_first[np.cumsum(first) - 1])
    near, apart = np.zeros(len(ts), np.bool_), np.rint(gap / MONTH_MS).astype(np.int64)
    for tried in (target_day(day_before, last_before, _shifted(usual, first, usual_first)), day_before):
        near |= np.abs(months_later(before, apart, tried, timezone) - ts) <= HALF_DAY_MS
    unit = np.full(len(ts), months) if months else cadence_months(interval_ms)
    in_months = near & (apart > 0) & (unit > 0) & (apart % np.maximum(unit, 1) == 0)
    repeated = np.abs(gap - gap_before) <= HALF_DAY_MS
    change = np.where(in_months, 1, np.where(gap_before == 0, 0, np.where(repeated, -2, 1)))
    scores, now = list[int](), 0
    begins = iter(score.tolist())
    for is_first, by in zip(first.tolist(), np.where(known, change, 0).tolist(), strict=True):
        now = min(max((next(begins) if is_first else now) + by, LEAST), MOST)
        scores.append(now)
    return np.stack((ts, gap, packed(np.array(scores, np.int64), usual)), axis=1)


def _shifted(column: NDArray[np.int64], first: NDArray[np.bool_], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the value of the previous event of each; `before` for the first one of each series."""
    found = np.roll(column, 1)
    found[first] = before
    return found


def codes_of(state: NDArray[np.int64], interval_ms: NDArray[np.int64], months: int, timezone: str) -> NDArray[np.int64]:
    """Returns the codes (n,) of forecasts from the last events of series; arguments as of `follow_months`."""
    found = np.zeros(len(state), np.int64)
    unit = np.full(len(state), months) if months else cadence_months(interval_ms)
    score, usual = unpacked(state[:, 2])
    at = np.flatnonzero((state[:, 0] != NEVER) & (unit > 0) & ((score >= 0) | (months > 0)))
    _, day, last, _ = dates(state[at, 0], timezone)
    found[at] = calendar_code(unit[at], target_day(day, last, usual[at]))
    return found


def longest_ms(interval_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the intervals; those of months become the longest of that many, so that a long month is no delay."""
    found = interval_ms.copy()
    months = cadence_months(interval_ms)
    for unit, _, high in CADENCES:
        found[months == unit] = high * DAY_MS
    return found


NEVER = np.iinfo(np.int64).min
UNSURE, LEAST, MOST = -1, -4, 4  # scores: before the first event of a series, and bounds


def packed(score: NDArray[np.int64], usual: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns score and usual day as one number, from 0 to `PACKED`."""
    return (score - LEAST) * _DAYS + usual


def unpacked(number: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns score and usual day from the result of `packed`."""
    return number // _DAYS + LEAST, number % _DAYS


PACKED = (MOST - LEAST) * _DAYS + MONTH_END


def calendar_of(times_ms: NDArray[np.int64], interval_ms: int, timezone: str = "UTC") -> int:
    """Returns the code of a series' last event from all of its times, 0 where its steps are not months.

    Args:
        times_ms: (n,) rising.
        interval_ms: of the series, as learnt.
        timezone: of the network.
    """
    if interval_ms < SHORTEST_MS or not len(times_ms):
        return 0
    times = np.asarray(times_ms, np.int64)
    first, interval = np.arange(len(times)) == 0, np.full(len(times), interval_ms)
    states = follow_months(first_state(1), first, times, interval, 0, timezone)
    return int(codes_of(states[-1:], interval[-1:], 0, timezone)[0])


def calendar_interval(times_ms: NDArray[np.int64], interval_ms: int, timezone: str = "UTC") -> int:
    """Returns the interval in which the steps of a series are counted: the mean one where its steps are months.

    Args:
        times_ms: (n,) rising; only the newest ones are used. interval_ms, timezone: as of `calendar_of`.
    """
    return int(calendar_months(calendar_of(times_ms[-_LOOK:], interval_ms, timezone))) * MONTH_MS or interval_ms


def grid_code(times_ms: NDArray[np.int64], months: int, timezone: str = "UTC") -> int:
    """Returns the code of a whole series on a grid that starts at its first event: 0 for steps of a fixed length.

    Args:
        times_ms: (n,) of its events, the earliest first. months: of a step, 0 where it has a fixed length.
        timezone: of the network.
    """
    if not months:
        return 0
    _, day, last, _ = dates(times_ms, timezone)
    return int(calendar_code(months, MONTH_END if last.all() else day[0]))


def first_state(count: int) -> NDArray[np.int64]:
    """Returns the state (n, 3) of series before their first event."""
    fresh = np.zeros((count, 3), np.int64)
    fresh[:, 0], fresh[:, 2] = NEVER, packed(np.array(UNSURE), np.array(0))
    return fresh
