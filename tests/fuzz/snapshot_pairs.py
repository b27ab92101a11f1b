"""An incremental snapshot and its full base: two files that are a state only together, either of them damaged.

With the old checksum, damage is refused or without effect: an accepted state equals the written one to the last bit.
Signed again, a file has a correct checksum, as if another program had written it: every accepted state must be
usable.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from forecaster import Batch, Forecaster, History, Model
from forecaster.state.checkpoint import content_sha256, version_of
from service.partitions.schedule import Progress
from service.snapshots.file import CHANGES, KIND, Base, Snapshot, folder_of, path_of, read, take, write

PARTITION: Final = "p"
THEN: Final = 12_012  # position of the full snapshot
NOW: Final = 12_100  # position of the incremental snapshot
TYPES: Final = {dtype.str: dtype for dtype in map(np.dtype, ("f2", "f4", "f8", "i4", "i8", "u1", "?"))}
LIMITS: Final = {"max_series": 4, "history_events": 200}


def batch(names: str, step: int) -> Batch:
    """Returns a batch with an event per name, later than those of the archive."""
    return Batch(list(names), np.full(len(names), 1_700_010_000_000 + 60_000 * step), np.arange(1.0, len(names) + 1))


@dataclass(frozen=True)
class Pair:
    """Two valid files and their content.

    Attributes:
        whole, changes: the full and the incremental file.
        root: folder for snapshots.
        model: model of the state.
        state, header, progress: content at `NOW`.
    """

    whole: bytes
    changes: bytes
    root: Path
    model: Model
    state: dict[str, NDArray[Any]]
    header: dict[str, Any]
    progress: Progress

    @classmethod
    def of(cls, archived: Snapshot, model: Model, root: Path) -> Pair:
        """Makes a pair from an archived snapshot: one of two series continues past the end of the ring, one is new."""
        held = Forecaster.from_state(archived.arrays, archived.library, model, **LIMITS)
        one = take(PARTITION, THEN, held, archived.progress)
        whole, sha256 = write(root, one, 2)
        assert one.live is not None
        for step in range(10):
            held.observe(batch("bc", step))
        two = take(PARTITION, NOW, held, archived.progress, (Base(THEN, sha256), one.live.mark))
        changes, _ = write(root, two, 2)
        state = {name: np.array(array) for name, array in held.state().items()}
        return cls(whole.read_bytes(), changes.read_bytes(), root, model, state, held.header(), archived.progress)

    def restored(self, whole: bytes, changes: bytes) -> tuple[Snapshot, Forecaster]:
        """Reads the files as a start of the daemon does, and as a training does."""
        folder = folder_of(self.root, PARTITION)
        path_of(folder, THEN).write_bytes(whole)
        path = path_of(folder, NOW, Base(THEN, ""))
        path.write_bytes(changes)
        history = read(path, History.needs)
        History.of_state(history.arrays, history.library, 100)
        found = read(path)
        return found, Forecaster.from_state(found.arrays, found.library, self.model, **LIMITS)

    def intact(self, whole: bytes, changes: bytes) -> None:
        """Checks a damaged file with its old checksum: the restored state is intact, or CheckpointError is raised."""
        found, forecaster = self.restored(whole, changes)
        assert (found.partition, found.position, found.progress) == (PARTITION, NOW, self.progress)
        assert forecaster.header() == self.header
        state = forecaster.state()
        assert state.keys() == self.state.keys()
        for name, expected in self.state.items():
            assert state[name].dtype == expected.dtype
            assert state[name].shape == expected.shape
            assert state[name].tobytes() == expected.tobytes(), name

    def signed_changes(self, data: bytes) -> None:
        """Checks the incremental file, `unpacked` and damaged, with the checksum of its current content."""
        self.survived(self.whole, packed(data, CHANGES)[0])

    def signed_whole(self, data: bytes) -> None:
        """Checks the full file likewise, with an incremental file that names it."""
        whole, sha256 = packed(data, KIND)
        self.survived(whole, signed(*taken_apart(self.changes), CHANGES, sha256)[0])

    def survived(self, whole: bytes, changes: bytes) -> None:
        """Checks signed files: the state accepts events of known and new series, or CheckpointError is raised."""
        _, forecaster = self.restored(whole, changes)
        forecaster.observe(batch("abc", 20))
        forecaster.observe(batch("d", 21))


def taken_apart(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Returns arrays and header of a file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])["__metadata__"]["header"]
    return load(data), json.loads(header)


def signed(arrays: dict[str, NDArray[Any]], header: Any, kind: str, base: str = "") -> tuple[bytes, str]:
    """Returns a file that names the current checksum of its base, and its own checksum."""
    if base and isinstance(header.get("base"), dict):
        header["base"]["sha256"] = base
    text = json.dumps(header)
    sha256 = content_sha256(arrays, text)
    return save(arrays, {"kind": kind, "version": version_of(kind), "header": text, "sha256": sha256}), sha256


def unpacked(data: bytes) -> bytes:
    """Returns header, names, types and shapes, and contents of a file, concatenated for mutation."""
    arrays, header = taken_apart(data)
    layout = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
    contents = b"".join(array.tobytes() for array in arrays.values())
    return b"\n".join((json.dumps(header).encode(), json.dumps(layout).encode(), contents))


def packed(data: bytes, kind: str, base: str = "") -> tuple[bytes, str]:
    """Inverts `unpacked` and signs the file; returns bytes that cannot be parsed unchanged."""
    header, _, rest = data.partition(b"\n")
    layout, _, contents = rest.partition(b"\n")
    try:
        at, arrays = 0, {}
        for name, (code, shape) in json.loads(layout).items():
            dtype, count = TYPES[code], math.prod(shape)
            arrays[name] = np.frombuffer(contents[at : at + count * dtype.itemsize], dtype, count).reshape(shape)
            at += arrays[name].nbytes
        return signed(arrays, json.loads(header), kind, base)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, SafetensorError, RecursionError):
        return data, ""
