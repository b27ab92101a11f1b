"""Parses CSV records to columns of raw event fields. No checks across fields here."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import compress
from typing import Final

from forecaster.flat_text import FlatNames, FlatText
from service.config.field_paths import FieldPath, parse_path
from service.config.input import InputConfig
from service.config.series_rule import Outside, Part
from service.config.where import paths_of
from service.messages.columns import interleaved, joined, repeated
from service.messages.flat_records import flat_csv
from service.messages.mapping import MOST_EVENTS, RecordMapping, is_glob
from service.messages.numbers import PLAIN, Notation, number_of, number_of_identifier
from service.messages.outside import file_of
from service.messages.parsed import NOTHING_AROUND, Around, Parsed, Problem
from service.messages.record_filter import RecordFilter

SEPARATORS: Final[Mapping[str, str]] = {",": ",", ";": ";", "tab": "\t", "|": "|"}
"""The separators of columns, by their names in the configuration, the usual ones first."""

csv.field_size_limit(1 << 30)  # input.max_record_bytes is the limit of a record
_SHOWN_COLUMNS = 200  # characters of a header in a message


class CsvParser:
    """Parses CSV records with a header: double quotes, line ends within quoted fields.

    Args:
        settings: the fields, the separator, covariates and known future values.
        horizon: steps of known future values to keep.
        names: of series that compiled code has read; None: it reads nothing.
    """

    def __init__(self, settings: InputConfig, horizon: int = 1, names: FlatNames | None = None) -> None:
        self._settings, self._horizon, self._series_names = settings, horizon, names
        self._known: dict[bytes, CsvLines] = {}

    def with_header(self, header: bytes) -> CsvLines:
        """Returns the parser for lines with that header."""
        if header not in self._known:
            if len(self._known) > 64:  # bounds the memory for files with many different headers
                self._known.clear()
            self._known[header] = CsvLines(header, self._settings, self._horizon, self._series_names)
        return self._known[header]

    def flat_readers(self) -> list[FlatText | None]:
        """Returns what reads the lines of all headers in compiled code."""
        return [lines.flat for lines in self._known.values()]


class CsvLines:
    """Parses the lines of one CSV header. Created by `CsvParser`.

    Lines without quotes, all of whose cells are as expected, are parsed column by column. If a batch has another line,
    every line of it is read by `RecordMapping`, with the same result.
    """

    def __init__(self, header: bytes, settings: InputConfig, horizon: int, series_names: FlatNames | None) -> None:
        fields = settings.fields
        self._horizon = horizon
        self._notation = Notation(fields.decimal, fields.thousands)
        text = header.decode("utf-8", "replace")
        record_time = parse_path(fields.record_time).name if fields.record_time else ""
        required = [path.name for path in fields.paths if not is_glob(path) and path.text != fields.record_time]
        in_arrays = {path.name for path in fields.paths if path.arrays}
        self._separator = separator_of(text, required, settings.separator)
        self._names = names = column_names(text, self._separator) or []
        column = {name: at for at, name in enumerate(names)}
        self._lacking = [name for name in required if name not in column or name in in_arrays]
        self._where = [] if settings.condition is None else [path.name for path in paths_of(settings.condition)]
        self._lacking += [name for name in self._where if name not in column]
        self._compared = {name: column[name] for name in self._where if name in column}
        self._filter = None if settings.condition is None else RecordFilter(settings.condition, self._notation)
        self._present = ", ".join(names)[:_SHOWN_COLUMNS]
        ahead = [f"{fields.future}.{name}" for name in settings.future_covariates]
        covariates = [parse_path(name).name for name in settings.covariates]
        self._future_name, self._future_names = fields.future, settings.future_covariates
        self._future = [column.get(name) for name in ahead]
        self._has_record_time = bool(fields.record_time)
        self._record_time = column.get(record_time)
        self._covariates = [column.get(name) for name in covariates]
        self._times = [column.get(path.name, 0) for path in fields.timestamp_paths]
        self._series: list[int | Part] = [
            column.get(part.name, 0) if isinstance(part, FieldPath) else part for part in fields.series_parts
        ]
        outside = (part for part in self._series if isinstance(part, Outside))
        self._by_column = all(part.place in {"file", "field"} for part in outside)
        self._stripped = {names[part] for part in self._series if isinstance(part, int) and names}
        self._stripped |= {name for name in self._where if name in column}
        self._globs = any(map(is_glob, fields.value_paths))
        self._identifiers = frozenset(fields.identifiers)
        taken = {*required, record_time, fields.future, *covariates, *ahead}
        self._values: list[tuple[str, int]] = []
        matched: dict[str, list[str]] = {}  # the columns of every glob
        for path in fields.value_paths:
            if is_glob(path):
                found = matched[path.text] = [n for n in names if fnmatchcase(n, path.text) and n not in taken]
                self._values += [(name, column[name]) for name in found]
                taken.update(found)
            else:
                self._values.append((path.text, column.get(path.name, 0)))
        self._mapping = RecordMapping(settings, horizon, matched)
        used = {*taken, *self._where} & set(names)
        self._twice = [name for name in sorted(used) if names.count(name) > 1]
        is_usual = not self._lacking and not self._twice
        self.flat = flat_csv(settings, names, self._separator, series_names) if is_usual else None

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        around: Around = NOTHING_AROUND,
    ) -> None:
        """See `Parser`."""
        if self._lacking:
            got = (
                f"the columns {self._present}" if self._present else "no header line of input.max_record_bytes at most"
            )
            see = "input.where" if set(self._lacking) <= set(self._where) else "input.fields"
            text = f"got {got}, expected {', '.join(self._lacking)} as well; see {see}"
            problems.update(dict.fromkeys(indices, Problem("missing_field", text)))
        elif self._twice:
            text = f"got the column {self._twice[0]} more than once in {self._present}, expected it once"
            problems.update(dict.fromkeys(indices, Problem("undecodable", text)))
        elif indices and not self._parse_all(values, indices, into, around):
            for index in indices:
                problem = self._parse_one(values[index], index, into, around)
                if problem is not None:
                    problems[index] = problem

    def _parse_all(self, values: Sequence[bytes], indices: Sequence[int], into: Parsed, around: Around) -> bool:
        """Parses all lines at once if all are simple; otherwise returns False and appends nothing."""
        lines, separator, width = [values[index] for index in indices], self._separator.encode(), len(self._names)
        if (
            not self._by_column
            or len(self._values) > MOST_EVENTS
            or {line.count(separator) for line in lines} != {width - 1}
        ):
            return False
        try:
            text = separator.join(lines).decode()
        except UnicodeDecodeError:
            return False
        if '"' in text or "\r" in text or "\n" in text:
            return False
        # One flat list, because a list per line would trigger a garbage collection every few hundred lines.
        cells = text.split(self._separator)
        columns = [cells[at::width] for at in range(width)]
        filtered: Sequence[int] = ()
        if self._filter is not None:
            wanted = self._wanted(self._filter, columns)
            filtered = [index for index, one in zip(indices, wanted, strict=True) if not one]
            indices, lines = list(compress(indices, wanted)), list(compress(lines, wanted))
            columns = [list(compress(column, wanted)) for column in columns]
        blanks, parts = " " in text or "\t" in text, [columns[at] for at in self._times]
        times: Sequence[str] = parts[0]
        if len(parts) > 1:
            times = [" ".join(map(str.strip, one)) for one in zip(*parts, strict=True)]
        names = [_stripped(columns[part], blanks) if isinstance(part, int) else part for part in self._series]
        numbers = [
            list(map(_identifier, columns[at])) if name in self._identifiers else self._floats(columns[at])
            for name, at in self._values
        ]
        extra = [self._floats(columns[at]) if at is not None else [math.nan] * len(lines) for at in self._covariates]
        nothing: list[list[float | None] | None] = [[]] * len(lines)
        ahead = [
            nothing if at is None else [listed(text, self._horizon, self._notation) for text in columns[at]]
            for at in self._future
        ]
        if (
            not all(all(column) for column in names if isinstance(column, list))
            or not all(map(all, parts))
            or (blanks and not all(all(map(str.strip, part)) for part in parts))
            or not numbers
            or any(column is None or (self._globs and any(map(math.isnan, column))) for column in numbers)
            or None in extra
            or any(None in lists for lists in ahead)
        ):
            return False
        series = self._named(names, indices, around) if indices else [[] for _ in self._values]
        if series is None:
            return False
        into.filtered |= dict.fromkeys(filtered, 1)
        several = len(numbers)
        into.index += repeated(indices, several)
        into.series += interleaved(series)
        into.times += repeated(times, several)
        into.values += interleaved([column for column in numbers if column is not None])
        if self._has_record_time:
            written = [""] * len(lines) if self._record_time is None else columns[self._record_time]
            into.record_times += repeated([time if time.strip() else None for time in written], several)
        if extra:
            into.covariates += repeated([*zip(*(one for one in extra if one is not None), strict=True)], several)
        if ahead:
            into.future += repeated([*zip(*ahead, strict=True)], several)
        return True

    def _wanted(self, filter_: RecordFilter, columns: Sequence[Sequence[str]]) -> list[bool]:
        """Returns for each line whether it meets the condition."""
        names, compared = list(self._compared), [columns[at] for at in self._compared.values()]
        rows = zip(*compared, strict=True) if compared else ()
        found = []
        for row in rows:
            cells = dict(zip(names, row, strict=True))
            found.append(filter_.meets(lambda path, cells=cells: cells[path.name].strip(" \t")))  # type: ignore[misc]
        return found

    def _named(
        self, parts: Sequence[list[str] | Part], indices: Sequence[int], around: Around
    ) -> list[list[str]] | None:
        """Returns the names of the series of all lines, for each value; None where a file has no name."""
        file, named = file_of(around, indices[0]), list[list[str]]()
        for field, _ in self._values:
            name: list[str] | str = ""
            for part in parts:
                if isinstance(part, Outside):
                    if part.place == "file" and file is None:
                        return None
                    name = joined(name, field if part.place == "field" else str(file))
                elif isinstance(part, list | str):
                    name = joined(name, part)
            named.append([name] * len(indices) if isinstance(name, str) else name)
        return named

    def _floats(self, texts: Sequence[str]) -> list[float] | None:
        """Parses all numbers of a column; None where one needs the slow path."""
        if self._notation != Notation():
            numbers = [number_of(text, self._notation) for text in texts]
            found = [one for one in numbers if one is not None]
            return found if len(found) == len(numbers) else None
        if "_" in "".join(texts):
            return None
        try:
            return [float(text) if text else math.nan for text in texts]
        except ValueError:
            return None

    def _parse_one(self, value: bytes, index: int, into: Parsed, around: Around) -> Problem | None:
        try:
            cells = split(value.decode(), self._separator)
        except UnicodeDecodeError as error:
            return Problem("undecodable", str(error))
        if cells is None:
            text = "got unbalanced quotes or line ends, expected a CSV record with closed quotes"
            return Problem("undecodable", text)
        if len(cells) != len(self._names):
            return Problem("undecodable", f"got {len(cells)} columns, expected {len(self._names)} as in the header")
        row: dict[str, object] = dict(zip(self._names, cells, strict=True))
        for name in self._stripped:
            row[name] = str(row[name]).strip(" \t")
        for moment in (*self._times, self._record_time):
            if moment is not None and not cells[moment].strip():
                row[self._names[moment]] = None
        if self._future_names:
            lists = {
                name: text if (found := listed(text, self._horizon, self._notation)) is None else found
                for name, at in zip(self._future_names, self._future, strict=True)
                for text in ["" if at is None else cells[at]]
            }
            row[self._future_name] = lists
        return self._mapping.add(row, index, around, into)


def separator_of(header: str, required: Sequence[str], setting: str = "auto") -> str:
    """Returns the separator of the columns of a header line; with "auto" the one that gives the required names."""
    if setting != "auto":
        return SEPARATORS[setting]

    def found(separator: str) -> int:
        return len(set(required) & set(column_names(header, separator) or ()))

    return max(SEPARATORS.values(), key=found)


def column_names(header: str, separator: str) -> list[str] | None:
    """Returns the names of a header line; a column without a name is column_1, column_2, ...; None for bad quotes."""
    cells = split(header, separator)
    return cells and [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]


def _stripped(texts: list[str], blanks: bool) -> list[str]:  # noqa: FBT001 - whether the batch has any
    return [text.strip(" \t") for text in texts] if blanks else texts


def _identifier(text: str) -> float:
    found = number_of_identifier(text)
    return math.nan if found is None else found


def split(line: str, separator: str) -> list[str] | None:
    """Splits one line of CSV into fields; None where it is invalid."""
    try:
        rows = list(csv.reader([line], strict=True, delimiter=separator))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def listed(text: str, most: int | None = None, notation: Notation = PLAIN) -> list[float | None] | None:
    """Parses the first `most` numbers of a CSV cell, separated by "|" (empty: missing) or spaces; else None."""
    numbers = [number_of(part, notation) for part in (text.split("|") if "|" in text else text.split())[:most]]
    return None if None in numbers else numbers
