"""Standard input, kept in files so that a restart can replay it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from contract import unit_of

from service.config.load import load_config
from service.sources import stdin_spool as spool_module
from service.sources.file_source import FileSource
from service.sources.stdin_spool import Spool
from service.transport.build import build_local


def run(folder: Path, *pieces: bytes, **how) -> Spool:
    """Spools pieces to their end."""
    reader, writer = os.pipe()
    spool = Spool(folder, descriptor=reader, **how)
    spool.start()
    for piece in pieces:
        os.write(writer, piece)
    os.close(writer)
    assert spool._thread is not None
    spool._thread.join()
    os.close(reader)
    return spool


def values(spool: Spool) -> list[bytes]:
    """Returns the values that the engine reads."""
    source = FileSource(spool.pattern, growing=spool.growing, required=False)
    source.open([], None)
    found: list[bytes] = []
    while (records := source.read(100)) is not None:
        found += records.values
    assert source.finished()
    source.close()
    return found


@pytest.mark.parametrize(
    ("start", "suffix"),
    [(b'{"a":1}\n', "jsonl"), (b"\n \xef\xbb\xbf", "csv"), (b"a,b\n1,2\n", "csv"), (b"m a=1 7\n", "influx")],
)
def test_format(tmp_path, start, suffix):
    """An object in the first line means JSON lines, any other start CSV."""
    (segment,) = run(tmp_path, start).segments()
    assert segment.name == f"000000000001.{suffix}"
    assert segment.read_bytes().rstrip(b"\n") == start.rstrip(b"\n")


def test_configured_format(tmp_path):
    """A configured format is not detected from the content."""
    assert run(tmp_path, b"{}\n", format_setting="csv").segments()[0].suffix == ".csv"


def test_pieces(tmp_path):
    """Lines may arrive in pieces, and the last one needs no line end."""
    assert values(run(tmp_path, b"a,", b"b\n1,", b"2\n3", b",4")) == [b"1,2", b"3,4"]


def test_nothing(tmp_path):
    """An empty standard input yields no segment and no record, and ends."""
    spool = run(tmp_path)
    assert spool.segments() == []
    assert values(spool) == []


def test_every_start_has_its_own_segment(tmp_path):
    """The second standard input follows the first, with a header of its own."""
    run(tmp_path, b"a,b\n1,2\n")
    assert values(run(tmp_path, b"b,a\n3,4\n")) == [b"1,2", b"3,4"]


@pytest.mark.parametrize("name", ["a[1]", "a*", "[!b]?"])
def test_a_folder_named_like_a_glob(tmp_path, name):
    """A folder name with glob characters is taken literally."""
    (tmp_path / "a1").mkdir()
    assert values(run(tmp_path / name / "spool", b"a,b\n1,2\n")) == [b"1,2"]


def test_half_a_line_before_a_crash(tmp_path):
    """A line cut by a crash is not read."""
    (tmp_path / "000000000001.jsonl").write_bytes(b'{"n":1}\n{"n":2')
    assert values(run(tmp_path, b'{"n":3}\n')) == [b'{"n":1}', b'{"n":3}']


def test_segments(tmp_path, monkeypatch):
    """A long stream is split into segments between two lines, each with the header."""
    monkeypatch.setattr(spool_module, "_CHUNK", 16)
    lines = [b"%d,x\n" % n for n in range(50)]
    spool = run(tmp_path, b"a,b\n", *lines, segment_bytes=40)
    segments = spool.segments()
    assert len(segments) > 2
    assert all(segment.read_bytes().startswith(b"a,b\n") for segment in segments)
    assert values(spool) == [line.strip() for line in lines]
    spool.release(str(segments[2]))
    assert spool.segments() == segments[2:]


def test_growing(tmp_path):
    """The spool grows while the pipe is open; a second start does not copy twice."""
    reader, writer = os.pipe()
    spool = Spool(tmp_path, descriptor=reader)
    spool.start()
    spool.start()
    assert spool.growing()
    os.write(writer, b"a,b\n1,2\n")
    os.close(writer)
    spool._thread.join()
    assert not spool.growing()
    assert values(spool) == [b"1,2"]
    os.close(reader)


def test_disk_full(tmp_path, monkeypatch):
    """On a full disk the copy waits and loses no byte."""
    full = threading.Event()
    write, failures = os.pwrite, []

    def pwrite(*arguments):
        if len(failures) < 2:
            failures.append(arguments)
            raise OSError(errno.ENOSPC, "No space left on device")
        full.set()
        return write(*arguments)

    monkeypatch.setattr(spool_module.os, "pwrite", pwrite)
    monkeypatch.setattr(spool_module, "_RETRY_SECONDS", 0.01)
    assert values(run(tmp_path, b"a,b\n1,2\n")) == [b"1,2"]
    assert full.is_set()
    assert len(failures) == 2


PROGRAM = """
import sys
from service.config.load import load_config
from service.ports import Unit
from service.transport.build import build_local
transport = build_local(load_config(None, {"input.files": "-", "state.data_dir": sys.argv[1]}))
transport.start()
publish = int(sys.argv[2])
values = []
while not transport.finished():
    records = transport.poll(2, 1.0)
    if records is None:
        continue
    if publish == 0:
        import os
        os._exit(9)
    publish -= 1
    values += [value.decode() for value in records.values]
    position = records.positions[0] if records.positions else records.next_position
    transport.publish(Unit(records.partition, position, records.next_position, [], []))
print(transport.partitions(), *values)
"""


def test_one_copy_per_process(tmp_path):
    """A new transport in the same process continues with the running copy."""
    settings = load_config(None, {"input.files": "-", "state.data_dir": tmp_path})
    first, second = build_local(settings), build_local(settings)
    assert first.source._spools["stdin"] is second.source._spools["stdin"]
    reader, writer = os.pipe()
    first.source._spools["stdin"]._descriptor = reader
    first.start()
    os.write(writer, b"a,b\n1,2\n3,")
    while (records := first.poll(9, 1.0)) is None or not records.values:
        pass
    first.close()
    second.start()
    os.write(writer, b"4\n")
    os.close(writer)
    values = []
    while not second.finished():
        if (records := second.poll(9, 1.0)) is not None:
            values += records.values
            second.publish(unit_of(records))
    assert values == [b"1,2", b"3,4"]
    second.close()
    os.close(reader)


def test_replayed_after_a_crash(tmp_path):
    """Input spooled before a crash is read by the next start, before the new standard input."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    crashed = subprocess.run([*command, "1"], input=b"a,b\n1,1\n2,2\n3,3\n", check=False)
    assert crashed.returncode == 9
    again = subprocess.run([*command, "99"], input=b"a,b\n4,4\n", capture_output=True, check=True)
    assert again.stdout == b"['stdin'] 3,3 4,4\n"


def test_names_are_synced(tmp_path, monkeypatch):
    """A segment's name is synced before later data is read, so that a machine crash loses no segment."""
    synced, sync_folder = [], spool_module.sync_folder

    def counted(folder: Path) -> None:
        synced.append({path.name for path in folder.iterdir()})
        sync_folder(folder)

    monkeypatch.setattr(spool_module, "sync_folder", counted)
    monkeypatch.setattr(spool_module, "_CHUNK", 50)
    spool = run(tmp_path, b'{"a":1}\n' * 50, segment_bytes=1)
    names = [path.name for path in spool.segments()]
    assert len(names) > 1
    assert list(dict.fromkeys(max(found) for found in synced)) == names
