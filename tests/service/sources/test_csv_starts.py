"""CSV files with lines before their header, or without a header: the same records, wherever reading begins again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.csv_start import CsvStart
from service.messages.decode import CSV_HEADER
from service.sources.file_source import FileSource
from service.sources.manifest import FileEntry

ROWS = [b"a,1,5", b'"b\n",2,6', b"c,3,7", b'"d,",4,8'] * 4
ABOVE = [b"", b"title", b'not "closed', b"#group,false,true", b"sep=,", b"\r", b"a,b,c"]


def records(source: FileSource, limit: int = 3) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields the position, the value and the header of every record."""
    while (one := source.read(limit)) is not None:
        for at, value in enumerate(one.values):
            assert one.headers is not None
            yield one.positions[at], value, dict(one.headers[at])[CSV_HEADER]


def read(
    path: Path, start: CsvStart, entries: list[FileEntry] | None = None, committed: int | None = None
) -> list[tuple[int, bytes, bytes]]:
    """Reads a file from a committed position on."""
    source = FileSource(str(path), csv=start)
    source.open(entries or [], committed)
    try:
        return list(records(source))
    finally:
        source.close()


@st.composite
def starts(draw: st.DrawFn) -> tuple[bytes, CsvStart]:
    """Draws what is above the records of a file, and how that is described."""
    above = draw(st.lists(st.sampled_from(ABOVE), max_size=4))
    has_header = draw(st.booleans())
    lines = [*above, *([b"x,y,z"] if has_header else [])]
    mark = b"\xef\xbb\xbf" if draw(st.booleans()) else b""
    return mark + b"".join(line + b"\n" for line in lines), CsvStart(len(above), has_header)


@given(starts(), st.sampled_from([1, 2, 1000]))
def test_the_same_records_as_below_a_header(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[bytes, CsvStart], limit: int
) -> None:
    """The records are those of a plain file, below its header or one without names, at their own positions."""
    begin, start = drawn
    path = tmp_path_factory.mktemp("starts") / "a.csv"
    path.write_bytes(begin + b"\n".join(ROWS) + b"\n")
    source = FileSource(str(path), csv=start)
    source.open([], None)
    found = list(records(source, limit))
    source.close()
    assert [value for _, value, _ in found] == ROWS
    assert {header for *_, header in found} == {b"x,y,z" if start.has_header else b",,"}
    data = path.read_bytes()
    assert all(data[at:].startswith(value) for at, value, _ in found[1:])


@given(starts(), st.data())
def test_wherever_reading_begins_again(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[bytes, CsvStart], data: st.DataObject
) -> None:
    """A restart, and a replay, at any committed position continue with the same records; so do files that grow."""
    begin, start = drawn
    path = tmp_path_factory.mktemp("again") / "a.csv"
    text = begin + b"\n".join(ROWS) + b"\n"
    path.write_bytes(text)
    straight = read(path, start)
    cut, limit = (
        data.draw(st.integers(0, len(text)), "bytes at first"),
        data.draw(st.sampled_from([1, 3, 100]), "limit"),
    )
    chosen = data.draw(st.integers(-2, len(ROWS) - 1), "record to replay from")
    path.write_bytes(text[:cut])
    growing = FileSource(str(path), growing=lambda: True, csv=start)
    growing.open([], None)
    first = list(records(growing, limit))
    while growing.read(100) is not None:
        pass
    position, entries = growing.position, growing.manifest(growing.position)
    growing.close()
    path.write_bytes(text)

    assert first + read(path, start, entries, position) == straight

    again = FileSource(str(path), csv=start)
    again.open([], None)
    everything = list(records(again))
    end = again.position
    low = everything[chosen][0] if chosen >= 0 else min(cut, len(begin)) if chosen == -1 else 0
    replayed = [
        (at, value) for one in again.replay(low, end, 5) for at, value in zip(one.positions, one.values, strict=True)
    ]
    again.close()
    assert replayed == [(at, value) for at, value, _ in everything if at >= low]


def test_the_separator_of_a_file_without_a_header(tmp_path: Path) -> None:
    """The configured separator counts the columns; otherwise the one with the most columns does."""
    (tmp_path / "a.csv").write_bytes(b"2026-01-01 00:00;3,5;4,5\n")
    assert read(tmp_path / "a.csv", CsvStart(0, has_header=False, separator=";"))[0][2] == b";;"
    (tmp_path / "b.csv").write_bytes(b"1|2|3\n")
    assert read(tmp_path / "b.csv", CsvStart(0, has_header=False))[0][2] == b"||"


def test_nothing_below(tmp_path: Path) -> None:
    """A file that ends above its header has no records, and reading ends."""
    (tmp_path / "a.csv").write_bytes(b"title\n\nmore")
    source = FileSource(str(tmp_path / "a.csv"), csv=CsvStart(5))
    source.open([], None)
    while source.read(10) is not None:
        pass
    assert source.finished()
    source.close()
