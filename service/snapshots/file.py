"""Snapshots: the state of one partition at one committed position, as one file; the newest of them restores it.

    <data_dir>/snapshots/<partition>/<position>.snapshot            whole
    <data_dir>/snapshots/<partition>/<position>-<base>.snapshot     what changed since the whole one at <base>

A snapshot only makes a restart shorter. It is written beside its place, synced and renamed, so it is whole or not
there. One of changes names its base by position and checksum, and is as good as it is with it alone.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import platform
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from numpy.typing import NDArray

from forecaster import CheckpointError, Forecaster
from forecaster.state import (
    COLUMNS,
    ROWS,
    Capture,
    Mark,
    checked,
    laid_over,
    read_checkpoint,
    read_header,
    stream_checkpoint,
)
from service.schedule import Progress

KIND: Final = "snapshot"
CHANGES: Final = "snapshot-changes"
SUFFIX: Final = ".snapshot"
# File systems take names of 255 bytes; the rest of a longer partition name goes into a checksum.
_NAME_LIMIT: Final = 150
_IN_FOLDER_NAMES: Final = "-_=+,@"
_FILE_NAME: Final = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Base:
    """The whole snapshot that one of changes is laid over."""

    position: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a partition at a position: as it was read, or as it is being kept while the partition goes on.

    Attributes:
        partition, position: every event before `position` is in it, none from there on.
        arrays: as `Forecaster.from_state` takes them; of one that was taken, what stands beside the forecaster.
        library: as `Forecaster.header` gave it.
        progress: of the training schedule.
        machine: what made it; another kind of processor may round differently.
        live: the forecaster's part of one that was taken; whoever takes it writes it, or closes this.
        base: of one of changes, None of a whole one.
        output, start: name of the output that the position was committed to, and of the start of a daemon by which;
            "" where there is none, see `OutputIdentity`.
        settings: by which events were computed there, see `replay_settings`; None of one of an older release.
        run: of the partition, see `ports.Transport.run`.
    """

    partition: str
    position: int
    arrays: dict[str, NDArray[Any]]
    library: dict[str, Any]
    progress: Progress
    machine: str
    live: Capture | None = None
    base: Base | None = None
    output: str = ""
    start: str = ""
    settings: Mapping[str, Any] | None = None
    run: int = 1

    @property
    def model_sha256(self) -> str:
        """The model that the state was computed with."""
        return str(self.library["model_sha256"])

    @property
    def kind(self) -> str:
        """The kind, as metrics and messages name it: "full" or "incremental"."""
        return "full" if self.base is None else "incremental"


@functools.cache
def this_machine() -> str:
    """Program and kind of processor, by which a reader knows whether the same events give the same bits here."""
    return f"forecaster {metadata.version('forecaster-daemon')}, {platform.machine()}"


def take(
    partition: str,
    position: int,
    forecaster: Forecaster,
    progress: Progress,
    since: tuple[Base, Mark] | None = None,
    run: int = 1,
) -> Snapshot:
    """Takes the state of a partition between two batches: it is read when it is written, as it is now.

    Args:
        partition, position, forecaster, progress: of the partition; copied as far as they change.
        since: a whole snapshot and the moment at which it was taken, for what changed since then only.
        run: of the partition.
    """
    base, mark = since or (None, None)
    live = forecaster.capture(threading.Lock(), mark)
    progress = Progress(**progress.to_dict())
    return Snapshot(partition, position, {}, live.header, progress, this_machine(), live, base, run=run)


def folder_of(root: Path, partition: str, run: int = 1) -> Path:
    """The folder of the snapshots of a partition's run."""
    name = quote(partition, safe=_IN_FOLDER_NAMES).replace(".", "%2E")
    if len(name) > _NAME_LIMIT:
        name = name[: _NAME_LIMIT - 17] + "-" + hashlib.sha256(partition.encode()).hexdigest()[:16]
    return root / (name if run == 1 else f"{name}%run{run}")  # no name of a partition has such a sign behind it


def position_of(path: Path) -> int:
    """Position of a snapshot, by its name; -1 of another file."""
    found = _FILE_NAME.fullmatch(path.stem)
    return -1 if found is None else int(found[1])


def base_of(path: Path) -> int:
    """Position of the whole snapshot that one is laid over, by its name; of a whole one its own."""
    found = _FILE_NAME.fullmatch(path.stem)
    return -1 if found is None else int(found[2] or found[1])


def newest_first(folder: Path) -> list[Path]:
    """The snapshots in a folder; at the same position a whole one, which took the other's place, first."""
    found = [path for path in folder.glob(f"*{SUFFIX}") if position_of(path) >= 0]
    return sorted(found, key=lambda path: (position_of(path), base_of(path)), reverse=True)


def path_of(folder: Path, position: int, base: Base | None = None) -> Path:
    """Where a snapshot stands in the folder of its partition."""
    below = "" if base is None else f"-{base.position:020d}"
    return folder / f"{position:020d}{below}{SUFFIX}"


