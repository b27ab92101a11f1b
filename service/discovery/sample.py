"""A sample of an input: its first records, as rows of cells by path.

A row has the cells of one event at most: a record with an array of objects gives a row per element, with the fields
around the array in each. Only what could be a time, a name or a number is a cell: texts, numbers, booleans and null.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from service.config.field_paths import FieldPath
from service.config.input import InputConfig
from service.errors import ConfigurationError, ServiceError
from service.messages.decode import CSV_HEADER
from service.messages.depth import too_deep
from service.messages.envelopes import NotAnEvent, unwrap
from service.messages.frames import Frames, json_payload, schema_id
from service.messages.numbers import Notation
from service.messages.parse_csv import SEPARATORS, column_names, split
from service.messages.record_filter import RecordFilter
from service.messages.timestamps import parse_time
from service.ports import Records
from service.sources.byte_source import open_bytes
from service.sources.catalog import Catalog
from service.sources.file_source import FileSource
from service.sources.manifest import Format, file_format, sniff_format

MOST_RECORDS: Final = 20_000  # enough to see a week in hourly data of many series
_MOST_CELLS: Final = 500_000  # of the rows of a table
_START_BYTES: Final = 65_536
_FEWEST_ROWS: Final = 200
_MOST_ROWS: Final = 10_000
_DEEPEST: Final = 6  # levels of nested objects and arrays that are searched for fields
_PLAIN: Final = re.compile(r"[^.\[\]/{}][^.\[\]{}]*")  # a name that a path can have as it is
Row = dict[str, object]


class NothingToReadError(ServiceError):
    """There is no such file, or it has no records."""


@dataclass(frozen=True, slots=True)
class InputSample:
    """The first records of an input.

    Attributes:
        source: its name, for people.
        records: as they were read; rows: their cells, by path.
        format: as `input.format`. separator: of the columns of CSV, a key of `SEPARATORS`, else "".
        envelope: around the records, "" for none.
        complete: whether the input has no further records.
        several_files: whether it is a glob, whose files are one partition.
        guessed: whether the format was found by the first bytes, because the name says nothing.
        frames: decodes records in the wire format of a schema registry; None without one.
    """

    source: str
    records: Records
    rows: Sequence[Row]
    format: Format
    separator: str = ""
    envelope: str = ""
    complete: bool = False
    several_files: bool = False
    guessed: bool = False
    frames: Frames | None = None

    @property
    def paths(self) -> list[str]:
        """The paths of all cells, in the order of their first appearance."""
        return list(dict.fromkeys(path for row in self.rows for path in row))


def sample_of_file(entry: str, settings: InputConfig) -> InputSample:
    """Reads the first records of a file, or of the first file of a glob.

    Raises:
        ServiceError: there is no such file, or it cannot be read.
    """
    kind, guessed = format_of(entry, settings)
    source = FileSource(entry, kind, max_record_bytes=settings.max_record_bytes, named=True)
    source.open([], None)
    try:
        records = source.read(MOST_RECORDS)
        complete = records is None or source.lag() == 0
    finally:
        source.close()
    if records is None or not len(records):
        msg = f'input.files: got "{entry}", which has no records; expected at least one'
        raise NothingToReadError(msg)
    header = None if records.headers is None else dict(records.headers[0]).get(CSV_HEADER)
    found = of_json(entry, records, settings) if header is None else _of_csv(entry, records, header, settings)
    return replace(found, format=kind, complete=complete, several_files=Catalog(entry).is_glob, guessed=guessed)


def format_of(entry: str, settings: InputConfig) -> tuple[Format, bool]:
    """Returns the format of a file, and whether its first bytes were needed to know it.

    They are where the name says nothing, and where a name for JSON lines belongs to a document.

    Raises:
        ServiceError: there is no such file, or it cannot be read.
        ConfigurationError: the format has a further condition, which the name does not meet.
    """
    catalog = Catalog(entry)
    catalog.find()
    stretches = catalog.pending(now=True)
    if not stretches:
        msg = f'input.files: got "{entry}", which is no file; expected a name or glob of files'
        raise NothingToReadError(msg)
    source = open_bytes(Path(stretches[0].path), 0)
    try:
        seen = sniff_format(source.read(_START_BYTES))
    finally:
        source.close()
    try:
        named = file_format(stretches[0].path, settings.format)
    except ConfigurationError:
        if settings.format != "auto" or seen in {"parquet", "avro"}:
            raise
        return seen or "csv", True
    if settings.format == "auto" and named == "jsonl" and seen == "json":
        return "json", True
    return named, False


def _of_csv(entry: str, records: Records, header: bytes, settings: InputConfig) -> InputSample:
    setting, text = settings.separator, header.decode("utf-8", "replace")
    names = {name: column_names(text, mark) or [] for name, mark in SEPARATORS.items()}
    separator = setting if setting != "auto" else max(names, key=lambda name: len(names[name]))
    columns = names[separator]
    check_header(entry, header, columns)
    most = max(_FEWEST_ROWS, _MOST_CELLS // max(1, len(columns)))
    lines = [value.decode("utf-8", "replace") for value in records.values[:most]]
    rows: list[Row] = []
    for line in lines:
        cells = split(line, SEPARATORS[separator])
        if cells is not None and len(cells) == len(columns):
            rows.append(dict(zip(columns, cells, strict=True)))
    return InputSample(entry, records, _wanted(rows, settings), "csv", separator)


def check_header(entry: str, header: bytes, columns: Sequence[str]) -> None:
    """Refuses a first line that is no header of CSV in UTF-8.

    Raises:
        ConfigurationError: the message says what to do.
    """
    try:
        header.decode()
    except UnicodeDecodeError:
        msg = f"{entry}: got a header that is not UTF-8; convert the file, as with: iconv -f WINDOWS-1252 -t UTF-8"
        raise ConfigurationError(msg) from None
    data = [name for name in columns if parse_time(name) is not None and not name.isdigit()]
    if data:
        msg = f"{entry}: got {data[0]!r} in the first line, expected a header with the names of the columns; add one"
        raise ConfigurationError(msg)


def of_json(source: str, records: Records, settings: InputConfig, frames: Frames | None = None) -> InputSample:
    """Returns the sample of JSON records, and of records in the wire format of a registry, which `frames` decodes."""
    rows, envelope = list[Row](), ""
    for value in records.values:
        if len(rows) >= _MOST_ROWS or too_deep(value):
            continue
        try:
            record = _record(value, frames)
            payload = unwrap(record, settings.envelope).payload
        except (ValueError, NotAnEvent):
            continue
        envelope = envelope or _envelope_of(record, payload)
        for one in payload if isinstance(payload, list) else [payload]:
            if isinstance(one, dict):
                rows += _rows(one, "", 0)
    rows = _wanted(rows[:_MOST_ROWS], settings)
    return InputSample(source, records, rows, "jsonl", envelope=envelope, frames=frames)


def _wanted(rows: list[Row], settings: InputConfig) -> list[Row]:
    """Returns the rows that meet `input.where`, or all of them where none does."""
    if (condition := settings.condition) is None:
        return rows
    filter_ = RecordFilter(condition, Notation(settings.fields.decimal, settings.fields.thousands))
    return [row for row in rows if filter_.meets(partial(_cell, row))] or rows


def _cell(row: Row, path: FieldPath) -> object:
    return row.get(path.text, row.get(".".join(map(str, path.keys))))


def _record(value: bytes, frames: Frames | None) -> object:
    if frames is not None and schema_id(value) is not None:
        return frames.decode(value)
    found: object = orjson.loads(json_payload(value))
    return found


def _envelope_of(record: object, payload: object) -> str:
    if payload is record or not isinstance(record, dict):
        return ""
    if "specversion" in record:
        return "cloudevents"
    return "debezium" if "op" in record or "op" in (record.get("payload") or {}) else "connect"


def _rows(node: dict[str, Any], prefix: str, depth: int) -> list[Row]:
    """Returns the rows of an object; those of its first array of objects or pairs are multiplied with the cells."""
    cells: Row = {}
    array: list[Row] | None = None
    for name, value in node.items():
        path = prefix + name
        if not _PLAIN.fullmatch(name) and (prefix or name.startswith("/")):
            continue  # has no path of this kind
        if isinstance(value, dict) and depth < _DEEPEST:
            inner = _rows(value, path + ".", depth + 1)
            if len(inner) == 1:
                cells |= inner[0]
            elif array is None:
                array = inner
        elif isinstance(value, list) and value and array is None and depth < _DEEPEST:
            array = _elements(value, path, depth) or None
        elif value is None or isinstance(value, str | int | float):
            cells[path] = value
    return [cells | row for row in array] if array else [cells]


def _elements(array: list[Any], path: str, depth: int) -> list[Row]:
    """Returns the rows of an array of objects, or of arrays of single values such as [time, value]."""
    found = list[Row]()
    for element in array[:_MOST_ROWS]:
        if isinstance(element, dict):
            found += _rows(element, path + "[].", depth + 1)
        elif isinstance(element, list):
            found.append({
                f"{path}[][{at}]": cell for at, cell in enumerate(element[:64])
                if cell is None or isinstance(cell, str | int | float)
            })  # fmt: skip
    return found[:_MOST_ROWS]
