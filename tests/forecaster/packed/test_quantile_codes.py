"""Quantiles as codes: equal to their definition, how exact they are, and what has no codes."""

from __future__ import annotations

import math
from typing import Any

import naive_packed
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from forecaster.packed import PackedQuantiles, pack_quantiles, unpack_quantiles

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9))
SCALES = st.sampled_from([1.0, 1e-12, 1e9, 1e300, 1e-300])
OFFSETS = st.sampled_from([0.0, 1.0, -1e6, 1e12])


@st.composite
def quantiles(draw: Any) -> NDArray[np.float64]:
    """Returns quantiles (n, steps, levels), not falling over the levels."""
    shape = draw(SHAPES)
    values = draw(arrays.arrays(np.float64, shape, elements=st.floats(-1.0, 1.0, width=32)))
    return np.sort(values * draw(SCALES) + draw(OFFSETS), axis=2)


def read_back(packed: PackedQuantiles, at: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Returns the quantiles of a forecast."""
    bounds = float(packed.least[at]), float(packed.greatest[at])
    return unpack_quantiles(packed.codes[at].tobytes(), *bounds, int(packed.digits[at]), shape)


@given(quantiles())
def test_as_defined(given_quantiles: NDArray[np.float64]) -> None:
    """Codes, bounds and digits are those of the definition, and a forecast's depend on no other of its batch."""
    packed = pack_quantiles(given_quantiles)
    for at, wanted in enumerate(given_quantiles):
        found = packed.codes[at].tobytes(), packed.least[at], packed.greatest[at], packed.digits[at]
        assert found == naive_packed.packed(wanted)


@given(quantiles())
def test_how_exact(given_quantiles: NDArray[np.float64]) -> None:
    """Each number is as exact as promised; the levels keep their order, and stay in their bounds."""
    packed = pack_quantiles(given_quantiles)
    assert packed.usable.all()
    for at, wanted in enumerate(given_quantiles):
        found = read_back(packed, at, wanted.shape)
        middle = wanted[:, wanted.shape[1] // 2][:, None]
        digits = int(packed.digits[at])
        rounding = 0.5 * 10.0**-digits if digits >= 0 else 0.0
        half = np.maximum(middle[:, 0] - wanted[:, 0], wanted[:, -1] - middle[:, 0])
        if half.max() > 0.0 and digits > 0:
            assert rounding <= half[half > 0.0].min() / 2000 * 1.01
        span = packed.greatest[at] - packed.least[at]
        bound = np.abs(wanted - middle) / 4096 + span * 6.1e-8 + 2 * rounding + np.abs(wanted) * 1e-15 + 1e-320
        assert (np.abs(found - wanted) <= 1.01 * bound).all()
        assert (np.diff(found, axis=1) >= 0.0).all()
        assert (found >= packed.least[at]).all()
        assert (found <= packed.greatest[at]).all()


def test_bounds_with_few_decimals_are_exact() -> None:
    """A percentage that is bounded by 0 and 100 keeps both bounds."""
    rng = np.random.default_rng(1)
    wanted = np.clip(np.sort(rng.normal(50.0, 60.0, (50, 24, 7)), axis=2), 0.0, 100.0)
    packed = pack_quantiles(wanted)
    assert set(packed.least) == {0.0}
    assert set(packed.greatest) == {100.0}
    found = np.array([read_back(packed, at, (24, 7)) for at in range(50)])
    assert found.min() == 0.0
    assert found.max() == 100.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_has_no_codes(wrong: float) -> None:
    """Quantiles that are not finite, or whose range is not, are marked; the others of the batch are not touched."""
    wanted = np.sort(np.random.default_rng(2).normal(size=(4, 3, 5)), axis=2)
    wanted[1, 2, 4], wanted[2] = wrong, [-1e308, -1.0, 0.0, 1.0, 1e308]
    packed = pack_quantiles(wanted)
    assert packed.usable.tolist() == [True, False, False, True]
    assert [naive_packed.packed(one) is None for one in wanted] == [False, True, True, False]
    assert (packed.codes[1:3] == 0).all()
    assert packed.digits[1:3].tolist() == [-1, -1]
