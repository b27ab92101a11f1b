"""Groups of the series of input files by their cadence: the usual time between two events of a series.

A network has one list of seasons, in steps, so series of different cadences need networks of their own. The cadence of
a series is the median of its gaps, where these are regular; cadences that differ by less than a tenth are one, by the
mean of the gaps of one step, which jitter moves less than the median. The group of the commonest cadence is that of the
sections of the configuration, which also has the series without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import cadence_months
from service.discovery.cadence import FirstEvents, shown_seasons
from service.discovery.sample import MOST_RECORDS

MOST_CADENCES: Final = 9
"""Cadences that have a network: that of the sections, and eight groups; series of rarer ones have no group."""

_WITHIN: Final = 0.1  # share of a gap by which others may differ and count as equal
_FEWEST_GAPS: Final = 3  # fewer do not show a cadence
_SURE: Final = 8  # of fewer gaps all have to be equal: half of few ones often are by chance
_MONTH_NAMES: Final = {1: "1mo", 3: "1q", 12: "1y"}


class CadenceGroup(NamedTuple):
    """Series of one cadence.

    Attributes:
        name: of the group; "" for that of the sections.
        interval_ms: the commonest median gap of its series.
        series: their numbers, rising.
        seasons: of their network, in steps.
    """

    name: str
    interval_ms: int
    series: NDArray[np.int64]
    seasons: tuple[int, ...]


def cadence_groups(events: FirstEvents, taken: Sequence[str] = ()) -> list[CadenceGroup]:
    """Finds the groups of series, as a pure function.

    Args:
        events: in the order of the input; their times need not rise.
        taken: names of groups that are not to be used.

    Returns:
        The group of the sections and at least one more, the commonest first; none where all series have one cadence.
    """
    cadences = cadences_of(events)
    if len(cadences) < 2:
        return []
    groups, used = list[CadenceGroup](), set(taken)
    for interval_ms, series in cadences[:MOST_CADENCES]:
        name = group_name(interval_ms, used) if groups else ""
        used.add(name)
        groups.append(CadenceGroup(name, interval_ms, series, seasons_of_cadence(events, interval_ms, series)))
    return groups


def cadences_of(events: FirstEvents, fewest_gaps: int = _FEWEST_GAPS) -> list[tuple[int, NDArray[np.int64]]]:
    """Returns intervals with the series whose cadence they are, the commonest first; of equally many, the shorter.

    A class is made around the mean gap that has most others within a tenth, of the series that no class has yet. It has
    the series that differ from it by less than a tenth and what chance explains: two standard errors of the means.

    Args:
        events: in any order.
        fewest_gaps: a series with fewer gaps has no cadence.
    """
    series, usual_ms, mean_ms, error_ms = _regular_series(events, fewest_gaps)
    left = np.arange(len(series))
    found = list[tuple[int, NDArray[np.int64]]]()
    while len(left):
        centre = left[_centre(mean_ms[left])]
        same = same_cadence(mean_ms[left], int(mean_ms[centre]), 2.0 * (error_ms[left] + error_ms[centre]))
        found.append((_commonest(usual_ms[left[same]]), np.sort(series[left[same]])))
        left = left[~same]
    return sorted(found, key=lambda one: (-len(one[1]), one[0]))


def _centre(means_ms: NDArray[np.int64]) -> int:
    """Returns the place of the value that has most others within a tenth of it; of equals the commonest, the least."""
    values, first, counts = np.unique(means_ms, return_index=True, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    low = np.searchsorted(values, (1.0 - _WITHIN) * values, "left")
    high = np.searchsorted(values, (1.0 + _WITHIN) * values, "right")
    return int(first[np.lexsort((values, -counts, -(before[high] - before[low])))[0]])


def _commonest(medians_ms: NDArray[np.int64]) -> int:
    """Returns the commonest value; of equals the one next to their middle."""
    values, counts = np.unique(medians_ms, return_counts=True)
    most = values[counts == counts.max()]
    return int(most[(len(most) - 1) // 2])


def is_cadence(gap_ms: int, interval_ms: int) -> bool:
    """Returns whether a gap is of the cadence of an interval, see `same_cadence`."""
    return bool(same_cadence(np.array([gap_ms]), interval_ms)[0])


def _regular_series(
    events: FirstEvents, fewest_gaps: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns the numbers of the series whose gaps are regular, with median, mean and standard error of their gaps.

    Half of the gaps have to be about the median: of events at random times, about a tenth is. At least `_SURE` have to
    be, or all: of series with four gaps between events at random times, a sixth has two that are equal, and of series
    that lack many of their events, an eighth has mostly double gaps.
    """
    order = np.lexsort((events.timestamp_ms, events.series))
    series, times = events.series[order], events.timestamp_ms[order]
    gaps = np.diff(times)
    inside = (np.diff(series) == 0) & (gaps > 0)
    series, gaps = series[1:][inside], gaps[inside]
    order = np.lexsort((gaps, series))
    series, gaps = series[order], gaps[order]
    numbers, begins, counts = np.unique(series, return_index=True, return_counts=True)
    usual = gaps[begins + (counts - 1) // 2]  # the lower median, which is one of them
    row = np.repeat(np.arange(len(numbers)), counts)

    def sums(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(row, values, len(numbers)).astype(np.float64)

    equal = sums(same_cadence(gaps, usual[row]))
    regular = (counts >= fewest_gaps) & (2 * equal >= counts) & (equal >= np.minimum(counts, _SURE))
    steps = (2 * gaps > usual[row]) & (2 * gaps < 3 * usual[row])  # without those over missing events
    count = np.maximum(sums(steps), 1.0)
    mean = sums(np.where(steps, gaps, 0)) / count
    error = np.sqrt(sums(np.where(steps, gaps - mean[row], 0.0) ** 2)) / count
    mean_ms = np.rint(mean).astype(np.int64)
    return numbers[regular], usual[regular], mean_ms[regular], error[regular]


def same_cadence(
    gaps_ms: NDArray[np.int64], interval_ms: NDArray[np.int64] | int, error_ms: NDArray[np.float64] | float = 0.0
) -> NDArray[np.bool_]:
    """Returns which gaps are of a cadence: closer to its interval than a tenth and an error, or as many months.

    Args:
        gaps_ms: (n,) gaps.
        interval_ms: of the cadence, or of each gap's own (n,).
        error_ms: by which gaps may differ further.
    """
    months = np.asarray(cadence_months(interval_ms))
    near: NDArray[np.bool_] = np.abs(gaps_ms - interval_ms) <= _WITHIN * np.asarray(interval_ms) + error_ms
    if not months.any():
        return near
    same: NDArray[np.bool_] = near | ((months > 0) & (cadence_months(gaps_ms) == months))
    return same


def seasons_of_cadence(events: FirstEvents, interval_ms: int, series: NDArray[np.int64]) -> tuple[int, ...]:
    """Returns the seasons that a file with these series only would have: its sample is as long."""
    at = np.flatnonzero(np.isin(events.series, series))
    first = at[:MOST_RECORDS]
    first = first[np.argsort(events.timestamp_ms[first], kind="stable")]
    complete = events.complete and len(at) <= MOST_RECORDS
    own = FirstEvents(events.series[first], events.timestamp_ms[first], events.value[first], complete)
    return shown_seasons(own, interval_ms)


def group_name(interval_ms: int, used: set[str]) -> str:
    """Returns a name that is not used."""
    months = int(cadence_months(interval_ms))
    text = _MONTH_NAMES[months] if months else _rounded(interval_ms)
    names = (f"auto-{text}", *(f"auto-{text}-{number}" for number in range(2, len(used) + 3)))
    return next(name for name in names if name not in used)


def _rounded(interval_ms: int) -> str:
    """Formats an interval in the largest unit of which it is about a whole number."""
    for unit, text in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")):
        count = round(interval_ms / unit)
        if count and abs(count * unit - interval_ms) <= interval_ms / 100:
            return f"{count}{text}"
    return f"{interval_ms}ms" if interval_ms < 1000 else f"{round(interval_ms / 1000)}s"
