"""Unusual files and outputs: each is used as intended, or refused with one sentence."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.config.input import InputConfig
from service.config.load import load_config
from service.errors import ConfigurationError, SinkFormatError, SourceGoneError
from service.messages.decode import CSV_HEADER, Decoded, Decoder
from service.ports import Records, Unit
from service.sinks.sqlite_sink import SqliteSink
from service.sources.file_source import FileSource
from service.sources.pipes import kind_of


def decoded(header: bytes, *lines: bytes) -> Decoded:
    """Decodes lines of CSV below a header."""
    headers = [((CSV_HEADER, header),)] * len(lines)
    return Decoder(InputConfig()).decode(Records("p", range(len(lines)), len(lines), lines, headers=headers))


@pytest.mark.parametrize("others", [[], [b'"q",1,1'], [b"broken"]])
def test_blanks_around_series_names(others: list[bytes]) -> None:
    """Surrounding blanks are not part of a name, whether lines are parsed in bulk or one by one."""
    found = decoded(b"series,timestamp,value", b" a ,1,1", b"a,2,2", b"\ta\t,3,3", b"b c,4,4", b"  ,5,5", *others)
    assert found.series[:4] == ["a", "a", "a", "b c"]
    assert found.rejects[0].reason == "missing_field"


def test_a_column_that_stands_twice() -> None:
    """Lines with an ambiguous duplicate column are rejected; unused columns may be duplicates."""
    found = decoded(b"series,timestamp,value,value", b"a,1,1,2", b"a,2,2,3")
    assert [one.reason for one in found.rejects] == ["undecodable"] * 2
    assert "the column value more than once" in found.rejects[0].detail
    assert len(decoded(b"series,timestamp,value,x,x", b"a,1,1,2,3")) == 1


@pytest.mark.parametrize("entry", ["a.csv.gz", "*.gz"])
@pytest.mark.parametrize("kept", [0, 5, 30])
def test_a_compressed_file_without_an_event(tmp_path: Path, kept: int, entry: str) -> None:
    """A compressed file damaged before its first event is an error, also as the only file of a glob."""
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"series,timestamp,value\n" + b"a,1,1\n" * 9)[:kept] if kept else b"rubbish")
    source = FileSource(str(tmp_path / entry))
    source.open([], None)
    with pytest.raises(SourceGoneError, match="expected an undamaged file"):
        source.read(10)
    source.close()


def test_a_damaged_file_among_others(tmp_path: Path) -> None:
    """A damaged file of a glob is skipped, and the others are read."""
    (tmp_path / "a.csv.gz").write_bytes(b"rubbish")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"series,timestamp,value\na,1,1\n"))
    source = FileSource(str(tmp_path / "*.gz"))
    source.open([], None)
    records = source.read(10)
    assert records is not None
    assert records.values == [b"a,1,1"]
    assert source.read(10) is None
    source.close()


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"series,timestamp,value\ra,1,1\ra,2,2\r"),
        ("a.jsonl", b'{"series":"a","timestamp":1,"value":1}\r{"series":"a","timestamp":2,"value":1}\r'),
    ],
)
def test_lines_that_end_in_cr_alone(tmp_path: Path, name: str, data: bytes, followed: bool) -> None:
    """Lines that end in CR alone are an error that states the expected line ends."""
    path = tmp_path / name
    path.write_bytes(data)
    source = FileSource(str(path), growing=lambda: followed)
    source.open([], None)
    with pytest.raises(SourceGoneError, match="end in CR alone, expected LF or CRLF"):
        source.read(10)
    source.close()


def test_a_configuration_with_a_byte_order_mark(tmp_path: Path) -> None:
    """A configuration may start with a byte order mark."""
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf[http]\nport = 1234\n")
    assert load_config(path).http.port == 1234


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A configured name that is not UTF-8 is refused; one found by a glob is reported once, and others are read."""
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        kind_of(name)
    Path(name).write_bytes(b"1\n")
    (tmp_path / "a.jsonl").write_bytes(b"2\n")
    source = FileSource(str(tmp_path / "*.jsonl"), growing=lambda: True)
    with capture_logs() as said:
        source.open([], None)
        records = source.read(10)
        assert source.read(10) is None
    source.close()
    assert records is not None
    assert records.values == [b"2"]
    assert [line["event"] for line in said if line["log_level"] == "warning"] == [
        "input file is not read: its name is not UTF-8"
    ]


@pytest.mark.parametrize("again", [False, True])
def test_an_output_that_is_deleted(tmp_path: Path, again: bool) -> None:
    """Publishing into a deleted or replaced output is an error that stops the daemon."""
    sink = SqliteSink(tmp_path / "f.sqlite")
    sink.open()
    sink.publish(Unit("p", 0, 1, ["a"], [b"{}"], []))
    (tmp_path / "f.sqlite").unlink()
    if again:
        (tmp_path / "other").write_bytes(b"")
        (tmp_path / "f.sqlite").write_bytes(b"")
    with pytest.raises(SinkFormatError, match=r"was (deleted|replaced)"):
        sink.publish(Unit("p", 1, 2, ["a"], [b"{}"], []))
    sink.close()


def test_a_reader_that_has_gone(tmp_path: Path) -> None:
    """A closed standard output is one error, without a traceback at the interpreter's end."""
    script = (
        "import sys; from pathlib import Path; from service.errors import SinkClosedError\n"
        "from service.ports import Unit\n"
        "from service.sinks.sqlite_sink import SqliteSink; from service.sinks.stdout_sink import StdoutSink\n"
        "sink = StdoutSink(SqliteSink(Path(sys.argv[1]))); sink.open()\n"
        "try: sink.publish(Unit('p', 0, 1, ['a'], [b'{}' * 100_000], []))\n"
        "except SinkClosedError as error: print(error, file=sys.stderr)\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", script, str(tmp_path / "f.sqlite")]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writing)
    assert done.stderr.decode().splitlines() == [
        "standard output: the reader closed the pipe; restart with a reader that keeps it open"
    ]
    assert done.returncode == 0
