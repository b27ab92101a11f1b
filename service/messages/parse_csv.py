"""Parses CSV records to columns of raw event fields. No checks across fields here."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence

from service.config.input import FieldNames
from service.messages.parsed import NO_FALLBACK, Fallback, Parsed, Problem

_ABSENT = frozenset({"", "null", "na", "none"})  # texts for a missing number
_SHOWN_COLUMNS = 200  # characters of a header in a message


class CsvParser:
    """Parses CSV records with a header: comma, double quotes, line ends within quoted fields."""

    def __init__(
        self, names: FieldNames, covariates: Sequence[str], future: Sequence[str] = (), horizon: int = 1
    ) -> None:
        self._horizon = horizon
        self._required = (names.series, names.timestamp, names.value)
        self._record_time = names.record_time
        self._covariates = tuple(covariates)
        self._future = tuple(f"{names.future}.{name}" for name in future)
        self._known: dict[bytes, CsvLines] = {}

    def with_header(self, header: bytes) -> CsvLines:
        """Returns the parser for lines with that header."""
        if header not in self._known:
            if len(self._known) > 64:  # bounds the memory for files with many different headers
                self._known.clear()
            self._known[header] = CsvLines(
                header, self._required, self._record_time, self._covariates, self._future, self._horizon
            )
        return self._known[header]


class CsvLines:
    """Parses the lines of one CSV header. Created by `CsvParser`."""

    def __init__(
        self,
        header: bytes,
        required: tuple[str, str, str],
        record_time: str,
        covariates: tuple[str, ...],
        future: tuple[str, ...],
        horizon: int,
    ) -> None:
        self._horizon = horizon
        names = [name.strip() for name in _split(header.decode("utf-8", "replace")) or []]
        column = {name: at for at, name in enumerate(names)}
        self._width = len(names)
        self._lacking = [name for name in required if name not in column]
        self._present = ", ".join(names)[:_SHOWN_COLUMNS]
        used = {*required, record_time, *covariates, *future} & set(names)
        self._twice = [name for name in sorted(used) if names.count(name) > 1]
        self._columns = [column.get(name, 0) for name in required]
        self._has_record_time = bool(record_time)
        self._record_time = column.get(record_time)
        self._covariates = [column.get(name) for name in covariates]
        self._future = [column.get(name) for name in future]

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        fallback: Fallback = NO_FALLBACK,  # noqa: ARG002 - CSV lines have all columns
    ) -> None:
        """See `Parser`."""
        if self._lacking:
            got = (
                f"the columns {self._present}" if self._present else "no header line of input.max_record_bytes at most"
            )
            text = f"got {got}, expected {', '.join(self._lacking)} as well; see input.fields"
            problems.update(dict.fromkeys(indices, Problem("missing_field", text)))
        elif self._twice:
            text = f"got the column {self._twice[0]} more than once in {self._present}, expected it once"
            problems.update(dict.fromkeys(indices, Problem("undecodable", text)))
        elif indices and not self._parse_all(values, indices, into):
            for index in indices:
                problem = self._parse_one(values[index], index, into)
                if problem is not None:
                    problems[index] = problem

    def _parse_all(self, values: Sequence[bytes], indices: Sequence[int], into: Parsed) -> bool:
        """Parses all lines at once if all are simple; otherwise returns False and appends nothing."""
        lines = [values[index] for index in indices]
        if {line.count(b",") for line in lines} != {self._width - 1}:
            return False
        try:
            text = b",".join(lines).decode()
        except UnicodeDecodeError:
            return False
        if '"' in text or "\r" in text or "\n" in text:
            return False
        # One flat list, because a list per line would trigger a garbage collection every few hundred lines.
        fields = text.split(",")
        columns = [fields[at :: self._width] for at in range(self._width)]
        series, times, value = (columns[at] for at in self._columns)
        numbers = _floats(value)
        extra = [_floats(columns[at]) if at is not None else [math.nan] * len(lines) for at in self._covariates]
        nothing: list[list[float | None] | None] = [[]] * len(lines)
        ahead = [
            nothing if at is None else [listed(text, self._horizon) for text in columns[at]] for at in self._future
        ]
        if (
            not all(series)
            or not all(times)
            or numbers is None
            or None in extra
            or any(None in lists for lists in ahead)
        ):
            return False
        if " " in text or "\t" in text:
            series = [name.strip(" \t") for name in series]
            if not all(series):
                return False
        into.index += indices
        into.series += series
        into.times += times
        into.values += numbers
        if self._has_record_time:
            written = [""] * len(lines) if self._record_time is None else columns[self._record_time]
            into.record_times += [time or None for time in written]
        if extra:
            into.covariates += zip(*(column for column in extra if column is not None), strict=True)
        if ahead:
            into.future += zip(*ahead, strict=True)
        return True

    def _parse_one(self, value: bytes, index: int, into: Parsed) -> Problem | None:
        try:
            fields = _split(value.decode())
        except UnicodeDecodeError as error:
            return Problem("undecodable", str(error))
        if fields is None:
            text = "got unbalanced quotes or line ends, expected a CSV record with closed quotes"
            return Problem("undecodable", text)
        if len(fields) != self._width:
            return Problem("undecodable", f"got {len(fields)} columns, expected {self._width} as in the header")
        series, time, number = (fields[at] for at in self._columns)
        series = series.strip(" \t")
        if not series or not time:
            return Problem("missing_field", f"got an empty {'timestamp' if series else 'series'}")
        texts = [number, *(fields[at] if at is not None else "" for at in self._covariates)]
        numbers = [_float(text) for text in texts]
        if None in numbers:
            wrong = texts[numbers.index(None)]
            return Problem(
                "wrong_type", f"got {wrong[:80]!r}, expected a number, or an empty field where it is missing"
            )
        lists = [listed(fields[at], self._horizon) if at is not None else [] for at in self._future]
        if None in lists:
            wrong = fields[self._future[lists.index(None)] or 0]
            return Problem(
                "wrong_type", f"got {wrong[:80]!r}, expected numbers separated by spaces or |, or an empty field"
            )
        found = [number for number in numbers if number is not None]
        into.index.append(index)
        into.series.append(series)
        into.times.append(time)
        into.values.append(found[0])
        if self._covariates:
            into.covariates.append(found[1:])
        if self._future:
            into.future.append(lists)
        if self._has_record_time:
            written = "" if self._record_time is None else fields[self._record_time]
            into.record_times.append(written or None)
        return None


def _split(line: str) -> list[str] | None:
    """Splits one line of CSV into fields; None where it is invalid."""
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _float(text: str) -> float | None:
    if text.strip().lower() in _ABSENT:
        return math.nan
    try:
        return None if "_" in text else float(text)  # Python would accept 1_000
    except ValueError:
        return None


def listed(text: str, most: int | None = None) -> list[float | None] | None:
    """Parses the first `most` numbers of a CSV cell, separated by "|" (empty: missing) or spaces; else None."""
    numbers = [_float(part) for part in (text.split("|") if "|" in text else text.split())[:most]]
    return None if None in numbers else numbers


def _floats(texts: Sequence[str]) -> list[float] | None:
    """Parses all numbers of a column; None where one needs the slow path."""
    if "_" in "".join(texts):
        return None
    try:
        return [float(text) if text else math.nan for text in texts]
    except ValueError:
        return None