def kept(paths: Sequence[Path], keep: int) -> list[Path]:
    """Which snapshots of a partition are kept to restore from: the newest `keep`.

    Where all of those need the same whole one, the newest that does not is kept as well: one damaged file must not
    take everything.

    Args:
        paths: newest first.
        keep: how many; 1 wants no other.
    """
    points = list(paths[:keep])
    if keep > 1 and len({base_of(path) for path in points}) == 1:
        points += [path for path in paths[keep:] if base_of(path) != base_of(points[0])][:1]
    return points


def needed(paths: Sequence[Path], keep: int) -> set[Path]:
    """Those kept and the whole ones that they are laid over."""
    points = kept(paths, keep)
    bases = {base_of(path) for path in points}
    return {*points, *(path for path in paths if position_of(path) == base_of(path) and base_of(path) in bases)}


def write(root: Path, snapshot: Snapshot, keep: int, pause: Callable[[], None] = lambda: None) -> tuple[Path, str]:
    """Writes a snapshot atomically, then deletes those of its partition that are no longer needed, or half written.

    Args:
        root: the folder of all partitions.
        snapshot: as it was taken, once; it is let go of, whatever happens.
        keep: how many can be restored from; see `kept`.
        pause: called between blocks.

    Returns:
        Where it is, and the checksum of its contents.

    Raises:
        OSError: it could not be written; the older ones are untouched.
    """
    try:
        return _write(root, snapshot, keep, pause)
    finally:
        if snapshot.live is not None:
            snapshot.live.close()


def _write(root: Path, snapshot: Snapshot, keep: int, pause: Callable[[], None]) -> tuple[Path, str]:
    folder, base = folder_of(root, snapshot.partition, snapshot.run), snapshot.base
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, snapshot.position, base)
    header = {
        "partition": snapshot.partition,
        "position": snapshot.position,
        "library": snapshot.library,
        "progress": snapshot.progress.to_dict(),
        "machine": snapshot.machine,
        "output": {"name": snapshot.output, "start": snapshot.start},
        "settings": None if snapshot.settings is None else dict(snapshot.settings),
    }
    if snapshot.run > 1:
        header["run"] = snapshot.run
    if base is not None:
        header["base"] = {"position": base.position, "sha256": base.sha256}
    live = {} if snapshot.live is None else snapshot.live.arrays(pause)
    sha256 = stream_checkpoint(path, snapshot.arrays | live, header, KIND if base is None else CHANGES, pause)
    paths = [other for other in newest_first(folder) if other == path or position_of(other) != snapshot.position]
    stays = needed(paths, keep)
    for old in newest_first(folder):  # so that none is ever without its base, wherever a crash falls
        if old not in stays:
            old.unlink(missing_ok=True)
    for half in folder.glob(f"*{SUFFIX}.tmp"):  # of one that was killed; nobody else writes here
        half.unlink(missing_ok=True)
    return path, sha256


def header_of(path: Path) -> dict[str, Any]:
    """The header of a snapshot, without its arrays and not verified.

    Raises:
        CheckpointError: it is none.
    """
    return read_header(path, KIND if position_of(path) == base_of(path) else CHANGES)


def read(path: Path, keep: Callable[[str], bool] = lambda _: True) -> Snapshot:
    """Reads and verifies a snapshot, whole or laid over its base; `keep` says which arrays are wanted.

    Raises:
        CheckpointError: damaged, of another version, or not a snapshot; or its base is.
    """
    base = base_of(path)
    if position_of(path) == base:
        return _read(path, KIND, keep)
    changes = _read(path, CHANGES, lambda name: keep(name) or name == ROWS)
    if changes.base is None or changes.base.position != base:
        named = None if changes.base is None else changes.base.position
        msg = f"{path}: its header names the base {named}, its place says {base}; use an older one"
        raise CheckpointError(msg)
    try:
        whole = _read(path_of(path.parent, base), KIND, lambda name: keep(name) and _of_base(name), changes.base.sha256)
    except CheckpointError as error:
        msg = f"{path}: the whole snapshot that it is laid over cannot be used: {error}"
        raise CheckpointError(msg) from error
    arrays, library = laid_over(whole.arrays, whole.library, changes.arrays, changes.library)
    return dataclasses.replace(changes, arrays=arrays, library=library)


def _of_base(name: str) -> bool:
    return name in {*COLUMNS, "rows", "names", "name_ends"} or name.startswith("history.")


def _read(path: Path, kind: str, keep: Callable[[str], bool], sha256: str | None = None) -> Snapshot:
    arrays, header = read_checkpoint(path, kind, keep, mapped=True, sha256=sha256)
    with checked(f"{path}: its header"):
        base, output, settings = header.get("base"), header.get("output", {}), header.get("settings")
        return Snapshot(
            str(header["partition"]),
            int(header["position"]),
            arrays,
            dict(header["library"]),
            Progress.from_dict(header["progress"]),
            str(header["machine"]),
            base=None if base is None else Base(int(base["position"]), str(base["sha256"])),
            output=str(output.get("name", "")),
            start=str(output.get("start", "")),
            settings=None if settings is None else dict(settings),
            run=int(header.get("run", 1)),
        )
