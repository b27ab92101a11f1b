"""Snapshots: the state of one partition at one committed position, as one file; written in the background.

    <data_dir>/snapshots/<partition>/<position>.snapshot

A snapshot only makes a restart shorter. It is written beside its place, synced and renamed, so it is whole or not
there; one that does not verify, or that is ahead of what is committed, is refused and the one before it is used.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog
from numpy.typing import NDArray

from forecaster import CheckpointError, Forecaster
from forecaster.capture import Capture
from forecaster.checkpoint import read_checkpoint
from forecaster.streaming import stream_checkpoint
from service.metrics import Metrics
from service.ports import Clock
from service.schedule import Progress
from service.snapshot_sharing import SharedSnapshots

_log = structlog.get_logger()

KIND: Final = "snapshot"
SUFFIX: Final = ".snapshot"
# File systems take names of 255 bytes; the rest of a longer partition name goes into a checksum.
_NAME_LIMIT: Final = 150
_IN_FOLDER_NAMES: Final = "-_=+,@"
_LONGEST_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a partition at a position: as it was read, or as it is being kept while the partition goes on.

    Attributes:
        partition, position: every event before `position` is in it, none from there on.
        arrays: as `Forecaster.state` gave them; of one that was taken, what stands beside the forecaster.
        library: as `Forecaster.header` gave it.
        progress: of the training schedule.
        machine: what made it; another kind of processor may round differently.
        live: the forecaster's part of one that was taken; whoever takes it writes it, or closes this.
    """

    partition: str
    position: int
    arrays: dict[str, NDArray[Any]]
    library: dict[str, Any]
    progress: Progress
    machine: str
    live: Capture | None = None

    @property
    def model_sha256(self) -> str:
        """The model that the state was computed with."""
        return str(self.library["model_sha256"])


@functools.cache
def this_machine() -> str:
    """Program and kind of processor, by which a reader knows whether the same events give the same bits here."""
    return f"forecaster {metadata.version('forecaster')}, {platform.machine()}"


def take(partition: str, position: int, forecaster: Forecaster, progress: Progress) -> Snapshot:
    """Takes the state of a partition between two batches: it is read when it is written, as it is now."""
    live = forecaster.capture(threading.Lock())
    return Snapshot(partition, position, {}, live.header, Progress(**progress.to_dict()), this_machine(), live)


def folder_of(root: Path, partition: str) -> Path:
    """The folder of a partition's snapshots."""
    name = quote(partition, safe=_IN_FOLDER_NAMES).replace(".", "%2E")
    if len(name) > _NAME_LIMIT:
        name = name[: _NAME_LIMIT - 17] + "-" + hashlib.sha256(partition.encode()).hexdigest()[:16]
    return root / name


def write(root: Path, snapshot: Snapshot, keep: int, pause: Callable[[], None] = lambda: None) -> Path:
    """Writes a snapshot atomically, then deletes all but the newest `keep` of its partition.

    Args:
        root: the folder of all partitions.
        snapshot: as it was taken, once; it is let go of, whatever happens.
        keep: how many stay.
        pause: called between blocks.

    Raises:
        OSError: it could not be written; the older ones are untouched.
    """
    try:
        return _write(root, snapshot, keep, pause)
    finally:
        if snapshot.live is not None:
            snapshot.live.close()


