"""Pairs without a broker: the contract over files and SQLite, and over files and standard output."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from contract import RECORDS, TransportContract, World, read, unit_of

from service.config.load import load_config
from service.config.sections import Config
from service.errors import SinkClosedError, SinkUnavailableError, SourceGoneError
from service.ports import Transport, Unit
from service.sinks.sqlite_sink import SqliteSink
from service.sinks.stdout_sink import StdoutSink
from service.sources.file_source import FileSource
from service.sources.local import LocalSource
from service.transport.build import build_local
from service.transport.pair import Pair


def config(folder: Path, *files: object, **more: object) -> Config:
    """Returns a configuration over these files, with its data in the folder."""
    return load_config(None, {"input.files": [str(f) for f in files], "state.data_dir": folder / "data", **more})


def rows(path: Path, query: str) -> list[tuple]:
    """Returns the rows that another program reads from the file."""
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def stored(path: Path) -> list[bytes]:
    """Returns all forecasts in the file, in order."""
    if not path.exists():
        return []
    texts = rows(path, "SELECT forecasts FROM batches ORDER BY partition, position")
    return [json.dumps(one).encode() for (text,) in texts for one in json.loads(text)]


class TestSqliteContract(TransportContract):
    """The contract from files to SQLite."""

    @pytest.fixture(params=["plain", "gzip", "glob", "unfinished"])
    def world(self, request, tmp_path: Path) -> World:
        """The records of the contract in one of the kinds of files."""
        import gzip

        data = b"\n".join(RECORDS)
        entry = tmp_path / "events.jsonl"
        if request.param == "gzip":
            entry = tmp_path / "events.jsonl.gz"
            entry.write_bytes(gzip.compress(data + b"\n"))
        elif request.param == "glob":
            for start in range(0, len(RECORDS), 10):
                part = b"\n".join(RECORDS[start : start + 10])
                (tmp_path / f"part-{start:03}.jsonl").write_bytes(part)
            entry = tmp_path / "part-*.jsonl"
        else:
            entry.write_bytes(data if request.param == "unfinished" else data + b"\n")
        settings = config(tmp_path, entry)
        return World(
            lambda: build_local(settings),
            lambda transport: transport.close(),  # a real kill is tested below, in a process of its own
            lambda: stored(settings.output_path),
        )


class TestStdoutContract(TransportContract):
    """The contract from files to lines."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        """The records of the contract in a file, lines into a buffer."""
        entry = tmp_path / "events.jsonl"
        entry.write_bytes(b"\n".join(RECORDS) + b"\n")
        lines = io.BytesIO()

        def make() -> Transport:
            sink = StdoutSink(SqliteSink(tmp_path / "positions.sqlite"), lines)
            return Pair(LocalSource([FileSource(str(entry))]), sink)

        return World(make, lambda transport: transport.close(), lambda: lines.getvalue().splitlines())


class Broken(io.BytesIO):
    """A stream that fails."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error: OSError | None = error

    def flush(self) -> None:
        """Fails while an error is set."""
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [(BrokenPipeError(32, "Broken pipe"), SinkClosedError), (OSError(28, "No space"), SinkUnavailableError)],
)
def test_stdout_fails(tmp_path, error, expected):
    """A closed pipe is a final error, a full disk behind standard output a temporary one; nothing is committed."""
    stream = Broken(error)
    sink = StdoutSink(SqliteSink(tmp_path / "positions.sqlite"), stream)
    sink.open()
    with pytest.raises(expected):
        sink.publish(Unit("p", 0, 5, ["s"], [b"{}"]))
    assert sink.committed("p") is None
    stream.error = None
    sink.publish(Unit("p", 0, 5, ["s"], [b"{}"]))
    assert sink.committed("p") == 5
    sink.close()


class TestSeveralPartitions:
    """One partition per entry."""

    @pytest.fixture
    def transport(self, tmp_path) -> Pair:
        """A transport over two files."""
        for name in "ab":
            (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(RECORDS) + b"\n")
        return build_local(config(tmp_path, tmp_path / "a.jsonl", tmp_path / "b.jsonl"))

    def test_turns_and_positions(self, transport):
        """Partitions take turns and have positions of their own."""
        transport.start()
        polled = []
        for _ in range(4):
            records = transport.poll(3, 0.0)
            polled.append(records.partition)
            transport.publish(unit_of(records))
        assert sorted(polled) == sorted(2 * list(transport.partitions()))
        assert polled[0] != polled[1]
        assert len({transport.committed(name) for name in transport.partitions()}) == 1
        assert not transport.finished()
        read(transport)
        assert transport.finished()
        transport.close()


