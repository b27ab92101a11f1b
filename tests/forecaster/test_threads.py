"""Partitions in parallel: each has a `Forecaster`, and compiled code shares no state between them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
from numpy.typing import NDArray

from forecaster import Forecaster


def test_same_bits_whatever_the_threads() -> None:
    """Four partitions forecast the same bits on one, two and four threads."""
    parts = [cases.stream(cases.GRU, 200, series=3, seed=seed) for seed in range(4)]

    def run(threads: int) -> list[NDArray[np.float32]]:
        partitions = [Forecaster(cases.GRU) for _ in parts]
        out: list[list[NDArray[np.float32]]] = [[] for _ in parts]

        def one(i: int) -> None:
            for at in range(0, 200, 20):
                out[i].append(partitions[i].observe(cases.part(parts[i], at, at + 20)).quantiles)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(4)))
        return [np.concatenate(chunks) for chunks in out]

    alone = run(1)
    assert np.isfinite(alone[0]).any()
    for threads in (2, 4):
        for expected, got in zip(alone, run(threads), strict=True):
            np.testing.assert_array_equal(got, expected)
