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

from service.config.csv_start import USUAL_START, CsvStart
from service.config.field_paths import COLUMNS, FieldPath
from service.config.input import InputConfig
from service.discovery.csv_layout import find_csv_start
from service.discovery.times import is_time
from service.errors import ConfigurationError, ServiceError
from service.messages.access_log import parse_entry
from service.messages.decode import CSV_HEADER
from service.messages.depth import too_deep
from service.messages.envelopes import NotAnEvent, parsed_text, unwrap
from service.messages.frames import Frames, json_payload, schema_id
from service.messages.line_protocol import is_blank, parse_line
from service.messages.numbers import Notation
from service.messages.parse_access_log import begins_with_entry
from service.messages.parse_csv import SEPARATORS, column_names, split
from service.messages.parse_influx import InfluxParser
from service.messages.parse_lines import LINE_FORMATS
from service.messages.record_filter import RecordFilter
from service.messages.text_lines import lines_of
from service.messages.timestamps import parse_time
from service.ports import Records
from service.sources.annotated_csv import ANNOTATIONS
from service.sources.byte_source import open_bytes
from service.sources.catalog import Catalog, no_such_file
from service.sources.file_source import FileSource
from service.sources.manifest import Format, file_format, sniff_format

MOST_RECORDS: Final = 20_000  # enough to see a week in hourly data of many series
_MOST_CELLS: Final = 500_000  # of the rows of a table
_START_BYTES: Final = 65_536
_FEWEST_ROWS: Final = 200
_MOST_ROWS: Final = 10_000
_FEWEST_COLUMNS: Final = 2  # parallel arrays
_LOOKED_AT: Final = 50  # elements
_DEEPEST: Final = 6  # levels of nested objects and arrays that are searched for fields
_BY_CONTENT: Final = {("jsonl", "json"), ("csv", "annotated-csv")}
"""Formats that a suffix stands for, and what the first bytes may show instead."""
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
        has_time: whether its records have a time around their values: of the record, or of its envelope.
        csv: how the file begins, of CSV.
        guessed: whether the format was found by the first bytes, because the name says nothing.
        frames: decodes records in the wire format of a schema registry; None without one.
        section: of the configuration that says how it is read, for messages.
    """

    source: str
    records: Records
    rows: Sequence[Row]
    format: Format
    separator: str = ""
    envelope: str = ""
    complete: bool = False
    several_files: bool = False
    has_time: bool = False
    csv: CsvStart = USUAL_START
    guessed: bool = False
    frames: Frames | None = None
    section: str = "input"

    @property
    def paths(self) -> list[str]:
        """The paths of all cells, in the order of their first appearance."""
        return list(dict.fromkeys(path for row in self.rows for path in row))


def sample_of_file(entry: str, settings: InputConfig, most: int = MOST_RECORDS, section: str = "input") -> InputSample:
    """Reads the first records of a file, or of the first file of a glob, at most `most` of them.

    Args:
        entry: the file or glob. settings: how it is read.
        most: the number of records. section: of the configuration that has these settings, for messages.

    Raises:
        ServiceError: there is no such file, or it cannot be read.
    """
    path = _first_file(entry, section)
    start = _start_of(path)
    kind, guessed = _format_of(path, start, settings, section)
    csv = settings.csv_start
    if kind == "csv":
        csv = find_csv_start(start, settings, complete=len(start) < _START_BYTES)
    source = FileSource(entry, kind, max_record_bytes=settings.max_record_bytes, named=True, csv=csv)
    source.open([], None)
    try:
        records = source.read(most)
        complete = records is None or source.lag() == 0
    finally:
        source.close()
    if records is None or not len(records):
        msg = f'{section}.files: got "{entry}", which has no records; expected at least one'
        raise NothingToReadError(msg)
    header = None if records.headers is None else dict(records.headers[0]).get(CSV_HEADER)
    if header is not None:
        found = _of_csv(entry, records, header, settings, csv)
    else:
        found = of_lines(entry, records, kind) if kind in LINE_FORMATS else of_json(entry, records, settings)
    several = Catalog(entry).is_glob
    return replace(
        found, format=kind, complete=complete, several_files=several, guessed=guessed, csv=csv, section=section
    )


def _first_file(entry: str, section: str) -> str:
    """Returns the path of a file, or of the first file of a glob.

    Raises:
        ServiceError: there is no such file.
    """
    catalog = Catalog(entry)
    catalog.find()
    stretches = catalog.pending(now=True)
    if not stretches:
        raise NothingToReadError(no_such_file(section, entry))
    return stretches[0].path


def _start_of(path: str) -> bytes:
    """Returns the first bytes of a file.

    Raises:
        ServiceError: it cannot be read.
    """
    source, data = open_bytes(Path(path), 0), b""
    try:
        while len(data) < _START_BYTES and (more := source.read(_START_BYTES - len(data))):
            data += more
    finally:
        source.close()
    return data


def _format_of(path: str, start: bytes, settings: InputConfig, section: str) -> tuple[Format, bool]:
    """Returns the format of a file with these first bytes, and whether they were needed to know it.

    They are where the name says nothing, and where a name for JSON lines belongs to a document, or one for CSV to
    annotated tables; these are read as CSV where the settings say how it begins.

    Raises:
        ConfigurationError: the format has a further condition, which the name does not meet.
    """
    seen = sniff_format(start)
    if seen == "annotated-csv" and settings.model_fields_set & {"skip_lines", "header", "separator"}:
        seen = None
    try:
        named = file_format(path, settings.format, section)
    except ConfigurationError:
        if settings.format != "auto" or seen in {"parquet", "avro"}:
            raise
        return seen or "csv", True
    if settings.format == "auto" and seen is not None and (named, seen) in _BY_CONTENT:
        return seen, True
    return named, False


def _of_csv(entry: str, records: Records, header: bytes, settings: InputConfig, csv: CsvStart) -> InputSample:
    setting, text = csv.separator, header.decode("utf-8", "replace")
    names = {name: column_names(text, mark) or [] for name, mark in SEPARATORS.items()}
    separator = setting if setting != "auto" else max(names, key=lambda name: len(names[name]))
    columns = names[separator]
    check_header(entry, header, columns)
    if tables := [line for line in records.values if line.startswith(ANNOTATIONS)]:
        msg = (
            f"{entry}: got a line that begins with {tables[0][:9].decode()!r} below the header: several tables, whose "
            'columns may differ; expected input.format = "annotated-csv", without input.skip_lines'
        )
        raise ConfigurationError(msg)
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


def of_topic(source: str, records: Records, settings: InputConfig, frames: Frames | None = None) -> InputSample:
    """Returns the sample of records whose format is not known: line protocol, an access log or JSON."""
    entries = settings.format in {"auto", "access-log"}
    if entries and sum(map(begins_with_entry, records.values)) * 2 > len(records):
        return replace(of_lines(source, records, "access-log"), guessed=True)
    influx = InfluxParser(settings)
    if sum(map(influx.recognises, records.values)) * 2 > len(records):
        return replace(of_lines(source, records), guessed=True)
    return of_json(source, records, settings, frames)


def of_lines(source: str, records: Records, form: Format = "influx") -> InputSample:
    """Returns the sample of records of line protocol, or of an access log."""
    parse = parse_entry if form == "access-log" else parse_line
    rows = list[Row]()
    for value in records.values:
        for line in lines_of(value):
            try:
                text = line.decode()
                if not is_blank(text) and len(rows) < _MOST_ROWS:
                    rows.append(parse(text))
            except ValueError:
                continue
    return InputSample(source, records, rows, form)


def of_json(source: str, records: Records, settings: InputConfig, frames: Frames | None = None) -> InputSample:
    """Returns the sample of JSON records, and of records in the wire format of a registry, which `frames` decodes."""
    rows, envelope, timed = list[Row](), "", True
    for value in records.values:
        if len(rows) >= _MOST_ROWS or too_deep(value):
            continue
        try:
            record = _record(value, frames)
            payload, time = unwrap(record, settings.envelope)
        except (ValueError, NotAnEvent):
            continue
        timed = timed and time is not None
        envelope = envelope or _envelope_of(record, payload)
        for one in payload if isinstance(payload, list) else [payload]:
            if isinstance(one, dict):
                rows += _rows(one, "", 0)
    rows = _wanted(rows[:_MOST_ROWS], settings)
    has_time = records.timestamps_ms is not None or (timed and bool(rows))
    return InputSample(source, records, rows, "jsonl", envelope=envelope, has_time=has_time, frames=frames)


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
    return parsed_text(found) if isinstance(found, str) else found


def _envelope_of(record: object, payload: object) -> str:
    if payload is record or not isinstance(record, dict):
        return ""
    if "specversion" in record:
        return "cloudevents"
    return "debezium" if "op" in record or "op" in (record.get("payload") or {}) else "connect"


def _rows(node: dict[str, Any], prefix: str, depth: int) -> list[Row]:
    """Returns the rows of an object; those of its first array of objects or pairs are multiplied with the cells."""
    cells: Row = {}
    array = _columns_as_rows(node, prefix)
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


def _columns_as_rows(node: dict[str, Any], prefix: str) -> list[Row] | None:
    """Returns the rows of an object of parallel arrays, one of which has times; None for another object."""
    arrays = {name: one for name, one in node.items() if isinstance(one, list) and one and _PLAIN.fullmatch(name)}
    times = [one for one in arrays.values() if all(map(is_time, one[:_LOOKED_AT]))]
    if len(arrays) < _FEWEST_COLUMNS or not times:
        return None
    beside = {name: one for name, one in arrays.items() if len(one) == len(times[0])}
    scalar = all(cell is None or isinstance(cell, str | int | float) for one in beside.values() for cell in one)
    if len(beside) < _FEWEST_COLUMNS or not scalar:
        return None
    start = f"{prefix.removesuffix('.')}{COLUMNS}."
    rows = zip(*(one[:_MOST_ROWS] for one in beside.values()), strict=True)
    return [dict(zip([start + name for name in beside], row, strict=True)) for row in rows]


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
