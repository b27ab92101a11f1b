"""The spool of deliveries: an ordered queue on disk that survives the process, bounded, read in batches."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.deliveries.delivery import BatchLimit, Delivery, Spooled
from service.deliveries.segments import Written
from service.deliveries.spool import DeliverySpool

KEY = ("0", "")
ALL = BatchLimit(10**6, 10**9)


def opened(folder: Path, most_bytes: int = 1 << 20, segment_bytes: int = 4096, output: str = "o") -> DeliverySpool:
    """Returns an open spool whose partition "0" begins at -1."""
    spool = DeliverySpool(folder, most_bytes, segment_bytes)
    spool.open(output)
    spool.begin("0", -1)
    return spool


def unit(number: int, count: int = 1, size: int = 10) -> list[Delivery]:
    """Returns the deliveries of a unit."""
    return [Delivery("t", 0, f"{number}/{part}", bytes([number % 256]) * size) for part in range(count)]


def drained(spool: DeliverySpool, limit: BatchLimit = ALL) -> list[str]:
    """Sends all; returns the identities."""
    found: list[str] = []
    while (batch := spool.read(limit)) is not None:
        found += [one.identity for one in batch.deliveries]
        spool.acknowledge(batch)
    return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 4), st.sampled_from([0, 10, 3000, 9000])),
        st.tuples(st.just("read"), st.integers(1, 5), st.sampled_from([1, 100, 10_000])),
        st.tuples(st.just("reopen")),
        st.tuples(st.just("sync")),
    ),
    max_size=60,
)


class TestQueue:
    """The order of the deliveries, and what survives the process."""

    @settings(max_examples=60, deadline=None)
    @given(steps=STEPS)
    def test_it_is_a_list_whatever_the_batches_and_restarts(
        self, steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A naive twin: a list."""
        folder = tmp_path_factory.mktemp("spool")
        spool, waiting, number = opened(folder, 1 << 30), list[Spooled](), 0
        for what, *arguments in steps:
            if what == "append":
                count, size = arguments
                number += 1
                deliveries = unit(number, int(str(count)), int(str(size)))
                assert spool.append(KEY, Written(number), deliveries, number) == 0
                waiting += [Spooled(one.identity, one.body) for one in deliveries]
            elif what == "read":
                limit = BatchLimit(int(str(arguments[0])), int(str(arguments[1])))
                batch = spool.read(limit)
                if batch is None:
                    assert not waiting
                    continue
                found = batch.deliveries
                assert found == waiting[: len(found)]
                assert len(found) == 1 or sum(len(one.body) for one in found) <= limit.bytes
                assert 1 <= len(found) <= limit.deliveries
                spool.acknowledge(batch)
                del waiting[: len(found)]
            elif what == "reopen":
                if number % 2:
                    spool.close()
                spool = opened(folder, 1 << 30)
            else:
                spool.sync()
            assert (spool.pending_bytes > 0) == bool(waiting)
        assert drained(spool) == [one.identity for one in waiting]
        assert spool.pending_bytes == 0
        assert len(list(folder.glob("*.spool"))) == 1

    def test_written_survives_with_the_deliveries(self, tmp_path: Path) -> None:
        """How far each partition is written is read from segments; another output begins anew."""
        spool = opened(tmp_path)
        for number in range(1, 30):
            spool.append(KEY, Written(number), unit(number, 2, 500), 0)
            spool.append(("1", "g"), Written(number, 7), unit(number, 1, 500), 0)
        drained(spool)
        again = opened(tmp_path)
        assert again.written(KEY) == Written(29)
        assert again.written(("1", "g")) == Written(29, 7)
        assert opened(tmp_path, output="another").written(KEY) == Written(-1)

    def test_a_unit_that_was_cut_off_is_not_written(self, tmp_path: Path) -> None:
        """A power loss in the middle of a unit."""
        spool = opened(tmp_path)
        spool.append(KEY, Written(5), unit(1, 3), 0)
        spool.append(KEY, Written(9), unit(2, 3), 0)
        (path,) = tmp_path.glob("*.spool")
        os.truncate(path, path.stat().st_size - 1)
        with capture_logs() as logs:
            again = opened(tmp_path)
        assert [one["event"] for one in logs] == ["deliveries cut off"]
        assert again.written(KEY) == Written(5)
        assert drained(again) == ["1/0", "1/1", "1/2", "2/0", "2/1"]  # the others are repeated with the same identity
        again.append(KEY, Written(9), unit(2, 3), 0)
        assert drained(again) == ["2/0", "2/1", "2/2"]

    def test_a_record_of_what_was_sent_that_is_ahead_of_a_cut_repeats(self, tmp_path: Path) -> None:
        """The record reached the disk, the deliveries did not."""
        spool = opened(tmp_path)
        spool.append(KEY, Written(5), unit(1), 0)
        (path,) = tmp_path.glob("*.spool")
        size = path.stat().st_size
        spool.append(KEY, Written(9), unit(2), 0)
        drained(spool)
        os.truncate(path, size)
        again = opened(tmp_path)
        again.append(KEY, Written(9), unit(2), 0)
        assert drained(again) == ["2/0"]

    def test_a_batch_that_was_not_acknowledged_is_the_same_after_a_kill(self, tmp_path: Path) -> None:
        """Whatever was appended meanwhile, and whatever the limit is now."""
        spool = opened(tmp_path)
        spool.append(KEY, Written(1), unit(1, 5), 0)
        drained(spool)
        spool.append(KEY, Written(2), unit(2, 5), 0)
        batch = spool.read(BatchLimit(3, 1000))
        spool.append(KEY, Written(3), unit(3, 5), 0)
        again = opened(tmp_path)
        again.append(KEY, Written(4), unit(4, 5), 0)
        assert again.read(ALL) == batch
        assert drained(again)[3:] == [f"{number}/{part}" for number in (2, 3, 4) for part in range(5)][3:]

    def test_a_segment_without_head_is_left_out(self, tmp_path: Path) -> None:
        """Zeros are what a power loss may leave."""
        spool = opened(tmp_path)
        spool.append(KEY, Written(5), unit(1), 0)
        (tmp_path / "000000000002.spool").write_bytes(b"\0" * 100)
        with capture_logs() as logs:
            again = opened(tmp_path)
        assert [one["event"] for one in logs] == ["deliveries deleted, their file cannot be used"]
        assert again.written(KEY) == Written(5)
        assert drained(again) == ["1/0"]

    def test_a_damaged_segment_is_left_behind(self, tmp_path: Path) -> None:
        """A changed byte costs the rest of its segment."""
        spool = opened(tmp_path, segment_bytes=1000)
        for number in range(1, 6):
            spool.append(KEY, Written(number), unit(number, 1, 900), 0)
        first = min(tmp_path.glob("*.spool"))
        data = bytearray(first.read_bytes())
        data[-5] ^= 1
        first.write_bytes(bytes(data))
        with capture_logs() as logs:
            assert drained(opened(tmp_path)) == ["2/0", "3/0", "4/0", "5/0"]
        assert [one["event"] for one in logs] == ["deliveries are damaged and not sent"]


