"""A column of numbered series reads as its names, and finds what their names find."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecaster import SeriesColumn, SeriesLookup, SeriesNames, chosen

NAMES = st.lists(st.sampled_from("abcdefgh"), max_size=20)


@given(NAMES, st.integers(0, 20), st.integers(0, 20))
def test_reads_as_a_sequence(names: list[str], begin: int, end: int) -> None:
    """Elements, slices, choices, membership and equality are those of the list of names."""
    column = SeriesNames().column(names)

    assert column == names
    assert names == column
    assert list(column) == names
    assert column[begin:end] == names[begin:end]
    assert [column[at] for at in range(len(names))] == names
    assert ("a" in column) == ("a" in names)
    assert column != [*names, "z"]
    at = np.arange(0, len(names), 2)
    assert chosen(column, at) == chosen(names, at) == names[::2]


@given(st.lists(st.tuples(NAMES, st.sampled_from("abcdefgh"), st.booleans()), max_size=12), st.booleans())
def test_lookup(steps: list[tuple[list[str], str, bool]], keeps: bool) -> None:
    """Slots are those of the index, by number and by name, after any additions and removals."""
    known, other, index = SeriesNames(), SeriesNames(), dict[str, int]()
    lookup = SeriesLookup(index)
    for at, (names, name, adds) in enumerate(steps):
        if adds:
            is_new = name not in index
            index[name] = index.get(name, at)
            if keeps and is_new:
                lookup.forget()
        elif index.pop(name, None) is not None:
            lookup.forget()
        expected = [index.get(one, -1) for one in names]
        for column in (known.column(names), names, other.column(names[::-1])[::-1]):
            assert lookup.slots(column, keeps_misses=keeps).tolist() == expected


def test_numbers_are_kept() -> None:
    """A series keeps its number, and another table gives other ones."""
    known = SeriesNames()
    assert known.column(["a", "b", "a"]).numbers.tolist() == [0, 1, 0]
    assert known.column(["c", "b"]).numbers.tolist() == [2, 1]
    assert len(known) == 3
    assert SeriesColumn(known, np.array([2, 0])) == ["c", "a"]
