"""Parsers of single formats: record bytes to columns of raw event fields. No checks across fields here."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import msgspec

from service.config.input import FieldNames
from service.messages.controls import Exclude, may_be_control, read_control
from service.messages.depth import MAX_DEPTH, deep_ones
from service.messages.timestamps import Milliseconds, Time

_ABSENT = frozenset({"", "null", "na", "none"})  # texts for a missing number in CSV
_SHOWN_COLUMNS = 200  # characters of a header in a message


class Problem(NamedTuple):
    """The reason for a reject: a code of `messages.decode.REASONS`, and a text for people."""

    reason: str
    detail: str


@dataclass(slots=True)
class Parsed:
    """Columns that the parsers append to; `covariates`, `record_times` and `future` stay empty if not configured.

    A row of `future` has one list per name, which may be empty or None, with at most `horizon` numbers. `controls` has
    the control records; their positions are indices of records.
    """

    index: list[int]
    series: list[str]
    times: list[Time]
    values: list[float]
    covariates: list[Sequence[float]]
    record_times: list[Time | None]
    future: list[Sequence[Sequence[float | None] | None]]
    controls: list[Exclude]

    @classmethod
    def empty(cls) -> Self:
        """Creates empty columns."""
        return cls([], [], [], [], [], [], [], [])


class Fallback(NamedTuple):
    """Replacements for missing fields of an event, by index of its record; None where not available."""

    keys: Sequence[bytes | None] | None = None  # for the series
    timestamps_ms: Sequence[int] | None = None  # for the event time


NO_FALLBACK = Fallback()


class Parser(Protocol):
    """Parses records to rows of `Parsed`."""

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        fallback: Fallback = NO_FALLBACK,
    ) -> None:
        """Appends a row to `into`, or sets a problem, for each of the `indices`, in order."""


class JsonParser:
    """Parses JSON objects, one per record, with strict types: "5" or true is not a number. Skips other fields.

    For a repeated field the last value counts. NaN, Infinity and numbers outside of float64, which JSON does not have
    but some writers produce, are accepted.
    """

    def __init__(
        self, names: FieldNames, covariates: Sequence[str], future: Sequence[str] = (), horizon: int = 1
    ) -> None:
        self._horizon = horizon
        fields: list[Any] = [("series", str), ("timestamp", int | float | str), ("value", float | None)]
        rename = {"series": names.series, "timestamp": names.timestamp, "value": names.value}
        if names.record_time:
            fields.append(("record_time", int | float | str | None, None))
            rename["record_time"] = names.record_time
        for number, name in enumerate(covariates):
            fields.append((f"covariate_{number}", float | None, None))
            rename[f"covariate_{number}"] = name
        self._future = [f"future_{number}" for number in range(len(future))]
        if future:
            lists = [(name, list[float | None] | None, None) for name in self._future]
            called = dict(zip(self._future, future, strict=True))
            fields.append(("future", msgspec.defstruct("Future", lists, rename=called, gc=False) | None, None))
            rename["future"] = names.future
        self._has_record_time = bool(names.record_time)
        self._covariates = [f"covariate_{number}" for number in range(len(covariates))]
        self._event = msgspec.defstruct("Event", fields, rename=rename, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self._event).decode
        given = [(name, kind, None) for name, kind, *_ in fields[:2]]
        self._partial = msgspec.defstruct("PartialEvent", [*fields[2:3], *given, *fields[3:]], rename=rename, gc=False)

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        fallback: Fallback = NO_FALLBACK,
    ) -> None:
        """See `Parser`."""
        decode, events, good = self._decode, list[Any](), list[int]()
        if deep := deep_ones(values, indices):
            text = (
                f"got values nested more than {MAX_DEPTH} levels deep, expected an object with the fields of an event"
            )
            problems.update(dict.fromkeys(deep, Problem("undecodable", text)))
            indices = [index for index in indices if index not in problems]
        for index in indices:
            try:
                events.append(decode(values[index]))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                event = self._decode_otherwise(values[index], str(error), index, fallback)
                if event is None:
                    problem = _no_event(values[index], index, error, into)
                    if problem is not None:
                        problems[index] = problem
                    continue
                events.append(event)
            good.append(index)
            if self._future:
                self._cut(events[-1].future)
        if not all(event.series for event in events):
            for event, index in zip(events, good, strict=True):
                if not event.series:
                    problems[index] = Problem("missing_field", "got an empty series, expected its name")
            good = [index for event, index in zip(events, good, strict=True) if event.series]
            events = [event for event in events if event.series]
        into.index += good
        into.series += [event.series for event in events]
        into.times += [event.timestamp for event in events]
        into.values += [math.nan if event.value is None else event.value for event in events]
        if self._has_record_time:
            into.record_times += [event.record_time for event in events]
        if self._covariates:
            rows = [[getattr(event, name) for name in self._covariates] for event in events]
            into.covariates += [[math.nan if item is None else item for item in row] for row in rows]
        if self._future:
            into.future += [[getattr(event.future, name, None) for name in self._future] for event in events]

    def _cut(self, lists: Any) -> None:
        """Truncates the lists of known future values to the horizon.

        Lists need a multiple of the memory of their text.
        """
        for name in self._future:
            numbers = getattr(lists, name, None)
            if numbers and len(numbers) > self._horizon:
                setattr(lists, name, numbers[: self._horizon])

    # Errors are not passed on and raised again below: such an error would refer to itself through its frame, and keep
    # the complete batch in memory until the next garbage collection, which is rare.

    def _decode_otherwise(self, value: bytes, error: str, index: int, fallback: Fallback) -> Any:
        """Retries with the record's key and time for missing fields; returns None where that fails."""
        try:
            if "missing required field" not in error or fallback == NO_FALLBACK:
                return self._decode_leniently(value, error, self._event)
            return self._filled(value, index, fallback)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            return None

    def _filled(self, value: bytes, index: int, fallback: Fallback) -> Any:
        try:
            event: Any = msgspec.json.decode(value, type=self._partial)
        except msgspec.MsgspecError as again:
            event = self._decode_leniently(value, str(again), self._partial)
            if event is None:
                return None
        key = None if fallback.keys is None else fallback.keys[index]
        if event.series is None and key is not None:
            event.series = key.decode()
        if event.timestamp is None and fallback.timestamps_ms is not None:
            event.timestamp = Milliseconds(fallback.timestamps_ms[index])
        return None if event.series is None or event.timestamp is None else event

    def _decode_leniently(self, value: bytes, error: str, kind: Any) -> Any:
        """Retries with Python's parser for values that only that one accepts; else returns None."""
        if not (b"NaN" in value or b"Infinity" in value or "out of range" in error):
            return None
        event: Any = msgspec.convert(json.loads(value.decode()), kind)
        (event.series or "").encode()  # rejects half a surrogate pair, like the strict parser
        return event


def _no_event(value: bytes, index: int, error: Exception, into: Parsed) -> Problem | None:
    """Returns the problem of a record that is not an event; None for a control record, which is appended."""
    if not ("missing required field" in str(error) and may_be_control(value)):
        return _json_problem(error)
    try:
        into.controls.append(read_control(value, index))
    except ValueError as wrong:
        return Problem("wrong_type", str(wrong))
    return None


def _json_problem(error: Exception) -> Problem:
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        return Problem("missing_field" if "missing required field" in text else "wrong_type", text)
    return Problem("undecodable", text)


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
