"""Orders all series by a figure of theirs, the worst first, and returns one page of them.

The figures are those of `Forecaster.recent_scores`, read as arrays; only the rows of a page become objects, so that a
page of 100,000 series takes some tens of milliseconds.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster import RecentScores
from service.http import schemas as answers
from service.publication import SeriesKey
from service.recent import RecentStore

SETTLED: Final = 30
"""Scored events from which on a series is ordered by its figures; younger ones come last."""

SORTS: Final = {
    "name": "by identifier",
    "interest": "most flagged events first, then the lowest skill",
    "skill": "lowest skill first",
    "coverage": "largest distance of the coverage from the nominal one first",
    "flagged": "largest share of flagged events first",
    "newest": "newest event first",
}
"""Orders of the list of series, with their meaning."""


def matching(search: str) -> Callable[[str], bool]:
    """Returns whether an identifier has `search` as a part, in any case, or matches it as a glob."""
    low = search.lower()
    if any(sign in search for sign in "*?["):
        # Not fnmatchcase: it caches every requested pattern, thousands of them, permanently.
        fits = re.compile(fnmatch.translate(low)).fullmatch
        return lambda name: fits(name.lower()) is not None
    return lambda name: low in name.lower()


def ranked(
    live: RecentStore, sort: str, search: str, partition: str, page: slice
) -> tuple[list[SeriesKey], list[answers.SeriesQuality], int]:
    """Returns the series of one page with their figures, and the number of all that match.

    Args:
        live: the recorded series. sort: one of `SORTS` but "name", after "-" for the reverse order.
        search: see `matching`. partition: of the series; "" for all. page: places in the order.
    """
    found = live.scores(partition)
    if not found:
        return [], [], 0
    parts = [one for _, one in found]
    starts = np.cumsum([0, *(len(one.series) for one in parts)])
    rank = _rank(parts, sort.removeprefix("-"))
    if sort.startswith("-"):
        rank = np.where(np.isfinite(rank), -rank, rank)
    if search:
        fits = matching(search)
        chosen = np.flatnonzero([fits(name) for one in parts for name in one.series])
    else:
        chosen = np.arange(int(starts[-1]))
    order = chosen[np.argsort(rank[chosen], kind="stable")][page]
    which = np.searchsorted(starts, order, side="right") - 1
    keys, figures = [], []
    for at, part in zip(order.tolist(), which.tolist(), strict=True):
        row = at - int(starts[part])
        keys.append((found[part][0], parts[part].series[row]))
        figures.append(quality_of(parts[part], row))
    return keys, figures, len(chosen)


def _rank(parts: Sequence[RecentScores], sort: str) -> NDArray[np.float64]:
    """Returns a number of every series, the least for the first; infinity where it has none."""
    scored = np.concatenate([one.scored for one in parts])
    if sort == "newest":
        return -np.concatenate([one.last_ms for one in parts]).astype(np.float64)
    skill = np.concatenate([one.skill for one in parts])
    flagged = np.concatenate([one.flagged for one in parts])
    if sort == "skill":
        found = skill
    elif sort == "coverage":
        found = -np.concatenate([np.abs(one.covered - one.nominal) for one in parts])
    elif sort == "flagged":
        found = -flagged
    else:
        # Shares of flagged events are multiples of about 1 / 200; skill decides among equal ones.
        found = -np.round(flagged, 3) * 1e4 + np.nan_to_num(np.clip(skill, -100.0, 1.0), nan=1.0)
    return np.where((scored >= SETTLED) & np.isfinite(found), found, np.inf)


def quality_of(scores: RecentScores, row: int) -> answers.SeriesQuality:
    """Returns the figures of a series."""

    def known(column: NDArray[np.float64]) -> float | None:
        value = float(column[row])
        return value if np.isfinite(value) else None

    return answers.SeriesQuality(
        scored=int(scores.scored[row]), skill=known(scores.skill), error=known(scores.error),
        naive_error=known(scores.naive_error), coverage=known(scores.covered), nominal=scores.nominal,
        flagged=float(scores.flagged[row]), newest_ms=int(scores.last_ms[row]),
    )  # fmt: skip
