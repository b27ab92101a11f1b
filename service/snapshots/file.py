"""Snapshot files: the state of one partition at one committed position; the newest one restores it.

    <data_dir>/snapshots/<partition>/<position>.snapshot            full
    <data_dir>/snapshots/<partition>/<position>-<base>.snapshot     incremental: changes since the full one at <base>

Snapshots only shorten a restart. A file is written under a temporary name, synced and renamed, so that it is complete
or absent. An incremental snapshot has position and checksum of its base, and is only valid together with it. With
groups of series (`[[group]]`) a file has the states of all groups at the same position; the arrays of a group are named
`group:<name>:<array>`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import platform
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from numpy.typing import NDArray

from forecaster import CheckpointError, Forecaster
from forecaster.state import (
    ROW_ARRAYS,
    ROWS,
    Capture,
    Mark,
    Streamed,
    checked,
    laid_over,
    read_checkpoint,
    read_header,
    stream_checkpoint,
)
from service.partitions.schedule import Progress

KIND: Final = "snapshot"
CHANGES: Final = "snapshot-changes"
SUFFIX: Final = ".snapshot"
# File systems limit names to 255 bytes; the rest of a longer partition name is replaced by a checksum.
_NAME_LIMIT: Final = 150
_IN_FOLDER_NAMES: Final = "-_=+,@"
_FILE_NAME: Final = re.compile(r"(-?\d+)(?:-(-?\d+))?")  # positions of the history are negative
_GROUP: Final = "group:"  # before the name of a group and of its array
NO_POSITION: Final = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Base:
    """The full snapshot that an incremental one depends on."""

    position: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a partition at a position, read from a file, or captured while the partition continues.

    Attributes:
        partition, position: every event before `position` is included, none from there on.
        arrays: for `Forecaster.from_state`; for a captured state, the arrays that are not of the forecaster.
        library: from `Forecaster.header`.
        progress: of the training schedule.
        machine: the program and processor that wrote it; another type of processor may round differently.
        live: the capture of the forecaster; the owner has to write it, or close it.
        base: of an incremental snapshot, None for a full one.
        output, start: name of the output that the position was committed to, and of the start of the daemon that did;
            "" where there is none, see `OutputIdentity`.
        settings: the settings at the position, see `replay_settings`; None in snapshots of older releases.
        run: of the partition, see `ports.Transport.run`.
        streamed: further arrays of a captured state, whose blocks are read when it is written.
        groups: the states of the other groups by name, each with its own arrays, library, progress and capture.
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
    streamed: Mapping[str, Streamed] = field(default_factory=dict)
    groups: Mapping[str, Snapshot] = field(default_factory=dict)

    @property
    def of_all_groups(self) -> dict[str, Snapshot]:
        """The states of all groups by name; "" is this one."""
        return {"": self, **self.groups}

    @property
    def model_sha256(self) -> str:
        """sha256 of the model that the state was computed with."""
        return str(self.library["model_sha256"])

    @property
    def kind(self) -> str:
        """The kind in metrics and messages: "full" or "incremental"."""
        return "full" if self.base is None else "incremental"


@functools.cache
def this_machine() -> str:
    """Returns program and type of processor; the same value means that the same events give the same bits."""
    return f"forecaster {metadata.version('forecaster-daemon')}, {platform.machine()}"


def take(
    partition: str,
    position: int,
    forecaster: Forecaster,
    progress: Progress,
    since: tuple[Base, Mark] | None = None,
    run: int = 1,
) -> Snapshot:
    """Captures the state of a partition between two batches; the arrays are read when it is written, unchanged.

    Args:
        partition, position, forecaster, progress: of the partition; copied as far as they change.
        since: a full snapshot and the time of its capture, for an incremental snapshot.
        run: of the partition.
    """
    base, mark = since or (None, None)
    live = forecaster.capture(threading.Lock(), mark)
    progress = Progress(**progress.to_dict())
    return Snapshot(partition, position, {}, live.header, progress, this_machine(), live, base, run=run)


def folder_of(root: Path, partition: str, run: int = 1) -> Path:
    """Returns the folder of the snapshots of a partition's run."""
    name = quote(partition, safe=_IN_FOLDER_NAMES).replace(".", "%2E")
    if len(name) > _NAME_LIMIT:
        name = name[: _NAME_LIMIT - 17] + "-" + hashlib.sha256(partition.encode()).hexdigest()[:16]
    return root / (name if run == 1 else f"{name}%run{run}")  # quoted names do not contain such a suffix