def _write(root: Path, snapshot: Snapshot, keep: int, pause: Callable[[], None]) -> Path:
    folder = folder_of(root, snapshot.partition)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{snapshot.position:020d}{SUFFIX}"
    header = {
        "partition": snapshot.partition,
        "position": snapshot.position,
        "library": snapshot.library,
        "progress": snapshot.progress.to_dict(),
        "machine": snapshot.machine,
    }
    live = {} if snapshot.live is None else snapshot.live.arrays(pause)
    stream_checkpoint(path, snapshot.arrays | live, header, KIND, pause)
    for old in _newest_first(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path


def read(path: Path, keep: Callable[[str], bool] = lambda _: True) -> Snapshot:
    """Reads and verifies a snapshot; `keep` says which arrays are wanted.

    Raises:
        CheckpointError: damaged, of another version, or not a snapshot.
    """
    arrays, header = read_checkpoint(path, KIND, keep, mapped=True)
    try:
        return Snapshot(
            str(header["partition"]),
            int(header["position"]),
            arrays,
            dict(header["library"]),
            Progress.from_dict(header["progress"]),
            str(header["machine"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: its header is not a snapshot's ({error!r}); use an older one"
        raise CheckpointError(msg) from error


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


class SnapshotStore:
    """The snapshots of a data folder.

    Args:
        root: the folder `snapshots` of the data folder.
        keep: how many are kept per partition.
        metrics: where refused ones are counted.
        shared: where other machines find them, if anywhere.
    """

    def __init__(self, root: Path, keep: int, metrics: Metrics, shared: SharedSnapshots | None = None) -> None:
        self.root, self._keep, self._metrics, self._shared = root, keep, metrics, shared

    def write(self, snapshot: Snapshot, pause: Callable[[], None] = lambda: None) -> Path:
        """Writes one now, in the caller's thread, and shares it if that is due. Raises OSError; see `write`."""
        path = write(self.root, snapshot, self._keep, pause)
        if self._shared is not None:
            self._shared.offer(snapshot.partition, snapshot.position, path)
        return path

    def newest(self, partition: str, committed: int, fits: Callable[[Snapshot], str] = lambda _: "") -> Snapshot | None:
        """The newest intact snapshot that is not ahead of `committed`, or None.

        Those ahead are deleted: they belong to an output that is gone, and once the new one has passed their position
        nobody could tell. Damaged ones are counted, logged and left for a person to look at.

        Args:
            partition: whose.
            committed: the committed source position.
            fits: says why a snapshot cannot be used, "" if it can.
        """
        folder = folder_of(self.root, partition)
        if self._shared is not None:
            here = max((int(path.stem) for path in _newest_first(folder) if int(path.stem) <= committed), default=-1)
            self._shared.bring(partition, here, committed, folder)
        for path in _newest_first(folder):
            if int(path.stem) > committed:
                self._refuse(path, "ahead", f"position {int(path.stem)} is ahead of the committed {committed}")
                path.unlink(missing_ok=True)
                continue
            try:
                snapshot = read(path)
            except CheckpointError as error:
                self._refuse(path, "damaged", str(error))
                continue
            if snapshot.partition != partition or snapshot.position != int(path.stem):
                got = f"partition {snapshot.partition!r} position {snapshot.position}"
                self._refuse(path, "misplaced", f"holds {got}, expected what its place says")
                continue
            if reason := fits(snapshot):
                self._refuse(path, "unfit", reason)
                continue
            return snapshot
        return None

    def oldest_needed(self, partition: str) -> int | None:
        """Position of the oldest of the snapshots that are kept, or None while there are fewer than that.

        What lies before it in the source will not be replayed: each younger one would have to be damaged first.
        """
        kept = _newest_first(folder_of(self.root, partition))[: self._keep]
        return int(kept[-1].stem) if len(kept) == self._keep else None

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
            _log.warning("first rules not written", partition=partition, error=str(error))

    def noted_rules(self, partition: str) -> dict[str, Any]:
        """What `note_rules` kept, or nothing."""
        try:
            found = json.loads(self._rules_path(partition).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _rules_path(self, partition: str) -> Path:
        place = folder_of(self.root.with_name("rules"), partition)
        return place.with_name(place.name + ".json")

    def forget(self, partition: str) -> None:
        """Deletes the snapshots of a partition whose output starts from nothing."""
        for path in _newest_first(folder_of(self.root, partition)):
            self._refuse(path, "ahead", "nothing is committed: it belongs to an output that is gone")
            path.unlink(missing_ok=True)

    def newest_of_all(self, keep: Callable[[str], bool]) -> Iterator[Snapshot]:
        """The newest intact snapshot of every partition, one at a time, with those arrays that `keep` wants."""
        for folder in sorted(self.root.glob("*/")):
            for path in _newest_first(folder):
                try:
                    found = read(path, keep)
                except CheckpointError as error:
                    self._refuse(path, "damaged", str(error))
                    continue
                yield found
                break


class SnapshotWriter:
    """Writes snapshots in a background thread, one order at a time, so that the loop goes on.

    Args:
        store: where to.
        metrics: where duration, time and failures are shown.
        clock: for them.
    """

    def __init__(self, store: SnapshotStore, metrics: Metrics, clock: Clock) -> None:
        self._store, self._metrics, self._clock = store, metrics, clock
        self._thread: threading.Thread | None = None
        self._hurried = threading.Event()
        self._worked_until = 0.0

    @property
    def busy(self) -> bool:
        """Whether an order is being written."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, snapshots: Sequence[Snapshot]) -> bool:
        """Starts writing; False (and nothing happens) while the last order is being written."""
        if self.busy:
            return False
        self._hurried.clear()
        self._worked_until = 0.0  # of the new thread
        self._thread = threading.Thread(
            target=self.write_now, args=(snapshots, self._pause), name="snapshots", daemon=True
        )
        self._thread.start()
        return True

    def _pause(self) -> None:
        """As long as the processor was at work, so that on a single core too the loop goes on at half its pace."""
        worked = time.thread_time() - self._worked_until
        if not self._hurried.is_set():
            self._hurried.wait(min(worked, _LONGEST_PAUSE_SECONDS))
        self._worked_until = time.thread_time()

    def wait(self) -> None:
        """Returns when nothing is being written; from now on without pauses."""
        if self._thread is not None:
            self._hurried.set()
            self._thread.join()

    def write_now(self, snapshots: Iterable[Snapshot], pause: Callable[[], None] = lambda: None) -> bool:
        """Writes in the caller's thread. A failure is logged and counted: older snapshots stay, nothing is lost.

        Args:
            snapshots: as they were taken.
            pause: called between blocks.

        Returns:
            Whether all were written.
        """
        whole = True
        for snapshot in snapshots:
            started = self._clock.monotonic()
            try:
                path = self._store.write(snapshot, pause)
                size = path.stat().st_size
            except OSError as error:
                whole = False
                self._metrics.snapshot_failures.inc()
                _log.warning("snapshot not written", partition=snapshot.partition, error=str(error))
                continue
            self._metrics.snapshot_written(
                snapshot.partition, size, self._clock.monotonic() - started, self._clock.wall_ms() / 1000
            )
        return whole