class TestBound:
    """The largest size on disk."""

    def test_the_oldest_are_dropped_and_counted(self, tmp_path: Path) -> None:
        """The newest stay, and the others are counted."""
        spool, dropped = opened(tmp_path, 16_000), 0
        for number in range(100):
            dropped += spool.append(KEY, Written(number), unit(number, 2, 500), 0)
            assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= 16_000 + 2 * 600
        left = drained(spool)
        assert left == [f"{n}/{part}" for n in range(100) for part in range(2)][-len(left) :]
        assert len(left) + dropped == 200
        assert dropped > 0

    def test_what_was_sent_is_not_counted_as_dropped(self, tmp_path: Path) -> None:
        """Segments that were acknowledged are deleted, not dropped."""
        spool = opened(tmp_path, 16_000)
        for number in range(100):
            assert spool.append(KEY, Written(number), unit(number, 2, 500), 0) == 0
            drained(spool)

    def test_a_batch_that_was_dropped_while_it_was_sent_is_no_error(self, tmp_path: Path) -> None:
        """Its acknowledgement comes late."""
        spool = opened(tmp_path, 16_000)
        spool.append(KEY, Written(0), unit(0), 0)
        batch = spool.read(ALL)
        assert batch is not None
        for number in range(1, 100):
            spool.append(KEY, Written(number), unit(number, 2, 500), 0)
        left = spool.read(ALL)
        spool.acknowledge(batch)
        assert spool.read(ALL) == left

    def test_a_full_disk_keeps_nothing_of_the_unit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next unit is written behind the former one."""
        spool = opened(tmp_path)
        spool.append(KEY, Written(1), unit(1), 0)
        write = os.write

        def full(file: int, data: bytes) -> int:
            write(file, bytes(data)[:7])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            spool.append(KEY, Written(2), unit(2), 0)
        monkeypatch.undo()
        spool.append(KEY, Written(3), unit(3), 0)
        assert drained(spool) == ["1/0", "3/0"]


def test_a_reader_waits_for_the_writer(tmp_path: Path) -> None:
    """`wait` ends with the next unit."""
    spool, found = opened(tmp_path), threading.Event()
    thread = threading.Thread(target=lambda: spool.wait(60) and found.set())
    thread.start()
    spool.append(KEY, Written(1), unit(1), 0)
    assert found.wait(60)
    thread.join()
