"""JSON documents as partitions: how they are split into rows, and how the format of a file is recognised."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opened_sources import OPENED
from row_forms import drain, everything, lines_of, some_rows

from service.errors import SourceGoneError
from service.sources.byte_source import open_bytes
from service.sources.file_source import FileSource
from service.sources.manifest import file_format, sniff_format


def opened(entry: object, **how: Any) -> FileSource:
    """Opens a source of documents."""
    source = FileSource(str(entry), "json", **how)
    OPENED.append(source)
    source.open([], None)
    return source


def split(folder: Path, document: bytes, size: int = 1 << 20) -> tuple[list[bytes], str]:
    """Returns the lines of a document, and its damage."""
    (folder / "a.json").write_bytes(document)
    return lines_of(folder / "a.json", "json", size)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class TestSplitting:
    """Documents and their rows."""

    @given(
        rows=st.lists(st.dictionaries(st.text(max_size=8), values, max_size=5), max_size=12),
        indent=st.sampled_from([None, 0, 3]),
        ascii_only=st.booleans(),
        chunk=st.integers(1, 40),
    )
    @settings(max_examples=80, deadline=None)
    def test_any_rows(self, tmp_path_factory, rows, indent, ascii_only, chunk):
        """Every element of an array is one line with the same content, wherever the pieces of the document end."""
        folder = tmp_path_factory.mktemp("rows")
        document = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
        whole, damage = split(folder, document)
        assert damage == ""
        assert [json.loads(line) for line in whole] == rows
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("service.sources.json_document._CHUNK", chunk)
            assert split(folder, document, size=chunk) == (whole, "")

    @pytest.mark.parametrize(
        ("document", "lines"),
        [
            (b'{"a": {"b": [1, 2]}}', [b'{"a": {"b": [1, 2]}}']),
            (b'{\n  "a": 1,\r\n  "b": [\n    2\n  ]\n}\n', [b'{   "a": 1,    "b": [     2   ] }']),
            (b'{"a":1}\n{\n"a":2}{"a":3}', [b'{"a":1}', b'{ "a":2}', b'{"a":3}']),
            (b'[{"a":1}]\n[{"a":2},{"a":3}]', [b'{"a":1}', b'{"a":2}', b'{"a":3}']),
            (b'\xef\xbb\xbf [ {"a":1} , {"a":2} ] \n', [b'{"a":1}', b'{"a":2}']),
            (b'[1, "x", null, [{"a":1}], -2.50]', [b"1", b'"x"', b"null", b'[{"a":1}]', b"-2.50"]),
            (b'[{"a":"]},\\"\\\\"},{"b":"\\\\"}]', [b'{"a":"]},\\"\\\\"}', b'{"b":"\\\\"}']),
            (b'[{"a":NaN},{"a":tru},{"a":1.10e400}]', [b'{"a":NaN}', b'{"a":tru}', b'{"a":1.10e400}']),
            (b"[]", []),
            (b" \n ", []),
            (b"", []),
        ],
    )
    def test_documents(self, tmp_path, monkeypatch, document, lines):
        """Numbers and texts are as they were written, line ends and the space around elements are not."""
        assert split(tmp_path, document) == (lines, "")
        monkeypatch.setattr("service.sources.json_document._CHUNK", 1)
        assert split(tmp_path, document) == (lines, "")

    def test_numbers_survive(self, tmp_path):
        """Numbers of any length have all their digits: no parser is between the file and the decoder."""
        number = b"9" * 10_000
        assert split(tmp_path, b'[{"a":%b}]' % number) == ([b'{"a":%b}' % number], "")

    @pytest.mark.parametrize(
        ("document", "count", "damage"),
        [
            (b'[{"a":1},{"a":2', 2, "truncated"),
            (b'[{"a":1},{"a":"2', 2, "truncated"),
            (b'[{"a":1},', 1, "truncated"),
            (b'[{"a":1}', 1, "truncated"),
            (b"[", 0, "truncated"),
            (b'{"a":1}{"b"', 2, "truncated"),
            (b'[{"a":1}],{"a":2}', 1, "after the array"),
            (b'[{"a":1},{"a":[2}]}]', 2, "closes no bracket"),
            (b'{"a":1}]', 1, "closes no bracket"),
            (b"[" * 100_000, 1, "nested more than"),
            (b'[{"a":1' + b" " * 2_000_000 + b"}]", 1, "white space"),
        ],
    )
    def test_damage(self, tmp_path, document, count, damage):
        """A document that ends early or is not JSON as a whole gives the rows before, and the damage."""
        lines, found = split(tmp_path, document)
        assert damage in found
        assert len(lines) == count

    def test_other_files(self, tmp_path):
        """A file without brackets is one record, which the decoder rejects."""
        assert split(tmp_path, b"hello, world") == ([b"hello, world"], "")


class TestPartition:
    """A document read by the daemon's reader."""

    @pytest.mark.parametrize("suffix", [".json", ".json.gz"])
    def test_pretty_printed(self, tmp_path, suffix):
        """A document with an element over several lines gives the same rows, and the replay the same records."""
        rows, path = some_rows(300), tmp_path / f"a{suffix}"
        data = json.dumps(rows, indent=2).encode()
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
        source = opened(path)
        found = drain(source, 7)
        assert [orjson.loads(value) for value in found] == rows
        assert [value for _, value, _ in everything(source)] == found

    def test_truncated_record(self, tmp_path):
        """The last, incomplete element is a record marked as truncated, also in the replay."""
        (tmp_path / "a.json").write_bytes(b'[{"n":1},\n{"n":2},\n{"n":')
        source = opened(tmp_path / "a.json")
        records = source.read(10)
        assert records is not None
        assert records.values == [b'{"n":1}', b'{"n":2}']
        last = source.read(10)
        assert last is not None
        assert (last.values, last.problems) == ([b'{"n":'], {0: "truncated"})
        assert everything(source) == [(0, b'{"n":1}', ""), (8, b'{"n":2}', ""), (16, b'{"n":', "truncated")]
        assert source.finished()

    def test_nothing_but_damage(self, tmp_path):
        """A document that is damaged before its first row is an error."""
        (tmp_path / "a.json").write_bytes(b"[]]")
        with pytest.raises(SourceGoneError, match="before the first event"):
            drain(opened(tmp_path / "a.json"))

    def test_too_large(self, tmp_path):
        """A row longer than a record may be is a reject by itself; the others are events."""
        (tmp_path / "a.json").write_bytes(b'[{"n":1},{"n":"%b"},{"n":3}]' % (b"x" * 200_000))
        source = opened(tmp_path / "a.json", max_record_bytes=100)
        assert [len(value) for value in drain(source)] == [7, 100, 7]
        assert [problem for _, _, problem in everything(source)] == ["", "too_large", ""]

    def test_written_while_followed(self, tmp_path):
        """Rows of a document that is still being written are read when they are complete."""
        path, found = tmp_path / "a.json", list[bytes]()
        path.write_bytes(b"")
        source = opened(path, growing=lambda: True)
        for piece in (b'[{"n"', b':1}, {"n":2}\n', b',{"n"', b":3}", b"]"):
            with path.open("ab") as file:
                file.write(piece)
            found += drain(source)
        assert found == [b'{"n":1}', b'{"n":2}', b'{"n":3}']

    def test_bounded_memory(self, tmp_path):
        """Neither 2 MB of rows nor one row of 2 MB is kept in memory."""
        row, most = b'{"series":"abc","n":1,"value":0.5},\n', 2_000_000
        documents = [b"[" + row * (most // len(row)) + b"{}]", b'{"a":"' + b"x" * most + b'"}']
        for document in documents:
            (tmp_path / "a.json").write_bytes(document)
            source, size = open_bytes(tmp_path / "a.json", 0, form="json"), 0
            tracemalloc.start()
            with closing(source):
                while data := source.read(1 << 20):
                    size += len(data)
                    source.at(size)  # as a commit does: no bytes are kept for the checksum
                peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert size > 0.8 * most
            assert peak < 3 << 18


class TestFormats:
    """Formats by the names and by the first bytes of files."""

    def test_by_name(self):
        """Suffixes and the setting determine the format; .json is JSON lines unless the setting says otherwise."""
        names = {
            "a.parquet": "parquet",
            "a.pq": "parquet",
            "a.avro": "avro",
            "a.parquet.1": "parquet",
            "a.json": "jsonl",
        }
        assert {name: file_format(name, "auto") for name in names} == names
        assert {file_format(name, "json") for name in ("a", "a.json", "a.json.gz")} == {"json"}

    @pytest.mark.parametrize(
        ("start", "expected"),
        [
            (b"PAR1\x15\x04", "parquet"),
            (b"Obj\x01\x04", "avro"),
            (b'[{"a":1},', "json"),
            (b' \n[\n  {"a":1', "json"),
            (b'{\n  "a": 1\n}', "json"),
            (b'{"a": {\n', "json"),
            (b'{"a": "}",\n "b": 1}', "json"),
            (b'{"a":1}\n{"a":2}\n', "jsonl"),
            (b'\xef\xbb\xbf{"a":"{"}\r\n', "jsonl"),
            (b'{"a":1}', "jsonl"),
            (b'{"a":' + b"1" * 4000, "jsonl"),
            (b"series,timestamp,value\n", None),
            (b"# a\nm,a=b f=1 1767571200000000000\n", "influx"),
            (b"m,a=b f=1\n", None),
            (b"\x1f\x8b\x08\x00", None),
            (b"", None),
        ],
    )
    def test_by_first_bytes(self, start, expected):
        """The first bytes tell the formats apart; gzip and CSV are None."""
        assert sniff_format(start) == expected
