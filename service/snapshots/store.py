"""The snapshots of a data folder: which one restores a partition, and what the next one of a partition is.

A snapshot is one of changes where that pays: at most `MOST_CHANGES` of them on a whole one, each at most half as large.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from forecaster import CheckpointError, Forecaster
from forecaster.state import Mark
from service.monitoring.metrics import Metrics
from service.ports import OutputIdentity, name_of_run
from service.snapshots.file import (
    SUFFIX,
    Base,
    Snapshot,
    base_of,
    folder_of,
    header_of,
    kept,
    newest_first,
    position_of,
    read,
    write,
)
from service.snapshots.sharing import SharedSnapshots

_log = structlog.get_logger()

MOST_CHANGES: Final = 30  # so that a whole one is written now and then, and a damaged one does not stay for ever
LARGEST_SHARE: Final = 0.5  # of a whole one, in bytes


@dataclass(slots=True)
class _Whole:
    """The last whole snapshot that was written of a partition, when it was taken, and how many lie over it."""

    base: Base
    mark: Mark
    path: Path
    changes: int = 0


class SnapshotStore:
    """The snapshots of a data folder.

    Args:
        root: the folder `snapshots` of the data folder.
        keep: how many are kept per partition.
        metrics: where refused ones are counted.
        shared: where other machines find them, if anywhere.

    Attributes:
        output: the output that positions are committed to, as it is now.
        settings: by which events are computed now, see `replay_settings`.
    """

    def __init__(self, root: Path, keep: int, metrics: Metrics, shared: SharedSnapshots | None = None) -> None:
        self.root, self._keep, self._metrics, self._shared = root, keep, metrics, shared
        self._whole: dict[str, _Whole] = {}
        self.output: Callable[[], OutputIdentity] = OutputIdentity
        self.settings: Mapping[str, Any] = {}
        self._runs: dict[str, int] = {}  # of partitions that are not in their first

    def enter_run(self, partition: str, run: int) -> None:
        """From now on a partition is in that run: snapshots of earlier ones are deleted, as are first rules."""
        if self._runs.pop(partition, 1) != run:
            self._whole.pop(partition, None)
        if run > 1:
            self._runs[partition] = run
        for earlier in range(1, run):
            for path in newest_first(folder := folder_of(self.root, partition, earlier)):
                self._refuse(path, "ahead", f"of run {earlier}; the partition is in run {run}")
            shutil.rmtree(folder, ignore_errors=True)
            self._rules_path(partition, earlier).unlink(missing_ok=True)

    def _folder(self, partition: str) -> Path:
        return folder_of(self.root, partition, self._runs.get(partition, 1))

    def _shared_as(self, partition: str) -> str:
        """What other machines know the run of a partition by."""
        return name_of_run(partition, self._runs.get(partition, 1))

    def base(self, partition: str, position: int, forecaster: Forecaster) -> tuple[Base, Mark] | None:
        """What the next snapshot of a partition is to be laid over, and when that was taken; None: it is a whole one.

        It is where few changed since the last whole one of this process; where the one before it is still there, so
        that they do not all need one file; and where no whole one is wanted for other machines.
        """
        whole = self._whole.get(partition)
        if whole is None or whole.changes >= MOST_CHANGES or whole.base.position == position:
            return None
        if self._shared is not None and self._shared.due(self._shared_as(partition)):
            return None
        paths = newest_first(self._folder(partition))
        if whole.path not in paths or not self._apart(paths) or forecaster.change_share(whole.mark) > LARGEST_SHARE:
            return None
        return whole.base, whole.mark

    def _apart(self, paths: Sequence[Path]) -> bool:
        """Whether no single damaged file takes all of these."""
        return self._keep == 1 or len({base_of(path) for path in paths}) > 1

    def write(self, snapshot: Snapshot, pause: Callable[[], None] = lambda: None) -> Path:
        """Writes one now, in the caller's thread, and shares it if that is due. Raises OSError; see `write`."""
        partition = snapshot.partition
        path, sha256 = write(self.root, snapshot, self._keep, pause)
        if snapshot.base is not None:
            if (whole := self._whole.get(partition)) is not None:  # else released meanwhile
                whole.changes += 1
            return path
        if snapshot.live is not None:
            self._whole[partition] = _Whole(Base(snapshot.position, sha256), snapshot.live.mark, path)
        if self._shared is not None:
            self._shared.offer(self._shared_as(partition), snapshot.position, path)
        return path

    def newest(self, partition: str, committed: int, fits: Callable[[Snapshot], str] = lambda _: "") -> Snapshot | None:
        """The newest intact snapshot that is not ahead of `committed`, or None.

        Those ahead are deleted: they belong to an output that is gone, and once the new one has passed their position
        nobody could tell; so are those of another output, which would take the places of new ones. Damaged ones, and
        those whose base is missing or damaged, are counted, logged and left for a person to look at.

        Args:
            partition: whose.
            committed: the committed source position.
            fits: says why a snapshot cannot be used, "" if it can.
        """
        folder, output = self._folder(partition), self.output()
        if self._shared is not None:
            here = max((at for path in newest_first(folder) if (at := position_of(path)) <= committed), default=-1)
            self._shared.bring(self._shared_as(partition), here, committed, folder)
        for path in newest_first(folder):
            if position_of(path) > committed:
                self._refuse(path, "ahead", f"position {position_of(path)} is ahead of the committed {committed}")
                path.unlink(missing_ok=True)
                continue
            try:
                snapshot = read(path)
            except CheckpointError as error:
                self._refuse(path, "damaged", str(error))
                continue
            run = self._runs.get(partition, 1)
            if (snapshot.partition, snapshot.position, snapshot.run) != (partition, position_of(path), run):
                got = f"partition {snapshot.partition!r} position {snapshot.position} run {snapshot.run}"
                self._refuse(path, "misplaced", f"holds {got}, expected what its place says")
                continue
            if reason := output.disowns(snapshot.output, snapshot.start):
                self._refuse(path, "foreign", reason)
                path.unlink(missing_ok=True)
                continue
            if reason := fits(snapshot):
                self._refuse(path, "unfit", reason)
                continue
            return snapshot
        return None

    def release(self, partition: str) -> None:
        """Forgets which snapshot those of a partition are laid over: the next one here is a whole one."""
        self._whole.pop(partition, None)

    def oldest_needed(self, partition: str) -> int | None:
        """Position of the oldest of the snapshots that are kept, or None while there are fewer than that.

        What lies before it in the source will not be replayed: each younger one would have to be damaged first.
        """
        paths = newest_first(self._folder(partition))
        points = kept(paths, self._keep)
        return position_of(points[-1]) if len(points) >= self._keep and self._apart(points) else None

    def _refuse(self, path: Path, reason: str, detail: str) -> None:
        self._metrics.snapshots_refused.labels(reason).inc()
        _log.warning("snapshot refused", file=str(path), reason=reason, detail=detail)

    def note_rules(self, partition: str, rules: Mapping[str, Any]) -> None:
        """Keeps the anomaly rules that a partition begins with, for a replay that finds no snapshot to tell them."""
        path = self._rules_path(partition)
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(dict(rules), file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            _log.warning("initial anomaly rules not written", partition=partition, error=str(error))

    def noted_rules(self, partition: str) -> dict[str, Any]:
        """What `note_rules` kept, or nothing."""
        try:
            found = json.loads(self._rules_path(partition).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _rules_path(self, partition: str, run: int = 0) -> Path:
        place = folder_of(self.root.with_name("rules"), partition, run or self._runs.get(partition, 1))
        return place.with_name(place.name + ".json")

    def forget(self, partition: str) -> None:
        """Deletes the snapshots of a partition whose output starts from nothing."""
        for path in newest_first(self._folder(partition)):
            self._refuse(path, "ahead", "nothing is committed: it belongs to an output that is gone")
            path.unlink(missing_ok=True)

    def models(self) -> set[str]:
        """The models that any snapshot was made with, or on trial in it; of damaged ones as far as they say."""
        found = set[str]()
        for path in self.root.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(CheckpointError, LookupError, TypeError):
                library = header_of(path)["library"]
                found.add(str(library["model_sha256"]))
                found.add(str(library["shadow"]["model"]))
        return found

    def newest_of_all(self, keep: Callable[[str], bool]) -> Iterator[Snapshot]:
        """The newest intact snapshot of every partition, one at a time, with those arrays that `keep` wants."""
        for folder in sorted(self.root.glob("*/")):
            for path in newest_first(folder):
                try:
                    found = read(path, keep)
                except CheckpointError as error:
                    self._refuse(path, "damaged", str(error))
                    continue
                yield found
                break
