"""The bounded sample of series against a twin."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecaster.evaluation.series_sample import SeriesSample

NAMES = st.lists(st.sampled_from("abcdefgh"), max_size=12)


@given(limit=st.integers(1, 6), rounds=st.lists(st.tuples(NAMES, NAMES), max_size=8))
def test_like_the_twin(limit: int, rounds: list[tuple[list[str], list[str]]]) -> None:
    """Series get slots in their order while there is room, and keep them until they are dropped."""
    sample, twin, free = SeriesSample(limit), dict[str, int](), list[int]()
    for come, gone in rounds:
        sample.drop([twin[name] for name in gone if name in twin])
        for name in [name for name in twin if name in gone]:
            free.append(twin.pop(name))
        new = []
        for name in come:
            if name not in twin and len(twin) < limit:
                twin[name] = free.pop() if free else len(twin)
                new.append(twin[name])

        assert sample.add(come) == new
        assert sample.slots(come).tolist() == [twin.get(name, -1) for name in come]
        assert sample.is_full == (len(twin) == limit)
        assert sorted([*twin.values(), *free]) == list(range(len(twin) + len(free)))


@given(limit=st.integers(1, 100), used=st.lists(st.integers(0, 100), max_size=6), axis=st.integers(0, 1))
def test_enlarged(limit: int, used: list[int], axis: int) -> None:
    """Arrays keep their elements, have room for all slots in use, never more than the limit, and grow rarely."""
    sample, copies = SeriesSample(limit), 0
    array = np.zeros((0, 2) if axis == 0 else (2, 0), np.int64)
    for slots in sorted(min(slots, limit) for slots in used):
        larger = sample.enlarged(array, slots, -1, axis=axis)
        copies += larger is not array
        assert slots <= larger.shape[axis] <= limit
        kept, new = np.split(larger, [array.shape[axis]], axis)
        assert np.array_equal(kept, array)
        assert (new == -1).all()
        array = larger
        array[...] = np.arange(array.size).reshape(array.shape)
    assert copies <= 1 + np.log2(max(limit, 16) / 16) + 1
