"""Snapshots: complete or refused, the newest that is not ahead, a bounded number."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parts import MODEL, TurnedClock
from prometheus_client import CollectorRegistry

from forecaster import Batch, CheckpointError, Forecaster, ModelConfig
from service.monitoring.metrics import Metrics
from service.partitions.schedule import Progress
from service.snapshots.file import folder_of, read, take, write
from service.snapshots.store import SnapshotStore
from service.snapshots.writer import SnapshotWriter


def forecaster_after(events: int) -> Forecaster:
    """Returns a forecaster after a number of events."""
    found = Forecaster(ModelConfig(**{**MODEL, "quantiles": (0.1, 0.5, 0.9)}), max_series=10, history_events=50)
    times = np.arange(events, dtype=np.int64) * 1000
    found.observe(Batch([f"s{i % 3}" for i in range(events)], times, np.sin(times / 7000.0)))
    return found


def store_of(root: Path, keep: int = 3) -> SnapshotStore:
    """Returns a store with metrics of its own."""
    return SnapshotStore(root, keep, Metrics(CollectorRegistry()))


def refused(store: SnapshotStore, reason: str) -> float | None:
    """Returns the number of snapshots that a store refused."""
    return store._metrics.registry.get_sample_value("forecaster_snapshots_refused_total", {"reason": reason})


def assert_same(got: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    """Asserts that all arrays are equal, bit for bit."""
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype, name
        assert np.array_equal(got[name], array, equal_nan=array.dtype.kind == "f"), name


class TestRoundTrip:
    """Writing and reading."""

    def test_same_state(self, tmp_path: Path) -> None:
        """Every array, the position and the schedule are restored unchanged."""
        forecaster = forecaster_after(20)
        taken = take("p", 17, forecaster, Progress(20, 0, 19_000, 13))
        got = read(write(tmp_path, taken, 3)[0])

        assert (got.partition, got.position, got.progress) == ("p", 17, taken.progress)
        assert got.library == taken.library
        assert_same(got.arrays, forecaster.state())

    def test_detached(self, tmp_path: Path) -> None:
        """A captured snapshot is unaffected by later events."""
        forecaster = forecaster_after(20)
        before = {name: array.copy() for name, array in forecaster.state().items()}
        taken = take("p", 17, forecaster, Progress())
        forecaster.observe(Batch(["s0", "new"], np.array([99_000, 99_000]), np.array([5.0, 6.0])))

        assert_same(read(write(tmp_path, taken, 3)[0]).arrays, before)

    @pytest.mark.parametrize("partition", ["0", "../../etc", "logs/*.jsonl", ".", "..", "x" * 400, "ä/ö"])
    def test_any_partition_name(self, tmp_path: Path, partition: str) -> None:
        """A partition of any name gets a folder of its own below the root."""
        path, _ = write(tmp_path / "root", take(partition, 1, forecaster_after(1), Progress()), 3)

        assert path.parent.parent == tmp_path / "root"
        assert store_of(tmp_path / "root").newest(partition, 1) is not None

    def test_long_names_differ(self, tmp_path: Path) -> None:
        """Two long names with the same beginning do not share a folder."""
        assert folder_of(tmp_path, "x" * 300 + "a") != folder_of(tmp_path, "x" * 300 + "b")


class TestChoice:
    """The snapshot that is used."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> SnapshotStore:
        """A store with snapshots at 10, 20 and 30."""
        store = store_of(tmp_path)
        for position in (10, 20, 30):
            store.write(take("p", position, forecaster_after(position), Progress(position)))
        return store

    def test_newest_not_ahead(self, store: SnapshotStore) -> None:
        """The newest snapshot at or before the committed position is used; those ahead are deleted for good."""
        found = store.newest("p", 25)

        assert found is not None
        assert found.position == 20
        assert refused(store, "ahead") == 1
        later = store.newest("p", 40)
        assert later is not None
        assert later.position == 20

    def test_last_ones_are_kept(self, store: SnapshotStore) -> None:
        """Beyond the wanted number the oldest snapshots are deleted, by number and not by name."""
        store.write(take("p", 100, forecaster_after(1), Progress()))
        names = sorted(int(path.stem) for path in folder_of(store.root, "p").iterdir())

        assert names == [20, 30, 100]

    def test_unfit(self, store: SnapshotStore) -> None:
        """A snapshot that the caller rejects is skipped and counted."""
        found = store.newest("p", 30, lambda snapshot: "no" if snapshot.position == 30 else "")

        assert found is not None
        assert found.position == 20
        assert refused(store, "unfit") == 1

    def test_misplaced(self, store: SnapshotStore) -> None:
        """A file that was renamed to another position or partition is refused."""
        folder = folder_of(store.root, "p")
        (folder / f"{20:020d}.snapshot").rename(folder / f"{29:020d}.snapshot")
        found = store.newest("p", 29)

        assert found is not None
        assert found.position == 10
        assert refused(store, "misplaced") == 1

    def test_half_written(self, store: SnapshotStore) -> None:
        """A half-written file is ignored."""
        (folder_of(store.root, "p") / f"{35:020d}.snapshot.tmp").write_bytes(b"half")
        found = store.newest("p", 40)

        assert found is not None
        assert found.position == 30


