"""The spool of pushed events: acknowledged events are stored once and in order, whatever happens in between."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import config_of, event

from service.errors import SourceGoneError, TransportBusyError
from service.lifecycle import SystemClock
from service.messages.decode import Decoder
from service.registry.models import Registry
from service.sources.push_groups import sealed
from service.sources.push_log import PushClosedError, PushFailedError, PushFullError, PushLog
from service.sources.push_source import PushSource
from service.transport.build import connector, push_log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PushLog]:
    """An open, empty log; a segment is full after 200 bytes."""
    found = PushLog(tmp_path / "push", 1 << 20, 200)
    found.open(None)
    yield found
    found.close()


def lines(log: PushLog, start: int = 0, limit: int = 3) -> list[bytes]:
    """Returns all lines from a position on, read a few at a time."""
    found = list[bytes]()
    while (more := log.read(start, limit)) is not None:
        assert len(more.values) <= limit
        assert all(start <= position < more.next_position for position in more.positions)
        found, start = found + more.values, more.next_position
    return found


def test_reads_what_was_appended(log: PushLog) -> None:
    """Lines are read in order, across segments, and from any line's position on."""
    wanted = [b"line %d" % at for at in range(100)]
    for at in range(0, 100, 4):
        log.append(b"".join(line + b"\n" for line in wanted[at : at + 4]))
    assert len(list(log.folder.glob("*.jsonl"))) > 3
    assert lines(log) == wanted
    first = log.read(0, 50)
    assert first is not None
    for position, line in zip(first.positions, first.values, strict=True):
        assert lines(log, position) == wanted[wanted.index(line) :]
    assert lines(log, log.end) == []


def test_a_long_line(log: PushLog) -> None:
    """A line longer than one read is read in full."""
    wanted = [b"x" * 1_000_000, b"y" * 40_000]
    for line in wanted:
        log.append(line + b"\n")
    assert lines(log) == wanted


def test_cut_anywhere(tmp_path: Path) -> None:
    """After a crash within the last group all earlier groups are intact, and the last is complete or absent."""
    log = PushLog(tmp_path / "push", 1 << 20)
    log.open(None)
    log.append(b"a\nb\n")
    before = log.end
    log.append(b"c\nd\n")
    end = log.end
    log.close()
    (path,) = log.folder.glob("*.jsonl")
    data = path.read_bytes()
    for cut in range(before, end + 1):
        path.write_bytes(data[:cut] + (b"\0" * (end - cut) if cut % 2 else b""))
        again = PushLog(log.folder, 1 << 20)
        again.open(before)
        kept = [b"c", b"d"] if cut == end else []
        assert lines(again) == [b"a", b"b", *kept]
        again.append(b"e\n")
        assert lines(again) == [b"a", b"b", *kept, b"e"]
        again.close()


GROUPS = st.lists(
    st.lists(st.binary(max_size=6).map(lambda one: one.hex().encode()), min_size=1, max_size=4), min_size=1
)


def with_lines(groups: list[list[bytes]]) -> list[list[bytes]]:
    """Returns groups of distinct lines."""
    return [
        [b'{"%d":"%s"}' % (100 * at + nth, one) for nth, one in enumerate(group)] for at, group in enumerate(groups)
    ]


@settings(deadline=None)
@given(GROUPS, st.data())
def test_a_changed_byte_costs_its_line(groups: list[list[bytes]], data: st.DataObject) -> None:
    """A changed byte damages only its line; every other line is read unchanged at its position."""

    def draw(paths: list[Path]) -> tuple[Path, int, int]:
        path = data.draw(st.sampled_from(paths))
        bytes_ = path.read_bytes()
        at = data.draw(st.integers(0, len(bytes_) - 1))
        return path, at, data.draw(st.integers(1, 255).filter(lambda one: one != bytes_[at]))

    change_a_byte(with_lines(groups), draw)


@pytest.mark.parametrize("groups", [[[b""], [b""]], [[b"x", b"y"], [b"z", b""]]])
def test_each_byte(groups: list[list[bytes]]) -> None:
    """Every byte of a small log, changed to a meaningful or meaningless value, damages only its line."""
    written = with_lines(groups)
    size = sum(len(sealed(b"".join(line + b"\n" for line in group))) for group in written)
    for at in range(size):
        for value in b"\x01\n#=0 ":
            change_a_byte(written, lambda paths, at=at, value=value: (paths[0], at, value))  # type: ignore[misc]