def position_of(path: Path) -> int:
    """Returns the position of a snapshot from its name; `NO_POSITION` for other files."""
    found = _FILE_NAME.fullmatch(path.stem)
    return NO_POSITION if found is None else int(found[1])


def base_of(path: Path) -> int:
    """Returns the position of the full snapshot that a snapshot depends on, from its name; its own for a full one."""
    found = _FILE_NAME.fullmatch(path.stem)
    return NO_POSITION if found is None else int(found[2] or found[1])


def newest_first(folder: Path) -> list[Path]:
    """Returns the snapshots in a folder, newest first.

    At the same position, a full one comes first, as it replaces the other.
    """
    found = [path for path in folder.glob(f"*{SUFFIX}") if position_of(path) > NO_POSITION]
    return sorted(found, key=lambda path: (position_of(path), base_of(path)), reverse=True)


def path_of(folder: Path, position: int, base: Base | None = None) -> Path:
    """Returns the path of a snapshot in the folder of its partition."""
    below = "" if base is None else f"-{base.position:020d}"
    return folder / f"{position:020d}{below}{SUFFIX}"


def kept(paths: Sequence[Path], keep: int) -> list[Path]:
    """Selects the snapshots of a partition that are kept to restore from: the newest `keep`.

    Where all of them depend on the same full snapshot, the newest one that does not is kept as well, so that a single
    damaged file cannot make all of them useless.

    Args:
        paths: newest first.
        keep: number to keep; 1: no further one.
    """
    points = list(paths[:keep])
    if keep > 1 and len({base_of(path) for path in points}) == 1:
        points += [path for path in paths[keep:] if base_of(path) != base_of(points[0])][:1]
    return points


def needed(paths: Sequence[Path], keep: int) -> set[Path]:
    """Returns the kept snapshots and the full ones that they depend on."""
    points = kept(paths, keep)
    bases = {base_of(path) for path in points}
    return {*points, *(path for path in paths if position_of(path) == base_of(path) and base_of(path) in bases)}


def write(root: Path, snapshot: Snapshot, keep: int, pause: Callable[[], None] = lambda: None) -> tuple[Path, str]:
    """Writes a snapshot atomically, then deletes the snapshots and temporary files of its partition not needed.

    Args:
        root: the folder of all partitions.
        snapshot: a captured one; its capture is released in any case.
        keep: number of snapshots to restore from; see `kept`.
        pause: called between blocks.

    Returns:
        Its path, and the checksum of its content.

    Raises:
        OSError: it could not be written; older snapshots are unchanged.
    """
    try:
        return _write(root, snapshot, keep, pause)
    finally:
        for one in snapshot.of_all_groups.values():
            if one.live is not None:
                one.live.close()


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
    if snapshot.groups:
        header["groups"] = {
            name: {"library": one.library, "progress": one.progress.to_dict()} for name, one in snapshot.groups.items()
        }
    arrays: dict[str, Any] = {}
    for name, one in snapshot.of_all_groups.items():
        own = {**one.arrays, **one.streamed, **({} if one.live is None else one.live.arrays(pause))}
        arrays |= {_name_of(name, array): content for array, content in own.items()}
    sha256 = stream_checkpoint(path, arrays, header, KIND if base is None else CHANGES, pause)
    paths = [other for other in newest_first(folder) if other == path or position_of(other) != snapshot.position]
    stays = needed(paths, keep)
    for old in newest_first(folder):  # in this order, so that no crash leaves one without its base
        if old not in stays:
            old.unlink(missing_ok=True)
    for half in folder.glob(f"*{SUFFIX}.tmp"):  # left by a killed process; there is no other writer
        half.unlink(missing_ok=True)
    return path, sha256