class TestDamage:
    """Torn and flipped files."""

    def test_torn_anywhere(self, tmp_path: Path) -> None:
        """A file cut short at any place of any region is refused, and the one before is used."""
        store = store_of(tmp_path)
        store.write(take("p", 1, forecaster_after(5), Progress()))
        path = store.write(take("p", 2, forecaster_after(9), Progress()))
        whole = path.read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")
        cuts = {0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1}
        cuts |= set(range(0, len(whole), max(1, len(whole) // 60)))
        for cut in sorted(cuts):
            path.write_bytes(whole[:cut])
            found = store.newest("p", 2)
            assert found is not None
            assert found.position == 1, cut

    def test_flipped_anywhere(self, tmp_path: Path) -> None:
        """A single flipped bit in the length, the header or any array is detected."""
        path, _ = write(tmp_path, take("p", 2, forecaster_after(9), Progress()), 3)
        whole = path.read_bytes()
        rng = random.Random(3)
        header = 8 + int.from_bytes(whole[:8], "little")
        # The spaces that pad the header to a multiple of eight carry no data.
        places = [*range(8), *(rng.randrange(8, header - 8) for _ in range(60))]
        places += [rng.randrange(header, len(whole)) for _ in range(60)]
        for place in places:
            flipped = bytearray(whole)
            flipped[place] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            with pytest.raises(CheckpointError):
                read(path)

    def test_all_damaged(self, tmp_path: Path) -> None:
        """Without an intact snapshot none is used, and each is counted; none is deleted."""
        store = store_of(tmp_path)
        for position in (1, 2):
            store.write(take("p", position, forecaster_after(5), Progress())).write_bytes(b"junk")

        assert store.newest("p", 2) is None
        assert refused(store, "damaged") == 2
        assert len(list(folder_of(tmp_path, "p").iterdir())) == 2


class TestWriter:
    """The background thread."""

    def test_writes(self, tmp_path: Path) -> None:
        """A submitted snapshot is written after the wait."""
        store = store_of(tmp_path)
        writer = SnapshotWriter(store, store._metrics, TurnedClock())

        assert writer.submit([take("p", 3, forecaster_after(5), Progress())])
        writer.wait()
        assert store.newest("p", 3) is not None
        assert not writer.busy

    def test_failure_is_counted(self, tmp_path: Path) -> None:
        """A folder that cannot be written is counted and logged, and other partitions' snapshots are written."""
        store = store_of(tmp_path / "root")
        store.write(take("p", 3, forecaster_after(5), Progress()))
        (tmp_path / "root" / "q").write_bytes(b"a file where a folder should be")
        writer = SnapshotWriter(store, store._metrics, TurnedClock())
        snapshots = [take(name, 4, forecaster_after(5), Progress()) for name in ("q", "p")]

        assert not writer.write_now(snapshots)
        assert store._metrics.registry.get_sample_value("forecaster_snapshot_failures_total") == 1
        newest = store.newest("p", 4)
        assert newest is not None
        assert newest.position == 4
