"""Vectorised copies, transposes and sums of squares against plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forecaster.kernels.jit import kernel
from forecaster.kernels.transpose import copy_part, transpose_tile
from forecaster.sequences.packing import pack_transposed
from forecaster.training.optim import global_norm

TYPES = (np.float32, np.float64)


@kernel
def _copy(x: Any, x_at: int, y: Any, y_at: int, n: int) -> None:
    copy_part(x, x_at, y, y_at, n)


@kernel
def _turn(x: Any, x_at: int, x_row: int, y: Any, y_at: int, y_row: int) -> None:
    transpose_tile(x, x_at, x_row, y, y_at, y_row)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [0, 1, 7, 15, 16])
def test_a_part_is_copied_and_nothing_else(n: int, dtype: Any) -> None:
    """The first n numbers are copied; the target before and after them stays unchanged."""
    x, y = np.arange(1, 25, dtype=dtype), np.full(24, -1, dtype)
    _copy(x, 5, y, 3, n)

    expected = np.full(24, -1, dtype)
    expected[3 : 3 + n] = x[5 : 5 + n]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_tile_is_turned_in_place_of_its_rows_and_columns(dtype: Any) -> None:
    """A tile is transposed within wider matrices; the rest of the target stays unchanged."""
    x, y = np.arange(17 * 20, dtype=dtype).reshape(17, 20), np.full((18, 19), -1, dtype)
    _turn(x.reshape(-1), 20 + 3, 20, y.reshape(-1), 2 * 19 + 1, 19)

    expected = np.full((18, 19), -1, dtype)
    expected[2:18, 1:17] = x[1:17, 3:19].T
    np.testing.assert_array_equal(y, expected)


def test_blocks_of_weights_are_turned() -> None:
    """Every block is transposed by itself, from any offset to any other."""
    blocks, n, m = 3, 32, 48
    given = np.random.default_rng(0).normal(size=(5 + blocks * n * m)).astype(np.float32)
    found = np.zeros(7 + blocks * n * m, np.float32)
    pack_transposed(given, 5, blocks, n, m, found, 7)

    transposed = found[7:].reshape(blocks, m, n)
    np.testing.assert_array_equal(transposed, given[5:].reshape(blocks, n, m).transpose(0, 2, 1))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [0, 1, 16, 37])
def test_the_norm_takes_in_every_number(n: int, dtype: Any) -> None:
    """The norm includes every number, also after the last full vector, and squares beyond float32."""
    gradient = np.arange(n).astype(dtype) * dtype(1e30)

    assert global_norm(gradient) == pytest.approx(np.linalg.norm(np.arange(n)) * float(dtype(1e30)))