def change_a_byte(written: list[list[bytes]], choose: Callable[[list[Path]], tuple[Path, int, int]]) -> None:
    """Writes a log, changes a byte of a segment, and compares the lines read afterwards."""
    with tempfile.TemporaryDirectory() as name:
        log = PushLog(Path(name) / "push", 1 << 20, 120)
        log.open(None)
        for group in written:
            log.append(b"".join(line + b"\n" for line in group))
        end, before = log.end, whole(log)
        log.close()
        path, at, value = choose(sorted(log.folder.glob("*.jsonl")))
        bytes_ = bytearray(path.read_bytes())
        bytes_[at] = value
        path.write_bytes(bytes_)
        place = int(path.stem) + at

        again = PushLog(log.folder, 1 << 20, 120)
        again.open(end)
        found = whole(again)
        good = {position: line for position, (line, problem) in found.items() if problem is None}
        untouched = {one: line for one, (line, _) in before.items() if not one <= place <= one + len(line)}
        # A lost line end merges two lines.
        lost = [one for one, line in untouched.items() if good.get(one) != line and one != place + 1]
        assert not lost
        assert good.items() <= {position: line for position, (line, _) in before.items()}.items()
        assert len(before) - len(good) <= 2
        assert all(problem in (None, "damaged") for _, problem in found.values())

        again.append(b"more\n")
        assert [line for line, _ in whole(again).values()][-1] == b"more"
        again.close()
        third = PushLog(log.folder, 1 << 20, 120)
        third.open(end)
        assert whole(third).items() >= found.items()
        third.close()


def whole(log: PushLog) -> dict[int, tuple[bytes, str | None]]:
    """Returns every line of a log by its position, with its problem, after comparing two ways of reading."""
    found, start = dict[int, tuple[bytes, str | None]](), 0
    while (more := log.read(start, 2)) is not None:
        read = zip(more.positions, more.values, strict=True)
        found |= {place: (line, more.problems.get(at)) for at, (place, line) in enumerate(read)}
        assert more.next_position > start
        start = more.next_position
    assert [line for line, _ in found.values()] == lines(log)
    return found


def test_logs_of_before(tmp_path: Path) -> None:
    """A log without checksums of lines is read; changed bytes damage their whole group."""
    log = PushLog(tmp_path / "push", 1 << 20)
    log.folder.mkdir(parents=True)
    groups = [b"a\nb\n", b"c\nd\n", b"e\n"]
    data = b"".join(group + b"#%08x %d\n" % (zlib.crc32(group), len(group)) for group in groups)
    path = log.folder / f"{0:020d}.jsonl"
    path.write_bytes(data)
    log.open(len(data))
    assert lines(log) == [b"a", b"b", b"c", b"d", b"e"]
    log.close()
    path.write_bytes(data.replace(b"c\n", b"x\n"))
    again = PushLog(log.folder, 1 << 20)
    again.open(len(data))
    assert list(whole(again).values()) == [
        (b"a", None), (b"b", None), (b"x", "damaged"), (b"d", "damaged"), (b"e", None),
    ]  # fmt: skip
    again.close()


def test_a_damaged_event_is_set_aside(tmp_path: Path) -> None:
    """The decoder rejects a damaged line, with its bytes, and accepts the lines around it."""
    settings = config_of(tmp_path, input={"push": True}).input
    log = PushLog(tmp_path / "push", 1 << 20)
    log.open(None)
    log.append(b"".join(event(step) + b"\n" for step in range(5)))
    end = log.end
    log.close()
    (path,) = log.folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"value":2.5', b'"value":9.5'))
    again = PushLog(log.folder, 1 << 20)
    source = PushSource(again)
    source.open([], None)
    records = source.read(100)
    assert records is not None
    assert records.next_position <= end
    decoded = Decoder(settings).decode(records)
    assert [one.reason for one in decoded.rejects] == ["damaged"]
    assert b"9.5" in decoded.rejects[0].value
    assert len(decoded) == 4
    again.close()


