"""Groups of the series of input files by their cadence: the usual time between two events of a series.

A network has one list of seasons, in steps, so series of different cadences need networks of their own. The cadence of
a series is the median of its gaps, where these are regular; cadences that differ by less than a tenth are one, by the
mean of the gaps of one step, which jitter moves less than the median. The group of the commonest cadence is that of the
sections of the configuration, which also has the series without one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import cadence_months
from service.discovery.cadence import FirstEvents, events_by_series, median_gap, shown_seasons
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


def cadences_of(events: FirstEvents) -> list[tuple[int, NDArray[np.int64]]]:
    """Returns intervals with the series whose cadence they are, the commonest first; of equally many, the shorter.

    A class is made around the mean gap that has most others within a tenth, of the series that no class has yet. It has
    the series that differ from it by less than a tenth and what chance explains: two standard errors of the means.
    """
    numbers, medians, means, errors = list[int](), list[int](), list[int](), list[float]()
    for at in events_by_series(events):
        gaps: NDArray[np.int64] = np.diff(np.unique(events.timestamp_ms[at])).astype(np.int64)
        if len(gaps) >= _FEWEST_GAPS and _is_regular(gaps, usual := median_gap(gaps)):
            steps = gaps[(2 * gaps > usual) & (2 * gaps < 3 * usual)]  # without those over missing events
            numbers.append(int(events.series[at[0]]))
            medians.append(usual)
            means.append(round(float(steps.mean())))
            errors.append(float(steps.std()) / math.sqrt(len(steps)))
    series, usual_ms, mean_ms = (np.array(one, np.int64) for one in (numbers, medians, means))
    error_ms, left = np.array(errors), np.arange(len(numbers))
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


def _is_regular(gaps: NDArray[np.int64], usual: int) -> bool:
    """Returns whether half of the gaps are about the usual one: of events at random times, about a tenth is.

    At least `_SURE` have to be, or all: of series with four gaps between events at random times, a sixth has two that
    are equal, and of series that lack many of their events, an eighth has mostly double gaps.
    """
    equal = np.count_nonzero(same_cadence(gaps, usual))
    return bool(2 * equal >= len(gaps) and equal >= min(len(gaps), _SURE))


def same_cadence(
    gaps_ms: NDArray[np.int64], interval_ms: int, error_ms: NDArray[np.float64] | float = 0.0
) -> NDArray[np.bool_]:
    """Returns which gaps are of a cadence: closer to its interval than a tenth and an error, or as many months."""
    months = int(cadence_months(interval_ms))
    near = np.abs(gaps_ms - interval_ms) <= _WITHIN * interval_ms + error_ms
    return near | (cadence_months(gaps_ms) == months) if months else near


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
