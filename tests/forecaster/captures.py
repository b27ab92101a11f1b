"""Helpers for capture tests: events, reading while the forecaster continues, and bitwise comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from numpy.typing import NDArray

from forecaster import Batch
from forecaster.state.capture import Capture
from forecaster.state.checkpoint_stream import Streamed


def batch(names: list[str], step: int) -> Batch:
    """Returns one event per named series at a step."""
    ts = np.full(len(names), cases.T0 + step * cases.STEP_MS)
    return Batch(names, ts, np.arange(len(names)) + step % 5 + 1.0)


def read_between(
    taken: Capture, between: Callable[[], object], pause: Callable[[], None] = lambda: None
) -> dict[str, NDArray[Any]]:
    """Reads all arrays of a capture; `between` runs after every block, `pause` in the pauses that reading makes."""
    found = {}
    for name, array in taken.arrays(pause).items():
        if isinstance(array, Streamed):
            blocks = []
            for block in array.blocks():
                blocks.append(block.copy())
                between()
            array = np.concatenate(blocks) if blocks else np.zeros(array.shape, array.dtype)
        found[name] = np.array(array)
    taken.close()
    return found


def assert_same_arrays(got: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    """Asserts that all arrays are equal bit for bit."""
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        assert got[name].tobytes() == array.tobytes(), name
