"""Forecasts as compact numbers: how exact they are, and that every reader reads the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.messages.compact import CompactForecast, pack, unpack

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9))
SCALES = st.sampled_from([1.0, 1e-12, 1e9, 1e300, 1e-300])
LEVELS = st.sampled_from([0.0, 1.0, -1e6, 1e12])


@st.composite
def quantiles(draw):
    """Returns quantiles (n, steps, levels), not falling over the levels."""
    shape = draw(SHAPES)
    values = draw(arrays.arrays(np.float64, shape, elements=st.floats(-1.0, 1.0, width=32)))
    return np.sort(values * draw(SCALES) + draw(LEVELS), axis=2)


def read_back(packed, at, steps):
    """Returns a forecast as its stored columns."""
    digits = int(packed.digits[at])
    return CompactForecast(
        b"",
        0,
        0,
        math.nan,
        math.nan,
        float(packed.least[at]),
        float(packed.greatest[at]),
        None if digits < 0 else digits,
        0,
        0,
        steps,
        packed.codes[at].tobytes(),
        "",
    )


@given(quantiles())
def test_how_exact(given_quantiles):
    """Each number is as exact as the head of compact.py says; the levels keep their order, and stay in their bounds."""
    packed = pack(given_quantiles)
    assert packed.usable.all()
    for at, wanted in enumerate(given_quantiles):
        found = unpack(read_back(packed, at, len(wanted)), wanted.shape[1])
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


@given(quantiles())
def test_each_forecast_by_itself(given_quantiles):
    """The codes of a forecast do not depend on the others of its batch."""
    together = pack(given_quantiles)
    for at in range(len(given_quantiles)):
        alone = pack(given_quantiles[at : at + 1])
        for one, other in zip(together, alone, strict=True):
            assert one[at].tobytes() == other[0].tobytes()


def test_bounds_with_few_decimals_are_exact():
    """A percentage that is bounded by 0 and 100 keeps both bounds."""
    rng = np.random.default_rng(1)
    wanted = np.clip(np.sort(rng.normal(50.0, 60.0, (50, 24, 7)), axis=2), 0.0, 100.0)
    packed = pack(wanted)
    assert set(packed.least) == {0.0}
    assert set(packed.greatest) == {100.0}
    found = np.array([unpack(read_back(packed, at, 24), 7) for at in range(50)])
    assert found.min() == 0.0
    assert found.max() == 100.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_has_no_codes(wrong):
    """Quantiles that are not finite, or whose range is not, are marked; the others of the batch are not touched."""
    wanted = np.sort(np.random.default_rng(2).normal(size=(4, 3, 5)), axis=2)
    wanted[1, 2, 4], wanted[2] = wrong, [-1e308, -1.0, 0.0, 1.0, 1e308]
    assert pack(wanted).usable.tolist() == [True, False, False, True]
