"""Compressed files that are damaged, padded, or expand without end."""

from __future__ import annotations

import gzip
import random
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opened_sources import drain, everything, opened, write

from service.sources.byte_source import GzipBytes
from service.sources.file_source import FileSource


class TestDamagedGzip:
    """Damaged compressed files."""

    @pytest.mark.parametrize("inside", [True, False])
    def test_cut_short(self, tmp_path, inside):
        """The lines before a premature end are read; an incomplete line is marked, a complete one is not."""
        packed = gzip.compress(random.Random(0).randbytes(50_000).hex("\n", 20).encode())
        left = {length: zlib.decompressobj(31).decompress(packed[:length]) for length in range(20_000, 20_200)}
        length = next(length for length, text in left.items() if text.endswith(b"\n") is not inside)
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(packed[:length])
        source = opened(path)
        drain(source)
        found = everything(source)
        assert b"\n".join(value for _, value, _ in found) == left[length].rstrip(b"\n")
        assert [problem for _, _, problem in found if problem] == (["truncated"] if inside else [])
        assert source.finished()

    def test_rubbish(self, tmp_path):
        """A file that is not gzip yields no record, and the next one is read."""
        (tmp_path / "1.jsonl.gz").write_bytes(b"rubbish")
        write(tmp_path / "2.jsonl.gz", b"1\n")
        assert drain(opened(tmp_path / "*.gz")) == [b"1"]

    @given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=3), size=st.integers(1, 50))
    def test_any_content(self, tmp_path_factory, data, cuts, size):
        """Members, padding and read sizes do not change the content."""
        bounds = [0, *sorted(cuts), len(data)]
        members = [gzip.compress(data[a:b]) for a, b in pairwise(bounds) if a < b]
        path = tmp_path_factory.mktemp("gz") / "a.gz"
        path.write_bytes(b"".join(members) + b"\0" * 5)
        offset = min([*cuts, len(data)])
        with path.open("rb") as file:
            source = GzipBytes(file, offset)
            assert b"".join(iter(lambda: source.read(size), b"")) == data[offset:]
            assert source.damage() == ""


def test_an_archive_bomb(tmp_path: Path) -> None:
    """A small file that expands without end is read up to a bound, and earlier records are kept."""
    path = tmp_path / "a.jsonl.gz"
    small = gzip.compress(b'{"n": 1}\n')
    path.write_bytes(small + gzip.compress(bytes(200 << 20)))
    source = FileSource(str(path))
    source.open([], None)
    first = source.read(10)
    rest = [found for _ in range(3) if (found := source.read(10)) is not None]
    source.close()

    assert first is not None
    assert list(first.values) == [b'{"n": 1}']
    assert sum(len(found) for found in rest) <= 1  # the line without end, truncated and marked
    assert source.position <= 500 * path.stat().st_size < 200 << 20
