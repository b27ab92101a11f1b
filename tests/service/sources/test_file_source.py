"""Files as partitions: splitting into records, restart and replay, growth, rotation, and changed files."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opened_sources import append, drain, everything, opened, restarted, write

from service.errors import ConfigurationError, SourceGoneError, SourceUnavailableError
from service.messages.decode import CSV_HEADER
from service.sources.file_source import FileSource
from service.sources.lines import Lines


class Growth:
    """Reports growing files until switched off."""

    def __init__(self) -> None:
        self.on = True

    def __call__(self) -> bool:
        """Returns whether more bytes may arrive."""
        return self.on


class Bytes:
    """A byte source over a list of pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def read(self, size: int) -> bytes:
        """Returns the next piece, or the part of it that fits."""
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def damage(self) -> str:
        """Returns no damage."""
        return ""

    def close(self) -> None:
        """Does nothing."""


LINES = [b'{"n":%d}' % n for n in range(40)]
JSONL = b"\n".join(LINES) + b"\n"
ROWS = [b"s,%d,1" % n for n in range(40)]
CSV = b"series,timestamp,value\n" + b"\n".join(ROWS) + b"\n"


class TestLines:
    """Splitting bytes into lines."""

    @given(st.lists(st.binary(max_size=12)), st.booleans())
    def test_pieces_do_not_matter(self, pieces, header):
        """However the bytes are split into pieces, the lines and their positions are the same."""
        data = b"".join(pieces)

        def cut(*parts: bytes) -> tuple[list[int], list[bytes], dict[int, str], int]:
            lines = Lines(Bytes(*(part for part in parts if part)), 100, max_bytes=5, header=header, first=False)
            while lines.fill():
                pass
            lines.finish()
            taken = lines.take(10_000)
            assert lines.next_position == 100 + len(data)
            return ([], [], {}, 0) if taken is None else tuple(taken)  # type: ignore[return-value]

        whole = cut(data)
        assert cut(*pieces) == whole
        assert cut(*(bytes([byte]) for byte in data)) == whole
        for at, (position, value) in enumerate(zip(whole[0], whole[1], strict=True)):
            assert data[position - 100 :].startswith(value)
            assert len(value) <= 5
            line = data[position - 100 :].split(b"\n")[0].removesuffix(b"\r")
            assert (whole[2].get(at) == "too_large") == (line != value)

    def test_line_ends(self):
        """LF and CRLF end a line, and empty lines are skipped."""
        lines = Lines(Bytes(b"a\r\n\r\n\nb\n"), 0, max_bytes=9, header=False)
        lines.fill()
        taken = lines.take(9)
        assert taken is not None
        assert (taken.values, taken.positions, taken.next_position) == ([b"a", b"b"], [0, 6], 8)

    def test_a_giant_line_takes_no_memory(self):
        """Only the start of a line over the limit is kept, and reading continues after the line."""
        lines = Lines(Bytes(*[b"x" * 1000] * 1000, b"\nshort\n"), 0, max_bytes=10, header=False)
        while lines.fill():
            assert len(lines._tail) <= 11
        taken = lines.take(9)
        assert taken is not None
        assert (taken.values, taken.problems) == ([b"x" * 10, b"short"], {0: "too_large"})


