"""The number of distinct values of a window: exact for few, within the stated error for many, equal after a restart."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_columns import Raw, aggregator_of, continued, encoded, rows, take, ticks

from service.aggregate.distinct_values import EXACT, MOST_BYTES, STANDARD_ERROR, DistinctValues

MINUTE = 60_000


def distinct_of(values: list[float]) -> DistinctValues:
    """Returns the distinct values of a list."""
    found = DistinctValues()
    for value in values:
        found.add(value)
    return found


@given(st.sets(st.floats(allow_nan=False, allow_infinity=False), max_size=EXACT), st.integers(1, 3), st.randoms())
def test_few_values_are_counted_exactly(values: set[float], times: int, order: random.Random) -> None:
    """Few distinct values are counted exactly, however often and in whatever order they come."""
    stream = [*values] * times
    order.shuffle(stream)
    assert distinct_of(stream).number() == len(values)


def test_error_of_many_values() -> None:
    """The error of many values has the stated standard deviation, and hardly ever three of it."""
    rng, counts = np.random.default_rng(20261130), [2000, 20_000, 60_000] * 10
    errors = [distinct_of(rng.random(count).tolist()).number() / count - 1 for count in counts]

    assert np.sqrt(np.mean(np.square(errors))) < 1.5 * STANDARD_ERROR
    assert sum(abs(error) > 3 * STANDARD_ERROR for error in errors) <= 1


@given(st.integers(0, 6000), st.integers(0, 6000), st.integers(0, 1 << 30))
def test_distinct_saved_in_the_middle(size: int, cut: int, seed: int) -> None:
    """Distinct values that are saved and restored continue as if they had not been, bit for bit."""
    values = np.random.default_rng(seed).integers(0, 5000, size).astype(float).tolist()
    straight, restored = DistinctValues(), DistinctValues()
    for at, value in enumerate(values):
        if at == cut:
            restored = continued(restored)
        straight.add(value)
        restored.add(value)

    assert encoded(straight) == encoded(restored)
    assert straight.number() == restored.number()


def test_bytes_of_distinct_values() -> None:
    """The state has a bounded number of bytes, whatever the number of values, and so has the memory."""
    for count in (10, 500, 100_000):
        assert len(distinct_of([float(at) for at in range(count)]).to_bytes()) <= MOST_BYTES
    tracemalloc.start()
    try:
        distinct_of([float(at) for at in range(10_000)])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20


@pytest.mark.parametrize("state", [b"", b"abc", bytes(40), bytes(5000)])
def test_invalid_states_of_distinct_values(state: bytes) -> None:
    """Bytes that are no such state are refused with a ValueError, also those of a sketch of another size."""
    with pytest.raises(ValueError, match="expected"):
        DistinctValues.from_bytes(state)
    with pytest.raises(ValueError, match="expected"):
        DistinctValues.from_bytes(distinct_of([1.0, 2.0, 3.0]).to_bytes()[:-1] + state[:0])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 5)), max_size=60))
def test_windows_with_distinct_values(events: list[tuple[str, int, int]]) -> None:
    """The value of a window is the number of different values of its events."""
    raw = [Raw(name, minute * MINUTE + at, float(value)) for at, (name, minute, value) in enumerate(events)]
    raw.sort(key=lambda one: one.time_ms)
    expected = {
        (name, minute * MINUTE): float(len({v for n, m, v in events if (n, m) == (name, minute)}))
        for name, minute, _ in events
    }
    stream = [*ticks(0, 0, MINUTE), *raw, *ticks(0, 12 * MINUTE, MINUTE)]
    closed = take(aggregator_of(functions=["distinct"], empty="missing", grace="10m"), stream)

    # The last windows stay open: they end behind the last tick and the grace.
    found = {(name, start): value for name, start, _, value in rows(closed)}
    assert found == {window: value for window, value in expected.items() if window in found}
    assert not closed.refused