def header_of(path: Path) -> dict[str, Any]:
    """Reads the header of a snapshot, without its arrays and without verification.

    Raises:
        CheckpointError: the file is not a snapshot.
    """
    return read_header(path, KIND if position_of(path) == base_of(path) else CHANGES)


def _name_of(group: str, array: str) -> str:
    """Returns the name of an array of a group in a file."""
    return f"{_GROUP}{group}:{array}" if group else array


def _group_of(name: str) -> tuple[str, str]:
    """Returns the group of an array of a file, and its name there."""
    if not name.startswith(_GROUP):
        return "", name
    group, _, array = name.removeprefix(_GROUP).partition(":")
    return group, array


def read(path: Path, keep: Callable[[str], bool] = lambda _: True, group: str | None = None) -> Snapshot:
    """Reads and verifies a snapshot, full or incremental with its base.

    Args:
        path: the file.
        keep: selects the arrays, by their name.
        group: only the arrays of this group are read; None: those of all.

    Raises:
        CheckpointError: damaged, of another version, or not a snapshot; or its base is.
    """

    def wanted(chosen: Callable[[str], bool]) -> Callable[[str], bool]:
        def is_wanted(name: str) -> bool:
            own, array = _group_of(name)
            return group in (None, own) and chosen(array)

        return is_wanted

    base = base_of(path)
    if position_of(path) == base:
        return _read(path, KIND, wanted(keep))
    incremental = _read(path, CHANGES, wanted(lambda name: keep(name) or name == ROWS))
    if incremental.base is None or incremental.base.position != base:
        named = None if incremental.base is None else incremental.base.position
        msg = f"{path}: got the base {named} in the header, expected {base} as in the file name"
        raise CheckpointError(msg)
    try:
        full = _read(
            path_of(path.parent, base), KIND, wanted(lambda name: keep(name) and _of_base(name)),
            incremental.base.sha256,
        )  # fmt: skip
    except CheckpointError as error:
        msg = f"{path}: the full snapshot that it depends on cannot be used: {error}"
        raise CheckpointError(msg) from error
    if lacking := sorted(incremental.groups.keys() - full.groups.keys()):
        msg = f"{path}: the full snapshot that it depends on lacks the groups {', '.join(lacking)}"
        raise CheckpointError(msg)
    merged = {
        name: _merged(full.of_all_groups[name], one)
        for name, one in incremental.of_all_groups.items()
        if group in (None, name)
    }
    found = merged.pop("", incremental)
    return dataclasses.replace(found, groups=merged)


def _merged(full: Snapshot, incremental: Snapshot) -> Snapshot:
    arrays, library = laid_over(full.arrays, full.library, incremental.arrays, incremental.library)
    return dataclasses.replace(incremental, arrays=arrays, library=library)


def _of_base(name: str) -> bool:
    return name in {*ROW_ARRAYS, "rows", "names", "name_ends"} or name.startswith("history.")


def _read(path: Path, kind: str, keep: Callable[[str], bool], sha256: str | None = None) -> Snapshot:
    arrays, header = read_checkpoint(path, kind, keep, mapped=True, sha256=sha256)
    with checked(f"{path}: the header"):
        base, output, settings = header.get("base"), header.get("output", {}), header.get("settings")
        of_groups: dict[str, Any] = header.get("groups", {})
        by_group: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in ("", *of_groups)}
        for name, array in arrays.items():
            group, own = _group_of(name)
            by_group[group][own] = array
        found = Snapshot(
            str(header["partition"]),
            int(header["position"]),
            by_group.pop(""),
            dict(header["library"]),
            Progress.from_dict(header["progress"]),
            str(header["machine"]),
            base=None if base is None else Base(int(base["position"]), str(base["sha256"])),
            output=str(output.get("name", "")),
            start=str(output.get("start", "")),
            settings=None if settings is None else dict(settings),
            run=int(header.get("run", 1)),
        )
        groups = {
            name: dataclasses.replace(
                found, arrays=by_group[name], library=dict(one["library"]), progress=Progress.from_dict(one["progress"])
            )
            for name, one in of_groups.items()
        }
        return dataclasses.replace(found, groups=groups)