def test_many_at_once(log: PushLog) -> None:
    """Lines appended by many threads are stored once, in each thread's order, and each group together."""

    def push(sender: int) -> None:
        for at in range(20):
            log.append(b"%d:%d\n%d:%d\n" % (sender, 2 * at, sender, 2 * at + 1))

    threads = [threading.Thread(target=push, args=(sender,)) for sender in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [line.split(b":") for line in lines(log, limit=100)]
    assert [one[0] for one in found[::2]] == [one[0] for one in found[1::2]]
    for sender in range(8):
        assert [int(at) for who, at in found if int(who) == sender] == list(range(40))


def test_one_sync_for_many(log: PushLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appends during a sync share the next sync."""
    log.append(b"first\n")
    syncing, go_on, syncs, fsync = threading.Event(), threading.Event(), list[int](), os.fsync

    def slow(file: int) -> None:
        syncs.append(file)
        syncing.set()
        assert go_on.wait(60)
        fsync(file)

    monkeypatch.setattr(os, "fsync", slow)
    threads = [threading.Thread(target=log.append, args=(b"%d\n" % at,)) for at in range(6)]
    threads[0].start()
    assert syncing.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(log._group.lines) < 5:  # all others wait for the next sync
        threading.Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(syncs) == 2
    assert sorted(lines(log)) == [b"0", b"1", b"2", b"3", b"4", b"5", b"first"]


def test_full(tmp_path: Path) -> None:
    """Beyond the bound appends are refused, until old segments are released."""
    log = PushLog(tmp_path / "push", 1000)
    log.open(None)

    def fill() -> None:
        for _ in range(1000):
            log.append(b"x" * 49 + b"\n")

    with pytest.raises(PushFullError, match=r"expected at most 1000 \(input.push_spool\)"):
        fill()
    taken = len(lines(log))
    assert 10 < taken < 20
    log.release(log.end)
    log.append(b"more\n")
    assert log.size <= 1000
    with pytest.raises(SourceGoneError, match="segments begin at"):
        log.read(0, 1)
    assert lines(log, log.earliest())[-1] == b"more"
    log.close()


def test_disk_fails(log: PushLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append that fails on disk leaves no line, and the next one takes its position."""
    log.append(b"a\n")
    with monkeypatch.context() as patch:

        def failing(_: int) -> None:
            raise OSError(errno.ENOSPC, "no space left")

        patch.setattr(os, "fsync", failing)
        with pytest.raises(PushFailedError, match="no space left"):
            log.append(b"lost\n" * 100)
        assert lines(log) == [b"a"]
    log.append(b"b\n")
    assert lines(log) == [b"a", b"b"]
    log.close()
    again = PushLog(log.folder, 1 << 20)
    again.open(log.end)
    assert lines(again) == [b"a", b"b"]
    again.close()


def test_closed(tmp_path: Path) -> None:
    """A log that is not open refuses lines; two logs cannot share a folder."""
    log = PushLog(tmp_path / "push", 1 << 20)
    with pytest.raises(PushClosedError, match="starts or stops"):
        log.append(b"a\n")
    log.open(None)
    with pytest.raises(TransportBusyError, match=r"set another state\.data_dir"):
        PushLog(log.folder, 1 << 20).open(None)
    log.close()
    with pytest.raises(PushClosedError):
        log.append(b"a\n")
    PushLog(log.folder, 1 << 20).open(None)


def test_gone(tmp_path: Path) -> None:
    """A spool that ends before the committed position is an error, or continues there with "cold"."""
    log = PushLog(tmp_path / "push", 1 << 20)
    with pytest.raises(SourceGoneError, match="ends at position 0, but events up to position 77 were forecast"):
        PushSource(log).open([], 77)
    source = PushSource(log, cold=True)
    source.open([], 77)
    assert (source.position, source.earliest(), source.read(10)) == (77, 77, None)
    log.append(b"a\n")
    found = source.read(10)
    assert found is not None
    assert (list(found.positions), list(found.values)) == ([77], [b"a"])
    log.close()


def test_replay(log: PushLog) -> None:
    """A source continues at the committed position, and replays any earlier range with the same records."""
    for at in range(60):
        log.append(b"%d\n" % at)
    source = PushSource(log)
    source.open([], None)
    first = source.read(25)
    assert first is not None
    assert source.lag() == log.end - first.next_position
    again = PushSource(log)
    again.open([], first.next_position)
    rest = again.read(100)
    assert rest is not None
    read = [*first.values, *rest.values]
    assert read == [b"%d" % at for at in range(len(read))]
    replayed = [v for records in again.replay(first.positions[5], first.next_position, 7) for v in records.values]
    assert replayed == list(first.values[5:])


def test_released_by_the_engine(tmp_path: Path) -> None:
    """The configured transport reads the spool as a partition, and releases segments that no restart needs."""
    config = config_of(tmp_path, input={"push": True})
    spool = push_log(config)
    assert spool is not None
    spool._segment_bytes = 10
    transport = connector(config, Registry(tmp_path / "models", SystemClock()), spool)()
    transport.start()
    assert list(transport.partitions()) == ["push"]
    for _ in range(3):
        spool.append(b"0123456789\n")
    records = transport.poll(100, 0.0)
    assert records is not None
    assert len(records) < transport.lag()["push"] == spool.end
    held = spool.size
    transport.release("push", records.next_position)
    assert 0 < spool.size < held
    transport.close()
    spool.close()
