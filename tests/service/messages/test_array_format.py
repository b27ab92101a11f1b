"""Quantiles as elements of arrays: those of a batch are those of its parts, of which one may be empty."""

from __future__ import annotations

import numpy as np
import pytest

from service.messages.array_format import NARROW_BYTES, ArrayFormat


@pytest.mark.parametrize("cut", [0, 1, 4, 5])
def test_parts(cut: int) -> None:
    """A batch and its two parts have equal elements, also where nothing is published, as in a history."""
    quantiles = np.random.default_rng(1).normal(size=(5, 3, 2)).astype(np.float32).astype(np.float64)
    whole, *parts = (ArrayFormat().packed(some) for some in (quantiles, quantiles[:cut], quantiles[cut:]))
    assert whole.codes.shape == (5, 3 * 2 * NARROW_BYTES)
    np.testing.assert_array_equal(np.concatenate([part.codes for part in parts]), whole.codes)
