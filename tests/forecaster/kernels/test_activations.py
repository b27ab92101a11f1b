"""Activations over all magnitudes, and the matrix product against a chain of fma, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster.kernels.activations import sigmoid, squareplus, tanh
from forecaster.kernels.buffers import buffer
from forecaster.kernels.half import load_halves, store_halves
from forecaster.kernels.jit import kernel, products
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.reductions import column_sum
from forecaster.kernels.simd import LANES, load, store


@kernel
def _tanh(x: Any, out: Any) -> None:
    for i in range(0, x.shape[0], 16):
        store(out, i, tanh(load(x, i)))


@kernel
def _sigmoid(x: Any, out: Any) -> None:
    for i in range(0, x.shape[0], 16):
        store(out, i, sigmoid(load(x, i)))


@kernel
def _squareplus(x: Any, out: Any) -> None:
    for i in range(0, x.shape[0], 16):
        store(out, i, squareplus(load(x, i)))


@kernel
def _halves(x: Any, kept: Any) -> None:
    for i in range(0, x.shape[0], 16):
        store_halves(kept, i, 16, load(x, i))


@kernel
def _floats(kept: Any, out: Any) -> None:
    for i in range(0, out.shape[0], 16):
        store(out, i, load_halves(kept, i))


@kernel
def _some_halves(x: Any, kept: Any, at: int, count: int) -> None:
    store_halves(kept, at, count, load(x, 0))


def magnitudes() -> NDArray[np.float32]:
    """Returns every exponent of float32 with either sign, subnormal numbers and zeros too, and [-10, 10] densely."""
    rng = np.random.RandomState(0)
    any_bits = rng.randint(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    dense = np.linspace(-10, 10, 200_000, dtype=np.float32)
    both = np.concatenate([any_bits[np.isfinite(any_bits)], dense, np.float32([0, -0.0, 3.4e38, -3.4e38, 1e-45])])
    return np.resize(both, -(-both.size // LANES) * LANES)


def applied(function: Any, x: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the function of all of x, in float64 for comparison."""
    out = np.empty_like(x)
    function(x, out)
    return out.astype(np.float64)


