"""Files with a correct checksum and wrong contents, as another program or a person may have written them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from snapshot_pairs import signed, taken_apart
from targets import pair, scratch, seed

from forecaster.state.checkpoint import read_checkpoint, write_checkpoint
from service.snapshots import file as snapshot

KIND = "forecaster"
Arrays = dict[str, NDArray[Any]]
VALUES = st.sampled_from(
    [None, -1, 0, 1, 7, 500, "x", 1.5, [], {}, True, [1, 2, 3], float("nan"), float("inf"), 10**30]
)
WAYS = st.sampled_from(["double", "retype", "drop", "empty", "greatest", "least", "three", "nan"])


def saved() -> tuple[Arrays, dict[str, Any]]:
    """Returns a saved forecaster's arrays and header."""
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
def forged(draw: st.DrawFn, arrays: Arrays, header: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """Draws arrays and header with one invalid change."""
    arrays, header = dict(arrays), copy.deepcopy(header)
    if draw(st.booleans()):
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
    return arrays, header


@st.composite
def files(draw: st.DrawFn) -> Path:
    """Draws a saved forecaster, forged and signed again."""
    path = scratch() / "forged.forecaster"
    write_checkpoint(path, *draw(forged(*saved())), KIND)
    return path


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draws a full snapshot and an incremental one that names it; one of them is forged, both are signed again."""
    whole, changes = (taken_apart(data) for data in (pair().whole, pair().changes))
    if draw(st.booleans()):
        whole = draw(forged(*whole))
    else:
        changes = draw(forged(*changes))
    base, sha256 = signed(*whole, snapshot.KIND)
    return base, signed(*changes, snapshot.CHANGES, sha256)[0]
