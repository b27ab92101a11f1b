"""A snapshot of changes and the whole one below it: two files that are a state only together, either of them broken.

As it is, damage is refused, or it is of no consequence: what is taken is the state that was written, to the last bit.
Signed again, a file has the checksums that belong to it, as if another program had written it: then whatever is taken
goes on.
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
from service.schedule import Progress
from service.snapshots.file import CHANGES, KIND, Base, Snapshot, folder_of, path_of, read, take, write

PARTITION: Final = "p"
THEN: Final = 12_012  # position of the whole one
NOW: Final = 12_100  # of the changes
TYPES: Final = {dtype.str: dtype for dtype in map(np.dtype, ("f2", "f4", "f8", "i4", "i8", "u1", "?"))}
LIMITS: Final = {"max_series": 4, "history_events": 200}


def batch(names: str, step: int) -> Batch:
    """An event of each, behind those of the archive."""
    return Batch(list(names), np.full(len(names), 1_700_010_000_000 + 60_000 * step), np.arange(1.0, len(names) + 1))


@dataclass(frozen=True)
class Pair:
    """Two good files and what they hold.

    Attributes:
        whole, changes: the files.
        root: a folder for snapshots.
        model: of the state.
        state, header, progress: at `NOW`.
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
        """From a snapshot of the archive: one series of two goes on, over the end of the ring, and one is new."""
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
        """The files as a start of the daemon reads them, and as a training does."""
        folder = folder_of(self.root, PARTITION)
        path_of(folder, THEN).write_bytes(whole)
        path = path_of(folder, NOW, Base(THEN, ""))
        path.write_bytes(changes)
        history = read(path, History.needs)
        History.of_state(history.arrays, history.library, 100)
        found = read(path)
        return found, Forecaster.from_state(found.arrays, found.library, self.model, **LIMITS)

    def intact(self, whole: bytes, changes: bytes) -> None:
        """One file as it was damaged: all is as it was, or CheckpointError."""
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
        """The changes, `unpacked` and damaged, with the checksum of what they hold now."""
        self.survived(self.whole, packed(data, CHANGES)[0])

    def signed_whole(self, data: bytes) -> None:
        """The whole one likewise, with changes that name it."""
        whole, sha256 = packed(data, KIND)
        self.survived(whole, signed(*taken_apart(self.changes), CHANGES, sha256)[0])

    def survived(self, whole: bytes, changes: bytes) -> None:
        """Files that are signed: a state that goes on, with series that it knows and a new one, or CheckpointError."""
        _, forecaster = self.restored(whole, changes)
        forecaster.observe(batch("abc", 20))
        forecaster.observe(batch("d", 21))


def taken_apart(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and header of a file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])["__metadata__"]["header"]
    return load(data), json.loads(header)


def signed(arrays: dict[str, NDArray[Any]], header: Any, kind: str, base: str = "") -> tuple[bytes, str]:
    """A file of them that names its base as it is now, and its checksum."""
    if base and isinstance(header.get("base"), dict):
        header["base"]["sha256"] = base
    text = json.dumps(header)
    sha256 = content_sha256(arrays, text)
    return save(arrays, {"kind": kind, "version": version_of(kind), "header": text, "sha256": sha256}), sha256


def unpacked(data: bytes) -> bytes:
    """A file as its header, names, types and shapes, and contents, one behind the other: to be broken in this form."""
    arrays, header = taken_apart(data)
    layout = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
    contents = b"".join(array.tobytes() for array in arrays.values())
    return b"\n".join((json.dumps(header).encode(), json.dumps(layout).encode(), contents))


def packed(data: bytes, kind: str, base: str = "") -> tuple[bytes, str]:
    """The inverse, signed; what is no file in any reading is given back as it is."""
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
