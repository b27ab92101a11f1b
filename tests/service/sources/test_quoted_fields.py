"""CSV with line ends in quoted fields: one record each, across blocks, restarts and replays."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from csv_records import Record, csv_records
from hypothesis import given
from hypothesis import strategies as st

import service.sources.stdin_spool as spool_module
from service.config.csv_start import CsvStart
from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.sources.file_source import FileSource
from service.sources.lines import Lines
from service.sources.manifest import FileEntry
from service.sources.stdin_spool import Spool

HEADER = b"a,b"
MOST = 12
DATA = st.lists(st.sampled_from([b'"', b'""', b",", b"x", b"\n", b"\r", b"\r\n", b'"x\ny",z\n', b'x","'])).map(b"".join)


class Fed:
    """A byte source over given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self, size: int) -> bytes:
        """Returns the next piece, or a part of it."""
        if not self._pieces:
            return b""
        piece, self._pieces[0] = self._pieces[0][:size], self._pieces[0][size:]
        if not self._pieces[0]:
            del self._pieces[0]
        return piece

    def damage(self) -> str:
        """Returns no damage."""
        return ""

    def close(self) -> None:
        """Does nothing."""


def cut(*pieces: bytes, start: int = 0, stop: int | None = None, below: bytes | None = HEADER) -> list[Record]:
    """Returns the records that `Lines` finds in pieces below a header."""
    lines = Lines(Fed(*pieces), start, stop=stop, max_bytes=MOST, header=False, below=below, first=False)
    found = list[Record]()
    while lines.fill() or lines.finish():
        while (taken := lines.take(3)) is not None:
            found += zip(taken.positions, taken.values, strict=True)
    assert lines.next_position == lines.read_to
    return found


@given(st.lists(DATA))
def test_records_are_those_of_csv(pieces: list[bytes]) -> None:
    """However the bytes are split, the records equal those of Python's reader; a wrong quote costs its line."""
    data = b"".join(pieces)
    whole = [(position, value[:MOST]) for position, value in csv_records(data, 2, MOST)]
    assert cut(data) == cut(*pieces) == cut(*(bytes([byte]) for byte in data)) == whole
    for at, (position, _) in enumerate(whole):
        assert cut(data[position:], start=position) == whole[at:]  # after a restart
        assert cut(data, stop=position) == whole[:at]  # in a replay


@pytest.mark.parametrize("separator", [b";", b"\t", b"|"])
@given(st.lists(DATA))
def test_other_separators(separator: bytes, pieces: list[bytes]) -> None:
    """With another separator in the header, records are cut as the same ones with commas."""
    pieces = [piece.replace(separator, b"") for piece in pieces]
    expected = cut(*pieces)
    found = cut(*(piece.replace(b",", separator) for piece in pieces), below=HEADER.replace(b",", separator))
    assert [(at, value.replace(separator, b",")) for at, value in found] == expected


@given(DATA)
def test_only_csv_has_quotes(data: bytes) -> None:
    """A quote in JSON lines has no special meaning."""
    values = [line.removesuffix(b"\r")[:MOST] for line in data.split(b"\n")]
    assert [value for _, value in cut(data, below=None)] == [value for value in values if value]


def source_of(path: Path, *, most: int = 65_536, growing: bool = True) -> FileSource:
    """Returns a source that is not open."""
    return FileSource(str(path), growing=lambda: growing, max_record_bytes=most)


def test_fields_of_events(tmp_path: Path) -> None:
    """Text over several lines may stand in an event's extra field, in the header and in a name."""
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'series,timestamp,value,"a\nnote"\r\na,1,1,x\r\n"a",2,2,"one\r\n\r\n""two"", three"\r\n"b\nc",3,3,""\r\n'
    )
    source = source_of(path, growing=False)
    source.open([], None)
    records = source.read(10)
    source.close()
    assert records is not None
    found = Decoder(InputConfig()).decode(records)
    assert (found.series, found.value.tolist(), found.rejects) == (["a", "a", "b\nc"], [1.0, 2.0, 3.0], [])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_over_the_border_of_a_block(tmp_path: Path, suffix: str) -> None:
    """A field across the end of a block is one record."""
    import gzip

    row = b's,%d,1,"' + (b"y" * 50 + b"\n") * 800 + b'"\n'
    data = b"series,timestamp,value,note\n" + b"".join(row % at for at in range(60))
    assert len(data) > 2 << 20
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    source = source_of(path, growing=False)
    source.open([], None)
    found = list[bytes]()
    while (records := source.read(7)) is not None:
        found += records.values
    assert found == [row[:-1] % at for at in range(60)]
    assert sum(len(records.values) for records in source.replay(0, source.position, 7)) == 60
    source.close()


