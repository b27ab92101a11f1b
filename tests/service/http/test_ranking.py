"""Orders of the list of series: naive sorting of all figures gives the same pages."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import RecentScores
from service.http.ranking import SETTLED, SORTS, ranked
from service.recent import RecentStore

HUNDREDTHS = st.integers(-500, 100).map(lambda one: one / 100)
FIGURES = st.tuples(
    st.integers(0, 2 * SETTLED),
    st.integers(0, 10**12),
    st.integers(0, 100).map(lambda one: one / 100),
    st.one_of(st.just(math.nan), HUNDREDTHS),
    st.sampled_from([0.0, 0.005, 0.1]),
)


def live_of(parts: list[list[tuple[int, int, float, float, float]]]) -> RecentStore:
    """Returns a stand-in of the store with these figures of the series of some partitions."""
    found = []
    for at, rows in enumerate(parts):
        columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.zeros(0)] * 5
        scored, last, covered, skill, flagged = columns
        names = [f"s{at}.{i:03d}" for i in range(len(rows))]
        scores = RecentScores(names, scored, last, covered, 1.0 - skill, np.ones(len(rows)), skill, flagged, 0.9)
        if rows:
            found.append((str(at), scores))
    return cast("RecentStore", SimpleNamespace(scores=lambda _: found))


@settings(max_examples=40)
@given(
    st.lists(st.lists(FIGURES, max_size=12), min_size=1, max_size=3), st.sampled_from([s for s in SORTS if s != "name"])
)
def test_pages_are_those_of_a_sorted_list(parts: list[list[Any]], sort: str) -> None:
    """Together the pages list every series once, in the order of the figure; young series come last, both ways."""
    live, rows = live_of(parts), [row for part in parts for row in part]
    for sign in ("", "-"):
        pages = [ranked(live, sign + sort, "", "", slice(at, at + 5)) for at in range(0, len(rows) + 1, 5)]
        figures = [figure for _, found, _ in pages for figure in found]
        keys = [key for found, _, _ in pages for key in found]
        assert len(set(keys)) == len(keys) == len(rows)
        assert all(total == len(rows) for _, _, total in pages)
        values = {
            "skill": lambda one: one.skill,
            "coverage": lambda one: -abs(one.coverage - one.nominal),
            "flagged": lambda one: -one.flagged,
            "newest": lambda one: -one.newest_ms,
            "interest": lambda one: (-one.flagged, 1.0 if one.skill is None else one.skill),
        }
        known = [one for one in figures if sort == "newest" or one.scored >= SETTLED]
        known = [one for one in known if sort != "skill" or one.skill is not None]
        assert figures[: len(known)] == known
        wanted = sorted(known, key=values[sort], reverse=bool(sign))
        assert [values[sort](one) for one in known] == [values[sort](one) for one in wanted]


@pytest.mark.parametrize(("search", "total"), [("S1", 3), ("s?.000", 2), ("zzz", 0), ("", 5)])
def test_search(search: str, total: int) -> None:
    """A search is a part of the name in any case, or a glob; the total is of all that match."""
    rows = [(100, 5, 0.9, 0.1 * at, 0.0) for at in range(3)]
    keys, figures, found = ranked(live_of([rows[:2], rows]), "skill", search, "", slice(0, 2))
    assert found == total
    assert len(keys) == len(figures) == min(2, total)