class TestFollow:
    """Inputs without an end."""

    def test_waits_within_the_timeout(self, tmp_path):
        """A poll waits up to its timeout, and returns records that arrive meanwhile."""
        path = tmp_path / "a.jsonl"
        path.write_bytes(b"1\n")
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                with path.open("ab") as file:
                    file.write(b"2\n")

        source = FileSource(str(path), growing=lambda: True)
        transport = Pair(LocalSource([source], sleep=sleep), SqliteSink(tmp_path / "f.sqlite"))
        transport.start()
        assert transport.poll(9, 1.0).values == [b"1"]
        assert transport.poll(9, 1.0).values == [b"2"]
        assert len(slept) == 3
        assert transport.poll(9, 0.2) is None
        assert sum(slept[3:]) == pytest.approx(0.2)
        assert not transport.finished()
        transport.close()


def test_release_of_the_spool(tmp_path):
    """Segments of the spool that no snapshot needs are deleted, and the earliest position rises."""
    folder = tmp_path / "data" / "spool" / "stdin"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"{number:012d}.jsonl").write_bytes(b"%d\n" % number)
    transport = build_local(config(tmp_path, "-"))
    transport.source._spools["stdin"]._descriptor = os.open(os.devnull, os.O_RDONLY)
    transport.start()
    assert read(transport) == [b"1", b"2", b"3"]
    transport.release("stdin", 2)
    transport.close()
    transport.start()
    assert transport.earliest("stdin") == 2
    transport.close()
    transport.source._spools["stdin"]._thread.join(
        10
    )  # the thread reads to the end; an early close would free the descriptor for another file
    os.close(transport.source._spools["stdin"]._descriptor)


def test_source_gone(tmp_path):
    """A replaced file stops a restart, unless the configuration permits a cold start."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n2\n")
    transport = build_local(config(tmp_path, path))
    transport.start()
    read(transport)
    transport.close()
    path.write_bytes(b"7\n8\n9\n")
    transport = build_local(config(tmp_path, path))
    with pytest.raises(SourceGoneError):
        transport.start()
    transport.close()
    transport = build_local(config(tmp_path, path, **{"state.on_source_gone": "cold"}))
    transport.start()
    assert transport.earliest(str(path)) == transport.committed(str(path)) == 4
    assert read(transport) == [b"7", b"8", b"9"]
    transport.close()


WRITER = """
import os, sys
from pathlib import Path
from service.ports import Reject, Unit
from service.sinks.sqlite_sink import SqliteSink
sink = SqliteSink(Path(sys.argv[1]))
sink.open()
position = sink.committed("p") or 0
while True:
    forecasts = [b'{"series":"s","source":{"position":%d}}' % at for at in range(position, position + 50)]
    sink.publish(Unit("p", position, position + 50, ["s"] * 50, forecasts, [Reject(position, b"x", "late", "")]))
    position += 50
    print(position, flush=True)
"""


def test_killed_while_writing(tmp_path):
    """A process killed at any moment leaves complete batches, with their rejects and position."""
    path, acknowledged = tmp_path / "f.sqlite", 0
    for kill in range(6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(3 + kill):
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split("\n")[:-1])])
        process.wait()
        process.stdout.close()
        ((committed,),) = rows(path, "SELECT next_position FROM positions")
        assert committed >= acknowledged
        positions = [position for (position,) in rows(path, "SELECT position FROM forecasts ORDER BY position")]
        assert positions == list(range(committed))
        assert rows(path, "SELECT count(*) FROM rejects") == [(committed // 50,)]


def test_lock_outlives_nobody(tmp_path):
    """The lock of a killed process is released; while the process lives its pid is in the message."""
    from service.errors import TransportBusyError

    path = tmp_path / "f.sqlite"
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    sink = SqliteSink(path)
    with pytest.raises(TransportBusyError, match=f"pid {process.pid}"):
        sink.open()
    process.kill()
    process.communicate()
    sink.open()
    sink.close()


def test_one_daemon_per_data_folder(tmp_path):
    """Two outputs cannot share a data folder, which would mix their states; the first's close frees the lock."""
    from service.config.load import load_config
    from service.errors import TransportBusyError
    from service.transport.build import build_local

    (tmp_path / "in.csv").write_text("series,timestamp,value\na,1,1\n")

    def built(output: str):
        flags = {"input.files": [str(tmp_path / "in.csv")], "output.path": output, "state.data_dir": str(tmp_path)}
        return build_local(load_config(None, flags))

    first, second = built("one.sqlite"), built("two.sqlite")
    first.start()
    with pytest.raises(TransportBusyError, match=r"use a separate state\.data_dir for each daemon"):
        second.start()
    assert not (tmp_path / "two.sqlite").exists()
    second.close()
    with pytest.raises(TransportBusyError):
        built("two.sqlite").start()
    first.close()
    second.start()
    second.close()