class TestActivations:
    """Activations have the accuracy and limits that their docstrings state."""

    def test_tanh(self) -> None:
        """tanh has an error below 3e-7 everywhere and never exceeds 1."""
        x = magnitudes()
        y = applied(_tanh, x)
        np.testing.assert_allclose(y, np.tanh(x.astype(np.float64)), rtol=0, atol=3e-7)
        assert np.abs(y).max() <= 1.0

    def test_tanh_of_small_numbers(self) -> None:
        """tanh near zero has a relative error of at most 4 units in the last place, so that small signals are kept."""
        x = magnitudes()
        x = np.resize(x[(np.abs(x) < 1e-3) & (np.abs(x) > 1e-30)], 16 * 1000)
        np.testing.assert_allclose(applied(_tanh, x), np.tanh(x.astype(np.float64)), rtol=5e-7, atol=0)

    def test_sigmoid(self) -> None:
        """sigmoid lies within 3e-7 of 1 / (1 + exp(-x)), in [0, 1]."""
        x = magnitudes()
        y = applied(_sigmoid, x)
        np.testing.assert_allclose(y, 0.5 * (1 + np.tanh(x.astype(np.float64) / 2)), rtol=0, atol=3e-7)
        assert y.min() >= 0.0
        assert y.max() <= 1.0

    def test_squareplus(self) -> None:
        """squareplus is accurate relatively where large, absolutely where small, and never negative."""
        x = magnitudes()
        x = x[np.abs(x) < 1e18]
        x = np.resize(x, x.size // 16 * 16)
        wide = x.astype(np.float64)
        y = applied(_squareplus, x)
        np.testing.assert_allclose(
            y, (wide + np.sqrt(wide * wide + 4)) / 2, rtol=3e-7, atol=3e-7 * np.maximum(1, -wide).max()
        )
        near = np.abs(wide) < 100
        np.testing.assert_allclose(y[near], ((wide + np.sqrt(wide * wide + 4)) / 2)[near], rtol=3e-7, atol=2e-5)
        assert y.min() >= 0.0

    @pytest.mark.parametrize("function", [_tanh, _sigmoid, _squareplus])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_nan_stays_nan(self, function: Any, dtype: type) -> None:
        """A nan input gives nan in its own lane only."""
        x = np.zeros(16, dtype)
        x[5] = np.nan
        assert np.flatnonzero(np.isnan(applied(function, x))).tolist() == [5]

    def test_infinities(self) -> None:
        """Infinities saturate, to the value of the largest finite numbers."""
        x = np.resize(np.float32([np.inf, -np.inf, 3e38, -3e38]), 16)
        for function, low in ((_tanh, -1.0), (_sigmoid, 0.0)):
            y = applied(function, x)
            np.testing.assert_allclose(y[:4], [1, low, 1, low], atol=3e-7)
            assert y[0] == y[2]
            assert y[1] == y[3]

    def test_float64_is_the_c_library(self) -> None:
        """Activations in float64, for gradient checks, are exact to rounding."""
        x = np.linspace(-30, 30, 16 * 100)
        np.testing.assert_allclose(applied(_tanh, x), np.tanh(x), rtol=1e-15)


class TestHalves:
    """Half precision by integer instructions against numpy."""

    def test_every_half_is_read_exactly(self) -> None:
        """All 65,536 halves are read as by numpy: subnormal numbers, zeros of both signs, infinities and nan."""
        halves = np.arange(65_536, dtype=np.uint16)
        out = np.empty(halves.size, np.float32)
        _floats(halves.view(np.float32), out)
        expected = halves.view(np.float16).astype(np.float32)
        lost = np.isnan(expected)
        assert np.isnan(out[lost]).all()
        assert out[~lost].tobytes() == expected[~lost].tobytes()

    def test_rounds_to_the_nearest_ties_to_even(self) -> None:
        """Numbers of every magnitude, every midpoint between two halves and its neighbours round as in numpy."""
        positive = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
        middle = (positive[:-1] + positive[1:]) / 2
        near = [middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(1e9)), positive]
        x = np.concatenate([magnitudes(), *near, *(-v for v in near)]).astype(np.float32)
        x = np.resize(x, -(-x.size // LANES) * LANES)
        kept = np.zeros(x.size // 2, np.float32)
        _halves(x, kept)
        expected = np.clip(x, -65504, 65504).astype(np.float16)
        assert kept.tobytes() == expected.tobytes()

    def test_limits_and_nan(self) -> None:
        """Infinities become the largest half; nan stays nan."""
        x = np.resize(np.float32([np.inf, -np.inf, np.nan, 65520]), 16)
        kept = np.zeros(8, np.float32)
        _halves(x, kept)
        np.testing.assert_array_equal(kept.view(np.float16)[:4], np.float16([65504, -65504, np.nan, 65504]))

    @pytest.mark.parametrize("count", [1, 7, 15, 16])
    def test_writes_so_many_only(self, count: int) -> None:
        """Only the first `count` numbers are written, wherever they start."""
        kept = np.arange(40, dtype=np.float16)
        expected = kept.copy()
        expected[5 : 5 + count] = 99
        _some_halves(np.full(16, 99, np.float32), kept.view(np.float32), 5, count)
        np.testing.assert_array_equal(kept, expected)


def fma32(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[np.float32]:
    """Returns a * b + c with one rounding to float32.

    The product is exact in float64. The sum is rounded to odd there (Boldo and Melquiond 2008), which makes the
    second rounding, to float32, the only one that counts.
    """
    p, wide = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    s = p + wide
    back = s - p
    error = (p - (s - back)) + (wide - back)
    even = (s.view(np.int64) & 1) == 0
    s = np.where((error != 0) & even, np.nextafter(s, np.where(error > 0, np.inf, -np.inf)), s)
    return s.astype(np.float32)


def _products(vectors: int) -> Any:
    @kernel
    def run(rows: int, acc: Any, ld: int, x: Any, x_row: int, x_k: int, w: Any, w_k: int, depth: int) -> None:
        products(rows, vectors, Rows(acc, 3, ld), Strided(x, 1, x_row, x_k), Rows(w, 2, w_k), depth)

    return run


_RUN = {vectors: _products(vectors) for vectors in (1, 3)}


class TestProduct:
    """Every output is one chain of fma in rising k, whatever the tile."""

    @pytest.mark.parametrize("vectors", _RUN)
    @pytest.mark.parametrize("transposed", [False, True])
    def test_is_a_chain_of_fma(self, vectors: int, transposed: bool) -> None:
        """The product equals the chain bit for bit, for up to 13 rows, any depth, any row distance, unaligned."""
        rng = np.random.RandomState(vectors)
        lanes = 16 * vectors
        for rows in range(14):
            for depth in (0, 1, 2, 7, 33):
                ld, w_k = lanes + 5, lanes + 1
                acc = rng.normal(size=3 + 14 * ld).astype(np.float32)
                w = rng.normal(size=2 + 34 * w_k).astype(np.float32)
                x = rng.normal(size=1 + 40 * 40).astype(np.float32)
                x_row, x_k = (1, 40) if transposed else (40, 1)
                expected = acc.copy()
                for r in range(rows):
                    at = slice(3 + r * ld, 3 + r * ld + lanes)
                    for k in range(depth):
                        spread = np.full(lanes, x[1 + r * x_row + k * x_k])
                        expected[at] = fma32(spread, w[2 + k * w_k :][:lanes], expected[at])
                _RUN[vectors](rows, acc, ld, x, x_row, x_k, w, w_k, depth)
                assert acc.tobytes() == expected.tobytes(), (rows, depth)

    def test_the_emulation_is_not_plain_arithmetic(self) -> None:
        """Rounding the product before the sum gives other bits (control), so that the test detects a missing fma."""
        rng = np.random.RandomState(1)
        a, b, c = rng.normal(size=(3, 10_000)).astype(np.float32)
        assert (fma32(a, b, c) != a * b + c).mean() > 0.05

    def test_one_case_of_double_rounding(self) -> None:
        """A sum just below the midpoint of two floats rounds down; an intermediate float64 would lose "just below"."""
        a, b = np.float32([2.0**-12 * (1 + 2.0**-18)]), np.float32([2.0**-12 * (1 - 2.0**-18)])
        c = np.float32([1 + 2.0**-23])
        assert fma32(a, b, c)[0] == c[0]  # c + 2^-24 - 2^-60
        assert np.float32(a.astype(np.float64) * b.astype(np.float64) + c)[0] != c[0]


@kernel
def _column_sum(acc: Any, x: Any, x_row: int, rows: int) -> None:
    column_sum(acc, 2, x, 1, x_row, rows)


def test_column_sum_is_a_sum_in_a_fixed_order() -> None:
    """Four sums take every fourth row, the first also the rest, and are added in pairs: bit for bit, unaligned."""
    rng = np.random.RandomState(2)
    for rows in range(14):
        x, acc = rng.normal(size=1 + 14 * 19).astype(np.float32), rng.normal(size=20).astype(np.float32)
        parts, whole = np.zeros((4, LANES), np.float32), rows // 4 * 4
        for r in range(rows):
            parts[r % 4 if r < whole else 0] += x[1 + r * 19 :][:LANES]
        expected = acc.copy()
        expected[2 : 2 + LANES] += (parts[0] + parts[1]) + (parts[2] + parts[3])
        _column_sum(acc, x, 19, rows)
        assert acc.tobytes() == expected.tobytes(), rows


def test_buffers_begin_a_cache_line() -> None:
    """Buffers of any size and type start at a cache line and are zero."""
    for n, dtype in ((0, np.float32), (1, np.float64), (1000, np.float32), (100_000, np.float64)):
        zeros = buffer(n, dtype)
        assert zeros.shape == (n,)
        assert zeros.dtype == dtype
        assert zeros.ctypes.data % 64 == 0
        assert not zeros.any()
