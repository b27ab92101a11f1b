"""The snapshots of a data folder: which one restores a partition, and whether the next one is incremental.

Snapshots are incremental where that saves work: at most `MOST_CHANGES` of them per full one, each at most half as
large.
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
    NO_POSITION,
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

MOST_CHANGES: Final = 30  # bounds the time for which a damaged full one matters
LARGEST_SHARE: Final = 0.5  # relative to a full one, in bytes


@dataclass(slots=True)
class _Full:
    """The last full snapshot of a partition: identity, time of its capture, and number of incremental ones on it.

    `marks`: of the captures of its groups, by name.
    """

    base: Base
    marks: Mapping[str, Mark]
    path: Path
    changes: int = 0


class SnapshotStore:
    """The snapshots of a data folder.

    Args:
        root: the folder `snapshots` of the data folder.
        keep: number of snapshots to keep per partition.
        metrics: count the refused ones.
        shared: storage shared with other machines, if configured.

    Attributes:
        output: returns the identity of the output that positions are committed to.
        settings: the present settings, see `replay_settings`.
        unanswered: partitions of which `newest` could not read the shared snapshot.
    """

    def __init__(self, root: Path, keep: int, metrics: Metrics, shared: SharedSnapshots | None = None) -> None:
        self.root, self._keep, self._metrics, self._shared = root, keep, metrics, shared
        self._full: dict[str, _Full] = {}
        self.output: Callable[[], OutputIdentity] = OutputIdentity
        self.settings: Mapping[str, Any] = {}
        self._runs: dict[str, int] = {}  # of partitions that are not in their first run
        self.unanswered: set[str] = set()

    def enter_run(self, partition: str, run: int) -> None:
        """Sets the run of a partition: snapshots of earlier runs are deleted, and so are their initial rules."""
        if self._runs.pop(partition, 1) != run:
            self._full.pop(partition, None)
        if run > 1:
            self._runs[partition] = run
        for earlier in range(1, run):
            for path in newest_first(folder := folder_of(self.root, partition, earlier)):
                self._refuse(path, "ahead", f"got run {earlier}, expected run {run} of the partition")
            shutil.rmtree(folder, ignore_errors=True)
            self._rules_path(partition, earlier).unlink(missing_ok=True)

    def _folder(self, partition: str) -> Path:
        return folder_of(self.root, partition, self._runs.get(partition, 1))

    def _shared_as(self, partition: str) -> str:
        """Returns the name of the partition's run in the shared storage."""
        return name_of_run(partition, self._runs.get(partition, 1))

    def base(
        self, partition: str, position: int, forecaster: Forecaster, groups: Mapping[str, Forecaster] | None = None
    ) -> tuple[Base, Mark] | None:
        """Returns the full snapshot that the next one is based on, and its capture mark; None: write a full one.

        The next one is incremental if few rows changed since the last full one of this process, if the full one before
        it still exists, so that not all depend on one file, and if no full one is due for other machines. `groups` has
        the forecasters of the other groups, whose marks `marks_of` returns.
        """
        full = self._full.get(partition)
        if full is None or full.changes >= MOST_CHANGES or full.base.position == position:
            return None
        if self._shared is not None and self._shared.due(self._shared_as(partition)):
            return None
        paths, states = newest_first(self._folder(partition)), {"": forecaster, **(groups or {})}
        if full.path not in paths or not self._independent(paths) or states.keys() != full.marks.keys():
            return None
        if len(states) == 1:
            share = forecaster.change_share(full.marks[""])
        else:  # weighted by their size
            sizes = {name: 1 + one.state_bytes for name, one in states.items()}
            changed = sum(size * states[name].change_share(full.marks[name]) for name, size in sizes.items())
            share = changed / sum(sizes.values())
        return None if share > LARGEST_SHARE else (full.base, full.marks[""])

    def marks_of(self, partition: str) -> Mapping[str, Mark]:
        """Returns the capture marks of the full snapshot that `base` has returned, by group."""
        return self._full[partition].marks

    def _independent(self, paths: Sequence[Path]) -> bool:
        """Returns whether no single damaged file makes all of them useless."""
        return self._keep == 1 or len({base_of(path) for path in paths}) > 1

    def write(self, snapshot: Snapshot, pause: Callable[[], None] = lambda: None) -> Path:
        """Writes a snapshot in the caller's thread, and shares it if due. Raises OSError; see `file.write`."""
        partition = snapshot.partition
        path, sha256 = write(self.root, snapshot, self._keep, pause)
        if snapshot.base is not None:
            if (full := self._full.get(partition)) is not None:  # None: released meanwhile
                full.changes += 1
            return path
        if snapshot.live is not None:
            marks = {name: one.live.mark for name, one in snapshot.of_all_groups.items() if one.live is not None}
            self._full[partition] = _Full(Base(snapshot.position, sha256), marks, path)
        if self._shared is not None:
            self._shared.offer(self._shared_as(partition), snapshot.position, path)
        return path

    def newest(self, partition: str, committed: int, fits: Callable[[Snapshot], str] = lambda _: "") -> Snapshot | None:
        """Returns the newest intact snapshot that is not ahead of `committed`, or None.

        Snapshots ahead are deleted: they belong to an output that no longer exists, and could not be recognised once
        the new one has passed their position. Those of another output are deleted too, as they would block the file
        names of new ones. Damaged ones, and those with a missing or damaged base, are counted, logged and kept for
        inspection.

        Args:
            partition: the partition.
            committed: the committed source position.
            fits: returns why a snapshot cannot be used, "" if it can.
        """
        folder, output = self._folder(partition), self.output()
        if self._shared is not None:
            here = max(
                (at for path in newest_first(folder) if (at := position_of(path)) <= committed), default=NO_POSITION
            )
            answered = self._shared.bring(self._shared_as(partition), here, committed, folder)
            (self.unanswered.discard if answered else self.unanswered.add)(partition)
        for path in newest_first(folder):
            if position_of(path) > committed:
                self._refuse(
                    path,
                    "ahead",
                    f"got position {position_of(path)}, expected at most the committed position {committed}",
                )
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
                self._refuse(path, "misplaced", f"got {got}, expected those of the folder and the file name")
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
        """Forgets the full snapshot of a partition: the next snapshot is a full one."""
        self._full.pop(partition, None)

    def oldest_needed(self, partition: str) -> int | None:
        """Returns the position of the oldest kept snapshot, or None while there are fewer than configured.

        Records before it will not be replayed, because all newer snapshots would have to be damaged. With shared ones,
        another machine starts at the newest of these, which may be older: None until one was uploaded.
        """
        paths = newest_first(self._folder(partition))
        points = kept(paths, self._keep)
        if len(points) < self._keep or not self._independent(points):
            return None
        oldest = position_of(points[-1])
        if self._shared is None:
            return oldest
        shared = self._shared.offered(self._shared_as(partition))
        return None if shared is None else min(oldest, shared)

    def _refuse(self, path: Path, reason: str, detail: str) -> None:
        self._metrics.snapshots_refused.labels(reason).inc()
        _log.warning("snapshot refused", file=str(path), reason=reason, detail=detail)

    def note_rules(
        self, partition: str, rules: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Stores the initial anomaly rules of a partition, for a replay that finds no snapshot; `groups`: of others."""
        noted = {**rules, **({"groups": groups} if groups else {})}
        path = self._rules_path(partition)
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(noted, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            _log.warning("initial anomaly rules not written", partition=partition, error=str(error))

    def noted_rules(self, partition: str) -> dict[str, dict[str, Any]]:
        """Reads the rules of `note_rules` by group; empty without them, or where the file is damaged.

        Raises:
            OSError: the file is there and cannot be read, as without descriptors.
        """
        try:
            found = json.loads(self._rules_path(partition).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        groups = found.pop("groups", {})
        return {"": found, **(groups if isinstance(groups, dict) else {})}

    def _rules_path(self, partition: str, run: int = 0) -> Path:
        place = folder_of(self.root.with_name("rules"), partition, run or self._runs.get(partition, 1))
        return place.with_name(place.name + ".json")

    def forget(self, partition: str) -> None:
        """Deletes the snapshots of a partition whose output starts with empty state."""
        for path in newest_first(self._folder(partition)):
            self._refuse(path, "ahead", "nothing is committed, so it belongs to an output that no longer exists")
            path.unlink(missing_ok=True)

    def models(self) -> set[str]:
        """Returns the models that snapshots were made with or have on trial, as far as they are readable."""
        found = set[str]()
        for path in self.root.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(CheckpointError, LookupError, TypeError, AttributeError):
                header = header_of(path)
                for one in (header, *header.get("groups", {}).values()):
                    found.add(str(one["library"]["model_sha256"]))
                    if "shadow" in one["library"]:
                        found.add(str(one["library"]["shadow"]["model"]))
        return found

    def newest_of_all(self, keep: Callable[[str], bool], group: str = "") -> Iterator[Snapshot]:
        """Yields the newest intact state of a group in every partition, with the arrays that `keep` selects."""
        for folder in sorted(self.root.glob("*/")):
            for path in newest_first(folder):
                try:
                    found = read(path, keep, group)
                except CheckpointError as error:
                    self._refuse(path, "damaged", str(error))
                    continue
                if group in found.of_all_groups:
                    yield found.of_all_groups[group]
                break
