"""Files whose checksum is right and whose contents are not: what another program, or a person, may have written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from targets import scratch, seed

from forecaster.checkpoint import read_checkpoint, write_checkpoint

KIND = "forecaster"
VALUES = st.sampled_from([None, -1, 0, 1, 7, 500, "x", 1.5, [], {}, True, [1, 2, 3], float("nan")])
WAYS = st.sampled_from(["double", "retype", "drop", "empty", "greatest", "least", "three", "nan"])


def saved() -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """A saved forecaster's arrays and header."""
    path = scratch() / "saved.forecaster"
    path.write_bytes(seed("saved.forecaster"))
    return read_checkpoint(path, KIND)


def _changed(array: NDArray[Any], way: str) -> NDArray[Any]:
    if way == "double":
        return np.concatenate([array, array])
    if way == "retype":
        return array.astype(np.int16 if array.dtype == np.float64 else np.float64)
    if way == "empty":
        return array[:0]
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        return np.full_like(array, {"greatest": limits.max, "least": limits.min}.get(way, 3))
    return np.full_like(array, {"greatest": 1e30, "least": -1e30, "three": 3}.get(way, np.nan))


@st.composite
def files(draw: st.DrawFn) -> Path:
    """A saved forecaster with one thing in it that does not belong there, signed again."""
    arrays, header = saved()
    if draw(st.booleans()):
        header = copy.deepcopy(header)
        node: Any = header
        while True:
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not (isinstance(node[key], dict | list) and node[key] and draw(st.booleans())):
                break
            node = node[key]
        node[key] = draw(VALUES)
    else:
        name, way = draw(st.sampled_from(sorted(arrays))), draw(WAYS)
        if way == "drop":
            del arrays[name]
        else:
            arrays[name] = _changed(arrays[name], way)
    path = scratch() / "forged.forecaster"
    write_checkpoint(path, arrays, header, KIND)
    return path