@pytest.mark.parametrize("suffix", ["", ".gz"])
class TestKinds:
    """Plain and compressed files, JSON lines and CSV."""

    def test_json_lines(self, tmp_path, suffix):
        """Every line is a record; the position is its byte offset."""
        source = opened(write(tmp_path / f"a.jsonl{suffix}", JSONL))
        records = source.read(1000)
        assert records is not None
        assert records.values == LINES
        assert all(JSONL[p:].startswith(v) for p, v in zip(records.positions, records.values, strict=True))
        assert records.next_position == len(JSONL)
        assert records.headers is None
        assert source.finished()
        assert source.lag() == 0

    def test_csv(self, tmp_path, suffix):
        """The header is not a record, and every record carries the header."""
        source = opened(write(tmp_path / f"a.csv{suffix}", CSV))
        records = source.read(1000)
        assert records is not None
        assert records.values == ROWS
        assert records.headers is not None
        assert set(map(tuple, records.headers)) == {((CSV_HEADER, b"series,timestamp,value"),)}

    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
    @pytest.mark.parametrize("limit", [1, 7, 39])
    def test_restart_anywhere(self, tmp_path, suffix, name, limit):
        """A restart after any batch continues with the next record, and restores the header."""
        data, expected = (CSV, ROWS) if name == "a.csv" else (JSONL, LINES)
        source, values = opened(write(tmp_path / (name + suffix), data)), []
        while (records := source.read(limit)) is not None:
            values += records.values
            assert (records.headers is not None) == (name == "a.csv")
            source = restarted(source)
        assert values == expected
        assert [value for _, value, _ in everything(source)] == expected

    def test_growing(self, tmp_path, suffix):
        """Appended bytes are read; a line is a record once its line end is written."""
        growth = Growth()
        source = opened(write(tmp_path / f"a.jsonl{suffix}", b"1\n2\n3"), growing=growth)
        assert drain(source) == [b"1", b"2"]
        assert not source.finished()
        append(tmp_path / f"a.jsonl{suffix}", b"4\n5")
        assert drain(source) == [b"34"]
        source = restarted(source, growing=growth)
        append(tmp_path / f"a.jsonl{suffix}", b"6\n7")
        assert drain(source) == [b"56"]
        growth.on = False
        assert drain(source) == [b"7"]
        assert source.finished()

    def test_several_files(self, tmp_path, suffix):
        """The files of a glob are one stream in sorted order, each with a header of its own."""
        write(tmp_path / f"2.csv{suffix}", b"value,series,timestamp\n2,b,2")
        write(tmp_path / f"1.csv{suffix}", CSV)
        write(tmp_path / f"3.csv{suffix}", b"")
        source = opened(tmp_path / f"*.csv{suffix}")
        values, headers = [], []
        while (records := source.read(25)) is not None:
            values += records.values
            headers += records.headers or []
            source = restarted(source)
        assert values == [*ROWS, b"2,b,2"]
        assert headers[-1] == ((CSV_HEADER, b"value,series,timestamp"),)
        assert source.finished()
        assert [value for _, value, _ in everything(source)] == values


class TestHalfLines:
    """Lines without a line end."""

    def test_end_of_input(self, tmp_path):
        """The last line of a finished input needs no line end."""
        assert drain(opened(write(tmp_path / "a.jsonl", b"1\n2"))) == [b"1", b"2"]

    def test_the_file_grew_after_all(self, tmp_path):
        """The rest of a line that was read incomplete is marked, and a replay splits the line identically."""
        path = write(tmp_path / "a.jsonl", b"1\n2")
        source = opened(path)
        drain(source)
        append(path, b"3\n4\n")
        source = restarted(source)
        records = source.read(10)
        assert records is not None
        assert (records.values, records.problems) == ([b"3", b"4"], {0: "truncated"})
        source = restarted(source)
        assert everything(source) == [(0, b"1", ""), (2, b"2", ""), (3, b"3", "truncated"), (5, b"4", "")]

    def test_half_a_header(self, tmp_path):
        """An incomplete header is not used until it is complete, also over a restart."""
        path = write(tmp_path / "a.csv", b"\n\nseries,time")
        source = opened(path, growing=lambda: True)
        assert drain(source) == []
        source = restarted(source, growing=lambda: True)
        append(path, b"stamp,value\ns,1,2\n")
        records = source.read(10)
        assert records is not None
        assert records.values == [b"s,1,2"]
        assert records.headers == [((CSV_HEADER, b"series,timestamp,value"),)]

    def test_byte_order_mark(self, tmp_path):
        """A byte order mark is not part of the first line."""
        (records,) = [opened(write(tmp_path / "a.csv", b"\xef\xbb\xbf" + CSV)).read(100)]
        assert records is not None
        assert records.headers is not None
        assert records.headers[0][0][1] == b"series,timestamp,value"
        assert drain(opened(write(tmp_path / "a.jsonl", b"\xef\xbb\xbf1\n"))) == [b"1"]

    def test_bytes_without_records_move_the_position(self, tmp_path):
        """Empty lines at the end are committed by a batch without records."""
        source = opened(write(tmp_path / "a.jsonl", b"1\n"), growing=lambda: True)
        drain(source)
        append(tmp_path / "a.jsonl", b"\n\n")
        records = source.read(10)
        assert records is not None
        assert (records.values, records.next_position) == ([], 4)
        assert source.read(10) is None


class TestRotation:
    """New files while followed."""

    def test_next_file(self, tmp_path):
        """The next file is read after the end of the present one, whose last line is then complete."""
        source = opened(str(tmp_path / "*.jsonl"), growing=lambda: True)
        assert source.read(10) is None
        write(tmp_path / "1.jsonl", b"1\n2")
        assert drain(source) == [b"1"]
        write(tmp_path / "2.jsonl", b"3\n")
        assert drain(source) == [b"2", b"3"]
        source = restarted(source, growing=lambda: True)
        append(tmp_path / "2.jsonl", b"4\n")
        assert drain(source) == [b"4"]
        assert [value for _, value, _ in everything(source)] == [b"1", b"2", b"3", b"4"]

    def test_old_files_deleted(self, tmp_path):
        """After the deletion of a file that was read, the earliest position is that of the next file."""
        write(tmp_path / "1.jsonl", b"1\n")
        write(tmp_path / "2.jsonl", b"2\n3\n")
        source = opened(tmp_path / "*.jsonl")
        assert drain(source) == [b"1", b"2", b"3"]
        (tmp_path / "1.jsonl").unlink()
        source = restarted(source)
        assert source.earliest() == 2
        assert [value for _, value, _ in everything(source, 2)] == [b"2", b"3"]
        with pytest.raises(SourceGoneError, match="the files begin at position 2"):
            everything(source)


