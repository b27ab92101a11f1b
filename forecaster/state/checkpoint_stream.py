"""Writing of checkpoints in blocks, for arrays that are too large for a second copy; the file format is the same."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import CheckpointError
from forecaster.state.checkpoint import version_of

_BLOCK_BYTES: Final = 1 << 18
_SYNC_BYTES: Final = 32 << 20  # fsync in portions, so that commits of other files do not wait for the whole file
# Type names of safetensors.
_TYPES: Final = {
    "bool": "BOOL", "uint8": "U8", "int32": "I32", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"
}  # fmt: skip


@dataclass(frozen=True)
class Streamed:
    """An array that is read once, as consecutive blocks of rows; each block may be overwritten by the next.

    Attributes:
        shape, dtype: of the whole array.
        blocks: yields the blocks, in order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[NDArray[Any]]] = field(repr=False)


def stream_checkpoint(
    path: Path | str,
    arrays: Mapping[str, NDArray[Any] | Streamed],
    header: dict[str, Any],
    kind: str,
    pause: Callable[[], None] = lambda: None,
) -> str:
    """Writes a file for `checkpoint.read_checkpoint` atomically, as `checkpoint.write_checkpoint` does.

    Args:
        path: the file; its folder must exist. `path` with `.tmp` added is the temporary file.
        arrays: contents; read once, in the order of their names.
        header: metadata of the arrays, JSON-serialisable.
        kind: of the file.
        pause: called between blocks.

    Returns:
        The sha256 of the contents.

    Raises:
        OSError: the file could not be written; the old one is untouched.
        CheckpointError: the blocks of an array do not add up to its shape; the old file is untouched.
    """
    path, text = Path(path), json.dumps(header, sort_keys=True)
    entries, digest = _entries(arrays), hashlib.sha256(text.encode())

    def beginning(checksum: str) -> bytes:
        metadata = {"kind": kind, "version": version_of(kind), "header": text, "sha256": checksum}
        raw = json.dumps({"__metadata__": metadata} | entries).encode()
        raw += b" " * (-len(raw) % 8)
        return len(raw).to_bytes(8, "little") + raw

    first, unsynced = len(beginning(digest.hexdigest())), 0  # a checksum of the same length
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb", buffering=0) as file:
            for name in sorted(arrays):
                array = arrays[name]
                digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
                at, end = (first + offset for offset in entries[name]["data_offsets"])
                for block in _blocks(array):
                    data = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
                    digest.update(data)
                    _write_at(file.fileno(), data, at)
                    at, unsynced = at + len(data), unsynced + len(data)
                    if unsynced >= _SYNC_BYTES:
                        os.fsync(file.fileno())
                        unsynced = 0
                    pause()
                _check_end(f"{path}: {name}", at - end)
            _write_at(file.fileno(), memoryview(beginning(digest.hexdigest())), 0)
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, CheckpointError):
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return digest.hexdigest()


def _check_end(where: str, over: int) -> None:
    if over:
        msg = f"{where}: got {over:+} bytes beside its shape, expected as many as the shape says"
        raise CheckpointError(msg)


def _entries(arrays: Mapping[str, NDArray[Any] | Streamed]) -> dict[str, Any]:
    """Returns type, shape and offsets of each array in the file; the widest types come first, so all are aligned."""
    entries, end = {}, 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = arrays[name]
        start, end = end, end + math.prod(array.shape) * array.dtype.itemsize
        kind = _TYPES[array.dtype.name]
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
    return entries


def _blocks(array: NDArray[Any] | Streamed) -> Iterator[NDArray[Any]]:
    if isinstance(array, Streamed):
        yield from array.blocks()
        return
    step = max(1, _BLOCK_BYTES // max(1, array.itemsize * math.prod(array.shape[1:])))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _write_at(descriptor: int, data: memoryview, at: int) -> None:
    while len(data):
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written
