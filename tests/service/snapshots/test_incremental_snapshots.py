"""Incremental snapshots: based on a verified full one, which is kept as long as needed and renewed now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import Bench, TurnedClock, event
from prometheus_client import CollectorRegistry

from forecaster import Batch, CheckpointError, Forecaster, Model, ModelConfig
from service.monitoring.metrics import Metrics
from service.partitions.schedule import Progress
from service.snapshots import store as snapshot_store
from service.snapshots.file import Base, base_of, folder_of, kept, needed, newest_first, position_of, read, take
from service.snapshots.sharing import SharedSnapshots
from service.snapshots.store import SnapshotStore
from service.snapshots.writer import SnapshotWriter
from service.transport.memory import MemoryLog

MODEL = Model.initial(ModelConfig(hidden_size=16, head_size=16, horizon=3, quantiles=(0.1, 0.5, 0.9)))
SERIES = 40


class Held:
    """A forecaster of 40 series whose snapshots are written by a store."""

    def __init__(self, root: Path, keep: int = 3, shared: SharedSnapshots | None = None) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.store = SnapshotStore(root, keep, self.metrics, shared)
        self.forecaster = Forecaster(MODEL, max_series=100, history_events=1000)
        self.position = 0
        self.observe([f"s{i}" for i in range(SERIES)])
        self.states: dict[int, dict[str, Any]] = {}

    def observe(self, names: list[str]) -> None:
        """Observes an event of each series."""
        self.position += len(names)
        times = np.full(len(names), 1_700_000_000_000 + self.position * 60_000)
        self.forecaster.observe(Batch(names, times, np.arange(len(names)) + 1.0))

    def write(self) -> Path:
        """Writes a snapshot of the kind that the store chooses."""
        self.states[self.position] = {name: array.copy() for name, array in self.forecaster.state().items()}
        since = self.store.base("p", self.position, self.forecaster)
        return self.store.write(take("p", self.position, self.forecaster, Progress(self.position), since))

    def chain(self, more: int) -> list[Path]:
        """Writes two full snapshots, then `more` incremental ones."""
        paths = [self.write()]
        for name in ["s1", *(["s2"] * more)][: more + 1]:
            self.observe([name])
            paths.append(self.write())
        return paths

    def newest(self) -> int | None:
        """Returns the position of the newest usable snapshot after comparing its state with the one written."""
        found = self.store.newest("p", self.position)
        if found is None:
            return None
        back = Forecaster.from_state(found.arrays, found.library, MODEL, max_series=100, history_events=1000)
        for name, array in back.state().items():
            assert array.tobytes() == self.states[found.position][name].tobytes(), name
        return found.position

    def refused(self, reason: str) -> float | None:
        """Returns the number of refused snapshots."""
        return self.metrics.registry.get_sample_value("forecaster_snapshots_refused_total", {"reason": reason})


@pytest.fixture
def held(tmp_path: Path) -> Held:
    """A forecaster with an empty store."""
    return Held(tmp_path)


def is_whole(path: Path) -> bool:
    """Returns whether a snapshot is full."""
    return position_of(path) == base_of(path)


class TestChain:
    """The kind of the next snapshot."""

    def test_two_whole_ones_then_changes(self, held: Held) -> None:
        """The second snapshot is full too, so that no file is needed by all; incremental ones are small."""
        first, second, third, fourth = held.chain(2)

        assert [is_whole(path) for path in (first, second, third, fourth)] == [True, True, False, False]
        assert base_of(third) == base_of(fourth) == position_of(second)
        assert third.stat().st_size < second.stat().st_size / 4
        assert held.newest() == held.position

    def test_whole_again_when_much_changed(self, held: Held) -> None:
        """A snapshot whose changes exceed half the size of a full one is full."""
        held.chain(1)
        held.observe([f"s{i}" for i in range(30)])

        assert is_whole(held.write())
        held.observe(["s1"])
        assert not is_whole(held.write())
        assert held.newest() == held.position

    def test_whole_again_after_so_many(self, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
        """A base has a bounded number of incremental snapshots."""
        monkeypatch.setattr(snapshot_store, "MOST_CHANGES", 2)
        paths = held.chain(5)

        assert [is_whole(path) for path in paths] == [True, True, False, False, True, False, False]

    def test_whole_at_the_same_position(self, held: Held) -> None:
        """A snapshot at the position of its base is full, and replaces an incremental one there."""
        *_, last = held.chain(1)
        again = held.write()  # incremental again, under the same name
        assert again == last
        held.store._full["p"].changes = snapshot_store.MOST_CHANGES
        whole = held.write()

        assert is_whole(whole)
        assert not last.exists()
        assert is_whole(held.write())
        assert held.newest() == held.position

    def test_whole_after_a_start(self, held: Held) -> None:
        """The first snapshot after a start, or of another forecaster, is full, because changes are unknown."""
        held.chain(2)
        held.forecaster = Forecaster.from_state(
            held.forecaster.state(), held.forecaster.header(), MODEL, max_series=100, history_events=1000
        )
        held.observe(["s1"])
        assert is_whole(held.write())
        held.observe(["s1"])
        assert not is_whole(held.write())

    def test_whole_where_the_base_is_gone(self, held: Held) -> None:
        """A deleted base is not used."""
        _, base, _ = held.chain(1)
        base.unlink()
        held.observe(["s1"])

        assert is_whole(held.write())

    def test_whole_when_it_is_to_be_shared(self, tmp_path: Path) -> None:
        """Other machines get full snapshots only, so a full one is written whenever a copy is due."""
        offered: list[tuple[int, str]] = []

        class Exchange:
            def offer(self, partition: str, position: int, path: Path) -> None:
                offered.append((position, read(path).kind))

            def newest(self, partition: str) -> int | None:
                return None

            def fetch(self, partition: str) -> bytes | None:
                return None

        clock = TurnedClock()
        held = Held(tmp_path, shared=SharedSnapshots(Exchange(), 100.0, Metrics(CollectorRegistry()), clock))
        held.chain(2)
        clock.now += 101
        held.observe(["s1"])
        assert is_whole(held.write())
        held.observe(["s1"])
        assert not is_whole(held.write())
        assert offered == [(40, "full"), (43 + 1, "full")]

    def test_what_other_machines_need_is_kept(self, tmp_path: Path) -> None:
        """Nothing behind the newest uploaded copy may be deleted, however many newer snapshots this machine has."""
        broken = [True]

        class Exchange:
            def offer(self, partition: str, position: int, path: Path) -> None:
                if broken[0]:
                    msg = "no broker"
                    raise OSError(msg)

            def newest(self, partition: str) -> int | None:
                return None

            def fetch(self, partition: str) -> bytes | None:
                return None

        clock = TurnedClock()
        held = Held(tmp_path, shared=SharedSnapshots(Exchange(), 100.0, Metrics(CollectorRegistry()), clock))
        every = [f"s{i}" for i in range(SERIES)]
        for _ in range(4):
            held.write()
            held.observe(every)
        assert held.store.oldest_needed("p") is None  # no upload has succeeded
        broken[0] = False
        shared = position_of(held.write())
        for _ in range(5):
            held.observe(every)
            held.write()
        assert held.store.oldest_needed("p") == shared
        clock.now += 101
        held.observe(every)
        held.write()
        assert shared < (held.store.oldest_needed("p") or 0) < held.position


class TestDamage:
    """Damaged files."""

    def test_changes_damaged(self, held: Held) -> None:
        """A damaged incremental snapshot is skipped for the one before, which does not depend on it."""
        *_, before, last = held.chain(3)
        last.write_bytes(last.read_bytes()[:-1])

        assert held.newest() == position_of(before)
        assert held.refused("damaged") == 1

    @pytest.mark.parametrize("damage", ["flipped", "torn", "missing", "another"])
    def test_base_damaged(self, held: Held, damage: str) -> None:
        """All snapshots on a damaged base are refused with the reason, and the full one before them is used."""
        first, base, *_, last = held.chain(3)
        data = bytearray(base.read_bytes())
        if damage == "missing":
            base.unlink()
        elif damage == "another":
            base.write_bytes(first.read_bytes())
        elif damage == "torn":
            base.write_bytes(data[: len(data) // 2])
        else:
            data[-5] ^= 4
            base.write_bytes(data)

        with pytest.raises(CheckpointError, match=r"the full snapshot that it depends on cannot be used: .*"):
            read(last)
        assert held.newest() == position_of(first)
        assert held.refused("damaged") >= 3

    def test_moved_to_another_base(self, held: Held) -> None:
        """The base in the name and the base in the header must agree."""
        first, base, last = held.chain(1)
        moved = last.with_name(last.name.replace(f"{position_of(base):020d}.", f"{position_of(first):020d}."))
        last.rename(moved)

        with pytest.raises(CheckpointError, match=r"got the base 41 in the header, expected 40"):
            read(moved)

    def test_killed_while_changes_were_written(self, held: Held) -> None:
        """A half-written incremental snapshot is ignored, and deleted with the next snapshot."""
        *_, last = held.chain(2)
        half = last.rename(last.with_name(last.name + ".tmp"))

        assert held.newest() == held.position - 1
        held.observe(["s1"])
        held.write()
        assert not half.exists()

    def test_ahead(self, held: Held) -> None:
        """Snapshots ahead of the committed position are deleted, the base of those behind is not."""
        _, base, third, *ahead = held.chain(3)
        held.position = position_of(third)

        assert held.newest() == held.position
        assert base.exists()
        assert not any(path.exists() for path in ahead)


class TestPruning:
    """The files that are kept."""

    def test_the_base_stays_and_one_beside_it(self, held: Held) -> None:
        """Three restore points are kept with their bases, and one on another base."""
        first, base, *changes = held.chain(6)

        assert {path for path in (first, base, *changes) if path.exists()} == {first, base, *changes[-3:]}
        assert held.store.oldest_needed("p") == position_of(first)
        held.observe([f"s{i}" for i in range(SERIES)])
        whole = held.write()
        assert set(newest_first(whole.parent)) == {whole, *changes[-2:], base}
        assert held.store.oldest_needed("p") == position_of(changes[-2])

    def test_of_one_only(self, tmp_path: Path) -> None:
        """With `keep` 1 a snapshot and its base are kept."""
        held = Held(tmp_path, keep=1)
        first = held.write()
        held.observe(["s1"])
        second = held.write()

        assert not is_whole(second)
        assert set(newest_first(first.parent)) == {first, second}
        assert held.store.oldest_needed("p") == position_of(second)

    @given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
    @settings(max_examples=200)
    def test_no_base_is_ever_missing(self, wholes: list[bool], keep: int) -> None:
        """For any order of kinds, kept snapshots have their base, and are as many as wanted."""
        files: list[Path] = []
        base = 0
        for position, whole in enumerate([True, *wholes], 1):
            base = position if whole else base
            name = f"{position:020d}.snapshot" if whole else f"{position:020d}-{base:020d}.snapshot"
            files = sorted([*files, Path(name)], key=position_of, reverse=True)
            files = [path for path in files if path in needed(files, keep)]
            assert {base_of(path) for path in files} <= {position_of(path) for path in files if is_whole(path)}
            points = kept(files, keep)
            assert [position_of(path) for path in points][:keep] == list(range(position, max(0, position - keep), -1))
            assert len(files) <= 2 * keep + 2


class TestEngine:
    """A daemon whose series are mostly silent."""

    def lines(self) -> dict[str, list[bytes]]:
        """Returns sixty series once, then three of them repeatedly, with new ones now and then."""
        once = [event(i // 60, f"s{i % 60}") for i in range(120)]
        again = [event(2 + i // 3, f"s{i % 3}" if i % 20 else f"n{i}") for i in range(180)]
        return {"0": once + again}

    def bench(self, folder: Path, log: MemoryLog, at: int = -1) -> Bench:
        """Returns an engine with a snapshot per batch, killed between the batch that ends at `at` and its snapshot."""
        found = Bench(folder, log, {"input": {"max_poll_records": 10}, "state": {"max_series": 66}})

        def on_unit(unit: Any) -> None:
            found.engine._writer.wait()
            found.clock.now += 61
            if unit.next_position == at:
                raise KeyboardInterrupt

        found.on_unit = on_unit
        return found

    @pytest.mark.parametrize("damage", ["none", "changes", "base"])
    def test_stopped_anywhere(self, tmp_path: Path, damage: str) -> None:
        """A daemon killed between snapshots of any kind, with damaged files, publishes as an undisturbed one."""
        quiet, killed = MemoryLog(self.lines()), MemoryLog(self.lines())
        self.bench(tmp_path / "a", quiet).run()
        kinds, refused = set(), 0.0
        for at in (130, 170, 180, 240, 290):
            found = self.bench(tmp_path / "b", killed, at)
            with pytest.raises(KeyboardInterrupt):
                found.run()
            found.engine._writer.wait()
            paths = newest_first(folder_of(tmp_path / "b" / "snapshots", "0"))
            kinds |= {is_whole(path) for path in paths}
            assert paths
            if damage != "none" and not is_whole(paths[0]):
                hit = paths[0] if damage == "changes" else next(p for p in paths if position_of(p) == base_of(paths[0]))
                hit.write_bytes(hit.read_bytes()[:-3])
            refused += found.sample("snapshots_refused_total", reason="damaged")
        self.bench(tmp_path / "b", killed).run()

        assert kinds == {True, False}
        assert (refused > 0) == (damage != "none")
        assert killed.forecasts("0") == quiet.forecasts("0")


def test_the_writer_counts_kinds(held: Held) -> None:
    """The writer counts snapshots and bytes by kind."""
    writer = SnapshotWriter(held.store, held.metrics, TurnedClock())
    for name in ("s1", "s2", "s3"):
        held.observe([name])
        since = held.store.base("p", held.position, held.forecaster)
        assert writer.write_now([take("p", held.position, held.forecaster, Progress(), since)])
    value = held.metrics.registry.get_sample_value
    counts = {kind: value("forecaster_snapshots_written_total", {"kind": kind}) for kind in ("full", "incremental")}
    sizes = {kind: value("forecaster_snapshot_written_bytes_total", {"kind": kind}) for kind in ("full", "incremental")}
    paths = newest_first(folder_of(held.store.root, "p"))

    assert counts == {"full": 2, "incremental": 1}
    assert sizes["incremental"] == paths[0].stat().st_size
    assert sizes["full"] == sum(path.stat().st_size for path in paths[1:])


def test_a_base_is_named_by_its_contents(held: Held) -> None:
    """The header of an incremental snapshot has the position and the checksum of its base."""
    _, second, third = held.chain(1)
    whole = held.store._full["p"]

    assert whole.path == second
    assert read(third).base == Base(position_of(second), whole.base.sha256)
