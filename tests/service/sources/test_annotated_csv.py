"""Annotated CSV of InfluxDB: every row of every table is one record, typed, with the name that line protocol gives."""

from __future__ import annotations

import csv
import io
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_forms import drain, everything, lines_of

from service.messages.line_protocol import parse_line
from service.sources.byte_source import open_bytes
from service.sources.file_source import FileSource

# With a comma, because the writer below does not quote a text for a carriage return alone.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6).map(
    lambda text: f"{text}," if "\r" in text else text
)
names = st.from_regex(r"[a-z]{1,6}", fullmatch=True).filter(lambda name: name not in {"result", "table"})
cells = st.fixed_dictionaries({
    "text": texts, "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(1 << 63), (1 << 64) - 1),
    "truth": st.booleans(),
})  # fmt: skip
tables = st.tuples(st.lists(names, min_size=3, max_size=3, unique=True), st.lists(cells, max_size=4), texts)


def written(found: list[tuple[list[str], list[dict[str, Any]], str]], end: str) -> tuple[bytes, list[dict[str, Any]]]:
    """Returns a document of tables with a text, a number and a truth in each row, and what its rows are."""
    document, rows = io.StringIO(newline=""), []
    writer = csv.writer(document, lineterminator=end)
    for columns, content, default in found:
        writer.writerow(["#group", "false", "false", "false", "false"])
        writer.writerow(["#datatype", "long", "string", "double", "boolean"])
        writer.writerow(["#default", "7", default, "", ""])
        writer.writerow(["", "table", *columns])
        for row in content:
            number, truth = repr(row["number"]), str(row["truth"]).lower()
            writer.writerow(["", "", row["text"], number, truth])
            text = row["text"] or default or None
            rows.append({"table": 7, **dict(zip(columns, [text, row["number"], row["truth"]], strict=True))})
        document.write(end)
    return document.getvalue().encode(), rows


@given(found=st.lists(tables, max_size=4), size=st.integers(1, 70), end=st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=80, deadline=None)
def test_any_tables(tmp_path_factory, found, size, end) -> None:
    """The rows are those that were written, in order, wherever the pieces of the document end."""
    path = tmp_path_factory.mktemp("tables") / "a.csv"
    document, rows = written(found, end)
    path.write_bytes(document)
    lines, damage = lines_of(path, "annotated-csv", size)
    assert damage == ""
    assert [orjson.loads(line) for line in lines] == [{key: one for key, one in row.items() if key} for row in rows]


HEAD = "#datatype,string,long,dateTime:RFC3339,{},string,string,string,string\n"
COLUMNS = ",result,table,_time,_value,_field,_measurement,{},{}\n"


def read(folder: Path, text: str) -> list[Any]:
    """Returns the rows of a document."""
    (folder / "a.csv").write_text(text)
    lines, damage = lines_of(folder / "a.csv", "annotated-csv")
    assert damage == ""
    return [orjson.loads(line) for line in lines]


def test_names_of_line_protocol(tmp_path: Path) -> None:
    """A series has the name that the same point has in line protocol, whatever the tags of its table are."""
    first = HEAD.format("double") + COLUMNS.format("host", "a b") + ",,0,2026-01-05T00:00:00Z,1.5,used,cpu l,w 0,x=y\n"
    second = HEAD.format("long") + COLUMNS.format("zone", "host") + ",,0,2026-01-05T00:00:00Z,-2,free,disk,,web1\n"
    found = read(tmp_path, f"{first}\n{second}\n")
    points = [
        r"cpu\ l,host=w\ 0,a\ b=x\=y used=1.5 1767571200000000000",
        "disk,host=web1 free=-2i 1767571200000000000",
    ]
    for row, point, field in zip(found, points, ("used", "free"), strict=True):
        cells = parse_line(point)
        assert row["series"] == f"{cells['series']} {field}"
        assert row["timestamp"] == "2026-01-05T00:00:00Z"
    assert [row["value"] for row in found] == [1.5, -2]


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (",,0,2026,NaN,f,m,a,b\n", [None]),
        (",,0,2026,,f,m,a,b\n", [None]),
        (",,0,2026,0x1,f,m,a,b\n", ["0x1"]),
        (",,0,2026,1,f,m\n,,0,2026,2,f,m,a,b\n", [",,0,2026,1,f,m", 2]),
        ("\n\n,,0,2026,1,f,m,a,b\n", [1]),
        (',,0,2026,1,f,m,"a\nb",c\n', [1]),
        (",,0,2026,1,f,m,a,b\n\n" + COLUMNS.format("h", "i") + ",,0,2026,2,f,m,a,b\n", [1, "2"]),
    ],
)  # fmt: skip
def test_rows(tmp_path: Path, body: str, rows: list[Any]) -> None:
    """Values that are not finite or empty are missing; a row with other columns is a text, which is rejected."""
    found = read(tmp_path, HEAD.format("double") + COLUMNS.format("x", "y") + body)
    assert [row if isinstance(row, str) else row["value"] for row in found] == rows