def test_a_followed_file(tmp_path: Path) -> None:
    """An open quote at the end of a followed file is not read until closed; a restart begins with its record."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'series,timestamp,value,note\na,1,1,x\na,2,2,"one\n')
    source = source_of(path)
    source.open([], None)
    first = source.read(10)
    assert first is not None
    assert first.values == [b"a,1,1,x"]
    assert source.read(10) is None
    again = source_of(path)
    again.open(source.manifest(source.position), source.position)
    for part, values in (
        (b"two\n", None),
        (b'three"', None),
        (b"\na,3,3,x\n", [b'a,2,2,"one\ntwo\nthree"', b"a,3,3,x"]),
    ):
        with path.open("ab") as file:
            file.write(part)
        for one in (source, again):
            records = one.read(10)
            assert (records and records.values) == values
    assert [one.values for one in again.replay(0, again.position, 10)] == [
        [b"a,1,1,x", b'a,2,2,"one\ntwo\nthree"', b"a,3,3,x"]
    ]
    source.close()
    again.close()


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    """An unclosed quote costs its line: the next lines are read, and held bytes are bounded by the record limit."""
    path = tmp_path / "a.csv"
    rows = [b"a,%d,1,x" % at for at in range(200_000)]
    path.write_bytes(b"\n".join([b"series,timestamp,value,note", b'a,0,1,"x', *rows, b""]))
    source = source_of(path, most=1000)
    source.open([], None)
    found = list[bytes]()
    while (records := source.read(50_000)) is not None:
        found += records.values
        assert source._lines is not None
        assert source._lines._quoted is not None
        assert sum(sys.getsizeof(line.value) for line in source._lines._quoted._held) < 10_000
    source.close()
    assert found == [b'a,0,1,"x', *rows]
    assert source.lag() == 0


def test_the_end_of_a_file_in_a_field(tmp_path: Path) -> None:
    """A quote open at the end of a run costs its line, also in a replay after the file has grown."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'series,timestamp,value\na,1,"1\na,2,2\n')
    source = source_of(path, growing=False)
    source.open([], None)
    records = source.read(10)
    assert records is not None
    assert records.values == [b'a,1,"1', b"a,2,2"]
    assert source.finished()
    entries, position = source.manifest(source.position), source.position
    source.close()
    with path.open("ab") as file:
        file.write(b'a,3,3"\na,4,4\n')
    again = source_of(path, growing=False)
    again.open(entries, position)
    more = again.read(10)
    assert more is not None
    assert more.values == [b'a,3,3"', b"a,4,4"]
    assert more.problems == {}
    found = [value for one in again.replay(0, again.position, 10) for value in one.values]
    assert found == [*records.values, *more.values]
    again.close()


def test_entries_say_where_a_line_was_cut() -> None:
    """A cut at a line end within a field is not within a line; any other cut is."""
    entry = FileEntry("a.csv", 0, cuts=((5, ""), (9, "truncated"), (12, "line_end")))
    assert [entry.is_within_line(at) for at in (5, 9, 12, 13)] == [True, True, False, False]
    assert [entry.problem_at(at) for at in (5, 9, 12, 13)] == ["", "truncated", "", ""]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("start", [CsvStart(), CsvStart(2), CsvStart(1, has_header=False)])
def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool, start: CsvStart) -> None:
    """Segments of the spool begin with a record, below the complete header, however the stream begins."""
    monkeypatch.setattr(spool_module, "_CHUNK", 16)
    header = b'a,"b\nc"'
    above = [b"title"] * start.skip_lines + ([header] if start.has_header else [])
    records = [b'%d,"\n\nx"' % at if closed else b"%d,x" % at for at in range(50)]
    records[20] = records[20] if closed else b'20,"x'
    reader, writer = os.pipe()
    spool = Spool(tmp_path, descriptor=reader, segment_bytes=60, max_record_bytes=40, csv=start)
    thread = threading.Thread(target=lambda: os.write(writer, b"\n".join([*above, *records])) and os.close(writer))
    thread.start()
    spool.start()
    thread.join()
    assert spool._thread is not None
    spool._thread.join()
    os.close(reader)
    assert len(spool.segments()) >= 4
    begin = b"\n" * start.skip_lines + (header + b"\n" if start.has_header else b"")
    assert all(segment.read_bytes().startswith(begin) for segment in spool.segments()[1:])
    source = FileSource(spool.pattern, "auto", max_record_bytes=40, csv=start)
    source.open([], None)
    found = list[bytes]()
    while (one := source.read(100)) is not None:
        found += one.values
    source.close()
    assert found == records
