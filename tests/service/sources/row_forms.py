"""Writes rows in every form of a file of rows, and reads them as the daemon does."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pyarrow as pa
from pyarrow import parquet

from service.sources.byte_source import open_bytes
from service.sources.file_source import FileSource

Row = dict[str, Any]
AVRO = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "series", "type": "string"},
        {"name": "n", "type": "long"},
        {"name": "value", "type": "double"},
    ],
}


def some_rows(count: int) -> list[Row]:
    """Returns distinct rows."""
    return [{"series": "abc"[n % 3] * (1 + n % 40), "n": n, "value": n / 7} for n in range(count)]


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Writes row groups of fifty rows."""
    kinds = pa.schema([("series", pa.string()), ("n", pa.int64()), ("value", pa.float64())])
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=kinds), path, row_group_size=50)


def write_avro(path: Path, rows: Sequence[Row]) -> None:
    """Writes compressed blocks of some thousand bytes."""
    with path.open("wb") as file:
        fastavro.writer(file, AVRO, rows, codec="deflate", sync_interval=2000)


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Writes one array, without spaces."""
    path.write_bytes(json.dumps(list(rows), separators=(",", ":")).encode())


def write_json_gz(path: Path, rows: Sequence[Row]) -> None:
    """Writes one array with its elements in lines of their own, compressed."""
    path.write_bytes(gzip.compress(b"[\n" + b",\n".join(map(orjson.dumps, rows)) + b"\n]\n"))


def write_annotated(path: Path, rows: Sequence[Row]) -> None:
    """Writes annotated tables of fifty rows."""
    tables = []
    for begin in range(0, len(rows), 50):
        lines = (f',"{row["series"]}",{row["n"]},{row["value"]!r}' for row in rows[begin : begin + 50])
        head = "#datatype,string,long,double\r\n,series,n,value"
        tables.append("\r\n".join([head, *lines, "\r\n"]))
    path.write_text("".join(tables), newline="")


FORMS: dict[str, tuple[str, str, Callable[[Path, Sequence[Row]], None]]] = {
    "parquet": ("a.parquet", "auto", write_parquet),
    "avro": ("a.avro", "auto", write_avro),
    "json": ("a.json", "json", write_json),
    "gz": ("a.json.gz", "json", write_json_gz),
    "annotated-csv": ("a.csv", "annotated-csv", write_annotated),
}
"""Name of a file, `input.format` and writer of every form."""


def written(folder: Path, form: str, rows: Sequence[Row]) -> tuple[Path, str]:
    """Writes rows and returns the file and `input.format`."""
    name, setting, write = FORMS[form]
    write(folder / name, rows)
    return folder / name, setting


def lines_of(path: Path, form: str, size: int = 1 << 20) -> tuple[list[bytes], str]:
    """Returns the lines of a file that does not grow, and its damage."""
    source, data = open_bytes(path, 0, form=form), b""
    source.complete()
    try:
        while piece := source.read(size):
            data += piece
        return data.splitlines(), source.damage()
    finally:
        source.close()


def drain(source: FileSource, limit: int = 1000) -> list[bytes]:
    """Returns the values of all available records."""
    values: list[bytes] = []
    while (records := source.read(limit)) is not None:
        values += records.values
    return values


def everything(source: FileSource, start: int = 0, limit: int = 7) -> list[tuple[int, bytes, str]]:
    """Returns position, bytes and problem of all records read, by a replay."""
    return [
        (position, value, records.problems.get(at, ""))
        for records in source.replay(start, source.position, limit)
        for at, (position, value) in enumerate(zip(records.positions, records.values, strict=True))
    ]
