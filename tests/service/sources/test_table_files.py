"""Files of rows as partitions: the same records as from JSON lines, restarts, replays, changed and damaged files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opened_sources import OPENED
from pyarrow import parquet
from row_forms import AVRO, FORMS, drain, everything, lines_of, some_rows, write_avro, write_parquet, written

from service.config.sections import Config
from service.errors import ConfigurationError, SourceGoneError
from service.sources.byte_source import open_bytes
from service.sources.file_source import FileSource
from service.sources.local import local_source
from service.sources.manifest import FileEntry

every_form = pytest.mark.parametrize("form", FORMS)


def opened(
    entry: object, setting: str, entries: list[FileEntry] | None = None, committed: int | None = None, **how: Any
) -> FileSource:
    """Opens a source at the committed position."""
    source = FileSource(str(entry), setting, **how)
    OPENED.append(source)
    source.open(entries or [], committed)
    return source


class TestRecords:
    """The records of a file that is as it should be."""

    @every_form
    @pytest.mark.parametrize("limit", [1, 7, 1000])
    def test_as_from_json_lines(self, tmp_path, form, limit):
        """The records are the rows, however many are read at once, and the source ends after them."""
        rows = some_rows(333)
        source = opened(*written(tmp_path, form, rows))
        values = drain(source, limit)
        assert [orjson.loads(value) for value in values] == rows
        assert values == [orjson.dumps(row) for row in rows]
        assert source.position == sum(map(len, values)) + len(values)
        assert source.finished()
        assert source.lag() == 0

    @every_form
    def test_resumed_at_every_position(self, tmp_path, form):
        """A restart at any committed position continues with the next record, and a replay gives the same."""
        path, setting = written(tmp_path, form, some_rows(130))
        source, committed = opened(path, setting), list[tuple[int, list[FileEntry]]]()
        while (records := source.read(1)) is not None:
            committed.append((records.next_position, source.manifest(records.next_position)))
        whole = everything(source)
        assert len(whole) == len(committed) == 130
        for at, (position, entries) in enumerate(committed):
            with closing(FileSource(str(path), setting)) as again:
                again.open(entries, position)
                assert drain(again) == [value for _, value, _ in whole[at + 1 :]]
                assert everything(again, start=whole[at // 2][0], limit=1 + at) == whole[at // 2 :]

    @every_form
    def test_glob(self, tmp_path, form):
        """The files of a glob are read one after the other, also a file that appears later, and none of them twice."""
        name, setting, write = FORMS[form]
        rows = some_rows(60)
        for at in range(3):
            write(tmp_path / f"{at}-{name}", rows[at * 20 : at * 20 + 20])
        growing = [True]
        source = opened(tmp_path / f"*-{name}", setting, growing=lambda: growing[0])
        assert len(drain(source)) == 60
        write(tmp_path / f"3-{name}", rows[:5])
        assert [orjson.loads(value) for value in drain(source)] == rows[:5]
        os.utime(tmp_path / f"1-{name}")  # touched, not changed
        growing[0] = False
        assert drain(source) == []
        again = opened(tmp_path / f"*-{name}", setting, source.manifest(source.position), source.position)
        assert drain(again) == []
        assert len(everything(again)) == 65

    @every_form
    def test_no_rows(self, tmp_path, form):
        """A file without rows has no records and no damage."""
        path, setting = written(tmp_path, form, [])
        source = opened(path, setting)
        assert source.read(10) is None
        assert source.finished()

    @given(
        rows=st.lists(st.builds(
            lambda series, n, value: {"series": series, "n": n, "value": value}, st.text(max_size=30),
            st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False, allow_infinity=False),
        ), max_size=60),
        size=st.integers(1, 300),
    )  # fmt: skip
    @settings(max_examples=40, deadline=None)
    def test_any_rows(self, tmp_path_factory, rows, size):
        """Every form gives the bytes of JSON lines for any rows, in pieces of any size."""
        folder = tmp_path_factory.mktemp("rows")
        for form in ("parquet", "avro"):
            path, setting = written(folder, form, rows)
            lines, damage = lines_of(path, form, size)
            assert (lines, damage) == ([orjson.dumps(row) for row in rows], ""), setting


class TestValues:
    """Values of types that JSON does not have."""

    def test_of_parquet(self, tmp_path):
        """Times are ISO-8601, decimals numbers, bytes base64, maps objects; what JSON cannot have is null."""
        moment = datetime.fromisoformat("2026-01-05T12:00:00.250")
        inner = pa.struct([("when", pa.list_(pa.timestamp("ns"))), ("empty", pa.int8())])
        columns = {
            "naive": (pa.timestamp("ns"), moment, "2026-01-05T12:00:00.250000"),
            "whole": (pa.timestamp("ms"), moment.replace(microsecond=0), "2026-01-05T12:00:00"),
            "zone": (pa.timestamp("us", "Europe/Berlin"), moment.replace(tzinfo=UTC), "2026-01-05T12:00:00.250000Z"),
            "far": (pa.timestamp("s"), 10**14, None),
            "date": (pa.date32(), date(2026, 1, 5), "2026-01-05"),
            "clock": (pa.time64("ns"), clock(1, 2, 3), "01:02:03"),
            "span": (pa.duration("ms"), 1500, 1.5),
            "price": (pa.decimal128(12, 2), Decimal("1.10"), 1.1),
            "raw": (pa.binary(), b"\x00\xff", "AP8="),
            "nan": (pa.float64(), float("nan"), None),
            "large": (pa.uint64(), (1 << 64) - 1, (1 << 64) - 1),
            "kind": (pa.dictionary(pa.int8(), pa.string()), "a", "a"),
            "tags": (pa.map_(pa.string(), pa.list_(pa.binary())), [("k", [b"v"])], {"k": ["dg=="]}),
            "none": (pa.map_(pa.string(), pa.int8()), [], {}),
            "by": (pa.list_(pa.map_(pa.int32(), pa.timestamp("ns"))), [[(7, moment)]],
                   [{"7": "2026-01-05T12:00:00.250000"}]),
            "nested": (inner, {"when": [moment, None], "empty": None},
                       {"when": ["2026-01-05T12:00:00.250000", None], "empty": None}),
        }  # fmt: skip
        table = pa.table({name: pa.array([value, None], kind) for name, (kind, value, _) in columns.items()})
        parquet.write_table(table, tmp_path / "a.parquet")
        lines, damage = lines_of(tmp_path / "a.parquet", "parquet")
        assert damage == ""
        assert [orjson.loads(line) for line in lines] == [
            {name: expected for name, (_, _, expected) in columns.items()}, dict.fromkeys(columns)
        ]  # fmt: skip
        assert b'"price":1.10,' in lines[0]

    def test_of_avro(self, tmp_path):
        """Logical types, unions, enumerations, maps and nested records have the same form as in Parquet."""
        kinds = {
            "when": ({"type": "long", "logicalType": "timestamp-micros"}, datetime(2026, 1, 5, 12, tzinfo=UTC),
                     "2026-01-05T12:00:00Z"),
            "local": ({"type": "long", "logicalType": "local-timestamp-millis"},
                      datetime.fromisoformat("2026-01-05T12:00:00.005"),
                      "2026-01-05T12:00:00.005000"),
            "day": ({"type": "int", "logicalType": "date"}, date(2026, 1, 5), "2026-01-05"),
            "price": ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("1.10"), 1.1),
            "id": ({"type": "string", "logicalType": "uuid"}, UUID(int=5), "00000000-0000-0000-0000-000000000005"),
            "raw": ({"type": "fixed", "name": "Two", "size": 2}, b"\x00\xff", "AP8="),
            "nan": ("double", float("nan"), None),
            "maybe": (["null", "string"], None, None),
            "kind": ({"type": "enum", "name": "Kind", "symbols": ["A", "B"]}, "B", "B"),
            "tags": ({"type": "map", "values": "int"}, {"k": 1}, {"k": 1}),
            "inner": ({"type": "record", "name": "Inner", "fields": [
                {"name": "of", "type": {"type": "array", "items": "bytes"}}]}, {"of": [b"v"]}, {"of": ["dg=="]}),
        }  # fmt: skip
        fields = [{"name": name, "type": kind} for name, (kind, _, _) in kinds.items()]
        with (tmp_path / "a.avro").open("wb") as file:
            row = {name: value for name, (_, value, _) in kinds.items()}
            fastavro.writer(file, {"type": "record", "name": "Row", "fields": fields}, [row])
        (line,), damage = lines_of(tmp_path / "a.avro", "avro")
        assert (orjson.loads(line), damage) == ({name: expected for name, (_, _, expected) in kinds.items()}, "")
        assert b'"price":1.10,' in line

    @pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "bzip2", "xz"])
    def test_codecs_of_avro(self, tmp_path, codec):
        """Blocks of every codec that needs no further package are read."""
        with (tmp_path / "a.avro").open("wb") as file:
            fastavro.writer(file, AVRO, some_rows(50), codec=codec)
        assert len(lines_of(tmp_path / "a.avro", "avro")[0]) == 50


class TestDamage:
    """Files that are truncated, broken, or of another kind."""

    @every_form
    def test_truncated_anywhere(self, tmp_path, form):
        """A file cut anywhere gives its first rows, at most one record marked as truncated, and never an exception."""
        path, setting = written(tmp_path, form, some_rows(120))
        whole, data = drain(opened(path, setting)), path.read_bytes()
        for size in {*range(1, len(data), max(1, len(data) // 60)), *range(len(data) - 40, len(data))}:
            path.write_bytes(data[:size])
            lines, damage = lines_of(path, "json" if form == "gz" else form)
            if not damage:  # between two blocks or rows, and of a document outside of its brackets
                assert form in {"avro", "annotated-csv"} or lines in ([], whole)
            kept = lines[:-1] if lines and lines[-1] not in whole else lines
            assert kept == whole[: len(kept)]

    @pytest.mark.parametrize("form", ["parquet", "avro"])
    def test_broken_anywhere(self, tmp_path, form):
        """A file with any byte changed gives records or damage, and never an exception."""
        path, _ = written(tmp_path, form, some_rows(120))
        data = path.read_bytes()
        for at in range(0, len(data), max(1, len(data) // 300)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
            lines_of(path, form)

    def test_rows_before_the_damage(self, tmp_path):
        """The rows of the row groups and blocks before a broken one are records; the rest is reported, not raised."""
        path, setting = written(tmp_path, "parquet", some_rows(200))
        about = parquet.ParquetFile(path).metadata.row_group(2).column(1)
        data = bytearray(path.read_bytes())
        start = about.dictionary_page_offset or about.data_page_offset
        data[start : start + about.total_compressed_size] = bytes(about.total_compressed_size)
        path.write_bytes(data)
        source = opened(path, setting)
        assert len(drain(source)) == 100
        assert source._reported[str(path)].startswith("damaged Parquet data")
        path, setting = written(tmp_path, "avro", some_rows(400))
        data = bytearray(path.read_bytes())
        data[-30:-10] = bytes(20)
        path.write_bytes(data)
        source = opened(path, setting)
        assert 0 < len(drain(source)) < 400
        assert "Avro" in source._reported[str(path)]

    @pytest.mark.parametrize("form", ["parquet", "avro"])
    def test_another_kind_of_file(self, tmp_path, form):
        """A file that is something else is an error that says what its first bytes are."""
        path = tmp_path / f"a.{form}"
        path.write_bytes(b'{"series":"a"}\n' * 100)
        with pytest.raises(SourceGoneError, match=r"begins with b'\{\"se'.* before the first event"):
            drain(opened(path, "auto"))

    @pytest.mark.parametrize("form", ["parquet", "avro"])
    def test_written_while_followed(self, tmp_path, form):
        """A followed file that is still being written is waited for, and read once when its rows are there."""
        name, setting, write = FORMS[form]
        write(tmp_path / name, some_rows(200))
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"")
        source, values = opened(tmp_path / name, setting, growing=lambda: True), list[bytes]()
        for start in range(0, len(data), 1000):
            with (tmp_path / name).open("ab") as file:
                file.write(data[start : start + 1000])
            values += drain(source)
        assert [orjson.loads(value)["n"] for value in values] == [*range(200)]

    @pytest.mark.parametrize("form", ["parquet", "avro"])
    def test_completed_after_others(self, tmp_path, form):
        """A file of a glob that was left because it was incomplete is read when it is complete."""
        name, setting, write = FORMS[form]
        write(tmp_path / f"1-{name}", some_rows(200))
        data = (tmp_path / f"1-{name}").read_bytes()
        (tmp_path / f"1-{name}").write_bytes(data[:3000])
        write(tmp_path / f"2-{name}", some_rows(50))
        source = opened(tmp_path / f"*-{name}", setting, growing=lambda: True)
        found = [orjson.loads(value)["n"] for value in drain(source)]
        assert found[-50:] == [*range(50)]
        with (tmp_path / f"1-{name}").open("ab") as file:
            file.write(data[3000:])
        found += [orjson.loads(value)["n"] for value in drain(source)]
        assert sorted(found) == sorted([*range(200), *range(50)])
        assert [orjson.loads(value)["n"] for _, value, _ in everything(source)] == found

    @pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz"])
    def test_expanding_block(self, tmp_path, codec):
        """A block that would fill the memory is damage; the rows before it are read."""
        with (tmp_path / "a.avro").open("wb") as file:
            fastavro.writer(file, AVRO, [*some_rows(5)], codec=codec, sync_interval=1)
        with (tmp_path / "a.avro").open("a+b") as file:
            fastavro.writer(file, None, [{"series": "x" * (70 << 20), "n": 1, "value": 0.0}], codec=codec)
        lines, damage = lines_of(tmp_path / "a.avro", "avro")
        assert len(lines) == 5
        assert "expands to more than" in damage


class TestChangedFiles:
    """A file of rows that is changed after it was read is an error."""

    @every_form
    def test_restart(self, tmp_path, form):
        """A restart notices a file with other rows; with `cold` it continues with them."""
        path, setting = written(tmp_path, form, some_rows(100))
        source = opened(path, setting)
        assert source.read(50) is not None
        position = source.position
        entries = source.manifest(position)
        FORMS[form][2](path, [row | {"value": 1.5} for row in some_rows(100)])
        with pytest.raises(SourceGoneError, match=r"was (rewritten|replaced)"):
            opened(path, setting, entries, position)
        again = opened(path, setting, entries, position, cold=True)
        assert len(drain(again)) == 100

    @every_form
    @pytest.mark.parametrize("count", [90, 100, 110])
    def test_followed(self, tmp_path, form, count):
        """A followed file that is rewritten in place with fewer, as many or more rows is noticed."""
        path, setting = written(tmp_path, form, some_rows(100))
        source = opened(path, setting, growing=lambda: True)
        assert len(drain(source)) == 100
        time.sleep(0.01)  # another modification time
        FORMS[form][2](path, [row | {"value": 1.5} for row in some_rows(count)])
        with pytest.raises(SourceGoneError, match=r"was (rewritten|truncated)"):
            drain(source)

    def test_while_it_is_read(self, tmp_path):
        """A Parquet file that is rewritten between two batches is not read on."""
        write_parquet(tmp_path / "a.parquet", some_rows(5000))
        source = open_bytes(tmp_path / "a.parquet", 0, form="parquet")
        assert source.read(1 << 20)
        write_parquet(tmp_path / "a.parquet", some_rows(4000))
        with closing(source), pytest.raises(SourceGoneError, match="was rewritten"):
            list(iter(lambda: source.read(1 << 20), b""))


class TestSettings:
    """What the configuration says about such files."""

    @pytest.mark.parametrize(("form", "package"), [("parquet", "pyarrow"), ("avro", "fastavro")])
    def test_missing_extra(self, tmp_path, monkeypatch, form, package):
        """Without its package a format is an error at the start, with the command that installs it."""
        path, setting = written(tmp_path, form, some_rows(1))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else 1)
        for entry in (path, tmp_path / f"*.{form}"):
            with pytest.raises(ConfigurationError, match=rf"needs {package}.* pip install 'forecaster-daemon\[{form}"):
                FileSource(str(entry), setting)

    @pytest.mark.parametrize("form", ["parquet", "avro"])
    def test_no_gzip_around(self, form):
        """Formats that compress their content are refused with .gz around them."""
        with pytest.raises(ConfigurationError, match="unpack it"):
            FileSource(f"a.{form}.gz")

    @pytest.mark.parametrize("form", ["json", "parquet", "avro"])
    def test_pipes(self, tmp_path, form):
        """Standard input is read as lines only."""
        values = {"input": {"files": ["-"], "format": form}, "state": {"data_dir": str(tmp_path)}}
        with pytest.raises(ConfigurationError, match="from files only"):
            local_source(Config.model_validate(values))

    def test_lazy_imports(self, tmp_path):
        """Reading lines imports none of the packages of the other formats."""
        (tmp_path / "a.jsonl").write_text('{"a":1}\n')
        code = (
            "import sys; from service.sources.file_source import FileSource; import service.sources.local\n"
            f"source = FileSource({str(tmp_path / 'a.jsonl')!r}); source.open([], None); assert source.read(5)\n"
            "assert not {'pyarrow', 'fastavro'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("form", ["parquet", "avro"])
def test_bounded_memory(tmp_path, form):
    """Reading 8 MB of lines from one row group, or from many blocks, allocates a small part of them."""
    rows = [{"series": f"{n % 7:0100d}", "n": n, "value": n / 7} for n in range(60_000)]
    if form == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=len(rows))
    else:
        write_avro(tmp_path / "a.avro", rows)
    del rows
    source, size = open_bytes(tmp_path / f"a.{form}", 0, form=form), 0
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with closing(source):
        while data := source.read(1 << 20):
            size += len(data)
            source.at(size)  # as a commit does: no bytes are kept for the checksum
            assert pa.total_allocated_bytes() - before < 4 << 20
        most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 8_000_000
    assert most < 4 << 20
