"""Quantiles of the values of a window: exact for few values, within 1 % for many."""

from __future__ import annotations

import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_columns import continued, encoded

from service.aggregate import value_sample as module
from service.aggregate.value_sample import ERROR, MOST_BINS, MOST_BYTES, MOST_EXACT, ValueSample

LEVELS = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)
VALUES = st.floats(-1e12, 1e12, allow_subnormal=False)


def sample_of(values: list[float]) -> ValueSample:
    """Returns a sample with these values."""
    found = ValueSample()
    for value in values:
        found.add(value)
    return found


@given(st.lists(VALUES, min_size=1, max_size=60), st.sampled_from(LEVELS))
def test_exact(values: list[float], level: float) -> None:
    """A quantile of few values is that of numpy, with linear interpolation."""
    expected = float(np.quantile(values, level))
    assert sample_of(values).quantile(level) == pytest.approx(expected, rel=1e-9, abs=1e-3)


@given(st.lists(VALUES, min_size=1, max_size=20), st.integers(0, 1 << 30), st.sampled_from(LEVELS))
def test_bound_of_the_error(kinds: list[float], seed: int, level: float) -> None:
    """A quantile of many values is within 1 % of a value with that rank."""
    rng = np.random.default_rng(seed)
    values = (np.array(kinds)[rng.integers(0, len(kinds), MOST_EXACT + 100)] * rng.lognormal(0, 2)).tolist()
    rank = int(level * (len(values) - 1))
    exact = sorted(values)[rank]

    assert abs(sample_of(values).quantile(level) - exact) <= ERROR * abs(exact) * (1 + 1e-9)


def test_bound_of_the_bins() -> None:
    """Values over all powers of ten need a bounded number of bins; the great ones keep their accuracy."""
    values = np.logspace(-300, 300, 40_000).tolist()
    sample = sample_of(values)

    assert sample.binned is not None
    assert len(sample.binned.above) == MOST_BINS
    assert sample.quantile(0.99) == pytest.approx(values[int(0.99 * 39_999)], rel=ERROR)


@given(st.integers(0, 1200), st.integers(0, 1200))
def test_sample_saved_in_the_middle(size: int, cut: int) -> None:
    """A sample that is saved and restored continues as if it had not been."""
    straight, restored = ValueSample(), ValueSample()
    for at in range(size):
        if at == cut:
            restored = continued(restored)
        for one in (straight, restored):
            one.add(float(at % 97 - 20))

    assert encoded(straight) == encoded(restored)
    assert [straight.quantile(level) for level in LEVELS] == pytest.approx(
        [restored.quantile(level) for level in LEVELS], nan_ok=True
    )


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_greatest_values(sign: int) -> None:
    """Quantiles of many values at the float limits are computed without an error."""
    values = [sign * sys.float_info.max] * 600 + [sign * 5e-324] * 10
    assert sample_of(values).quantile(0.5) == pytest.approx(sign * sys.float_info.max, rel=ERROR)


def test_memory_of_a_sample() -> None:
    """A value that is held takes 8 bytes and some room to grow."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sample = sample_of([at / 7 for at in range(MOST_EXACT)])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(sample.exact) == MOST_EXACT
    assert after - before < 16 * MOST_EXACT


def test_memory_of_bins() -> None:
    """The bins of a window take the bytes of the stated bound at most, whatever its values are."""
    values = np.random.default_rng(1).permutation(
        np.concatenate([np.logspace(-300, 300, 9000), -np.logspace(-300, 300, 9000)])
    )
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sample = sample_of(values.tolist())
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sample.binned is not None
    assert len(sample.binned.above) == len(sample.binned.below) == MOST_BINS
    assert after - before < MOST_BYTES + 2048  # and the objects around them


@given(st.lists(st.floats(1e-300, 1e300), max_size=60))
def test_bins_nearest_to_zero_are_counted_together(values: list[float]) -> None:
    """Beyond the bound, the counts are those of all bins, with the lowest ones in the lowest that is left."""
    bound, module.MOST_BINS = MOST_BINS, 5
    try:
        bins, all_bins = module.Bins(), dict[int, int]()
        for value in values:
            bins.add(value)
            at = math.ceil(math.log(value) / module._LOG)
            all_bins[at] = all_bins.get(at, 0) + 1
    finally:
        module.MOST_BINS = bound  # type: ignore[misc]
    kept = sorted(all_bins)[-5:]

    assert bins.numbers.tolist() == kept
    assert bins.counts.tolist()[1:] == [all_bins[at] for at in kept[1:]]
    assert sum(bins.counts) == len(values)