class TestChangedFiles:
    """Truncated, replaced and deleted files."""

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda path: write(path, b"1\n"), "was truncated to 2 bytes"),
            (lambda path: write(path, b"9\n8\n7\n6\n"), "was replaced: its first 6 bytes differ"),
            (lambda path: path.unlink(), "cannot be read"),
        ],
    )
    def test_noticed_at_a_restart(self, tmp_path, change, expected):
        """A restart refuses a truncated, replaced or deleted file, and the message states the setting."""
        path = write(tmp_path / "a.jsonl", b"1\n2\n3\n")
        source = opened(path)
        drain(source)
        entries = source.manifest(source.position)
        change(path)
        with pytest.raises(SourceGoneError, match=expected) as caught:
            opened(path, entries, source.position)
        assert "on_source_gone" in str(caught.value)

    def test_cold(self, tmp_path):
        """With "cold" reading continues with the new file; positions increase, earlier records cannot be replayed."""
        path = write(tmp_path / "a.jsonl", b"1\n2\n3\n")
        source = opened(path)
        drain(source)
        write(path, b"8\n9\n")
        source = restarted(source, cold=True)
        assert source.earliest() == 6
        records = source.read(10)
        assert records is not None
        assert (records.values, records.positions) == ([b"8", b"9"], [6, 8])
        with pytest.raises(SourceGoneError):
            everything(source)
        source = restarted(source)
        assert [value for _, value, _ in everything(source, 6)] == [b"8", b"9"]

    def test_cold_without_a_file(self, tmp_path):
        """With "cold" and the file deleted, the source waits for the next file of the glob."""
        write(tmp_path / "1.jsonl", b"1\n")
        source = opened(tmp_path / "*.jsonl", growing=lambda: True)
        drain(source)
        (tmp_path / "1.jsonl").unlink()
        source = restarted(source, cold=True, growing=lambda: True)
        assert drain(source) == []
        write(tmp_path / "2.jsonl", b"2\n")
        assert drain(source) == [b"2"]
        assert source.position == 4

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_noticed_while_following(self, tmp_path, suffix):
        """A file truncated or replaced while followed is an error, after its last line was read."""
        path = write(tmp_path / f"a.jsonl{suffix}", b"1\n2\n3\n")
        source = opened(path, growing=lambda: True)
        drain(source)
        os.truncate(path, 3)
        with pytest.raises(SourceGoneError, match="was truncated to 3 bytes"):
            source.read(10)
        path = write(tmp_path / f"b.jsonl{suffix}", b"1\n")
        source = opened(path, growing=lambda: True)
        drain(source)
        append(path, b"2\n")
        path.rename(tmp_path / f"b.old{suffix}")
        write(path, b"3\n")
        assert source.read(10).values == [b"2"]  # type: ignore[union-attr]
        with pytest.raises(SourceGoneError, match="was replaced"):
            source.read(10)

    def test_gzip_that_holds_less(self, tmp_path):
        """A compressed file with the same start and less content than was read is refused."""
        path = write(tmp_path / "a.jsonl.gz", JSONL)
        source = opened(path)
        drain(source)
        entry = source.manifest(source.position)[-1]
        with pytest.raises(SourceGoneError, match="shorter than when it was read"):
            opened(path, [entry], len(JSONL) + 1)


class TestNames:
    """Names of files."""

    def test_unknown_suffix(self):
        """A name without a known format is refused before anything is read."""
        with pytest.raises(ConfigurationError, match=r"input\.format"):
            FileSource("events.log")
        assert FileSource("events.log", "csv").partition == "events.log"

    def test_no_such_file(self, tmp_path):
        """A missing file is an error, or awaited when followed."""
        with pytest.raises(SourceUnavailableError, match=r"missing\.csv"):
            opened(tmp_path / "missing.csv")
        source = opened(tmp_path / "later.csv", growing=lambda: True)
        assert source.read(1) is None
        write(tmp_path / "later.csv", CSV)
        assert drain(source) == ROWS