@pytest.mark.parametrize(
    ("text", "damage"),
    [("#datatype,long,long\n,a,b\n,1,2\n,3", "its last row has no line end"),
     ('#datatype,string\n,a\n,b\n,"c', "its last row has no line end"),
     ("#datatype,string\n,a\n,b\n#datatype,long", "its last row has no line end"),
     ("#datatype,string\n,a\n,b\n," + "x" * (2 << 20), "a row of more than 1048576 bytes")],
)  # fmt: skip
def test_damage(tmp_path: Path, text: str, damage: str) -> None:
    """A document that ends within a row, or has one without end, gives the rows before and the damage."""
    (tmp_path / "a.csv").write_text(text)
    lines, found = lines_of(tmp_path / "a.csv", "annotated-csv")
    assert damage in found
    assert len(lines) <= 1


KINDS = {
    "row": (",0,t,1.5", {"table": 0, "text": "t", "x": 1.5}),
    "several lines": (',0,"a, ""b""\n\n,c",2.5', {"table": 0, "text": 'a, "b"\n\n,c', "x": 2.5}),
    "literal": (',0,t"u,3.5', {"table": 0, "text": 't"u', "x": 3.5}),
    "stray": (',0,"oops,4.5', ',0,"oops,4.5'),
}


@given(
    kinds=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=12), size=st.integers(1, 70), whole=st.booleans()
)
@settings(max_examples=80, deadline=None)
def test_stray_quotes(tmp_path_factory, kinds, size, whole) -> None:
    """A quote that never closes costs its own line; a last row needs no line end."""
    kinds = [*kinds, "row"]
    path = tmp_path_factory.mktemp("strays") / "a.csv"
    body = "\n".join(KINDS[kind][0] for kind in kinds)
    path.write_text("#datatype,long,string,double\n,table,text,x\n" + body + "\n" * whole)
    lines, damage = lines_of(path, "annotated-csv", size)
    assert damage == ""
    assert [orjson.loads(line) for line in lines] == [KINDS[kind][1] for kind in kinds]


def test_quote_at_the_end(tmp_path: Path) -> None:
    """A quote that is open at the end of the file costs its own line; one of a later table is another one."""
    rows = "".join(f",{at}\n" for at in range(50_000))
    found = read(tmp_path, f'#datatype,string\n,a\n,"b\n{rows}#datatype,long\n,a\n,1\n,"\n,2')
    assert found == [',"b', *({"a": str(at)} for at in range(50_000)), {"a": 1}, ',"', {"a": 2}]


def test_unfinished_last_row(tmp_path: Path) -> None:
    """It is read once, also by a replay and after a restart; of a file that is followed not before its line end."""
    path = tmp_path / "a.csv"
    path.write_text('#datatype,long\n,a\n,1\n,"x\n,2')
    followed = FileSource(str(path), "annotated-csv", growing=lambda: True)
    followed.open([], None)
    assert drain(followed) == [b'{"a":1}']
    source = FileSource(str(path), "annotated-csv")
    source.open([], None)
    rows, more = [b'{"a":1}', b'",\\"x"', b'{"a":2}'], [b'{"a":3}', b'{"a":"y"}']
    assert drain(source, 1) == rows
    assert source.finished()
    assert [value for _, value, _ in everything(source)] == rows
    assert [value for _, value, _ in everything(source, source.position - 8)] == rows[2:]
    entries, position = source.manifest(source.position), source.position
    for growing in (False, True):
        again = FileSource(str(path), "annotated-csv", growing=lambda growing=growing: growing)
        again.open(entries, position)
        assert drain(again) == []
        with path.open("a") as file:
            file.write('\n,3\n,"y"\n,4' if growing else "")
        assert drain(again) == (more if growing else [])
        again.close()
    assert drain(followed) == [*rows[1:], *more]
    followed.close()
    source.close()


def test_bounded_memory(tmp_path: Path) -> None:
    """Neither many rows, nor a row without end, nor many tables are kept in memory."""
    table = b"#datatype,string,long,double\n,result,table,value\n"
    for body in (
        table + b",,0,1.5\n" * 10_000,
        table + b',,0,"' + (b"x" * 99 + b"\n") * 20_000,
        table + b',,0,"' + b"xxx\n" * 50_000,
        (table + b",,0,1\n\n") * 2_000,
    ):
        (tmp_path / "a.csv").write_bytes(body)
        source, size = open_bytes(tmp_path / "a.csv", 0, form="annotated-csv"), 0
        tracemalloc.start()
        with closing(source):
            while data := source.read(1 << 20):
                size += len(data)
                source.at(size)
            peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20
