"""Parsers of single formats: record bytes into columns of raw event fields. No checks across fields here."""

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

_ABSENT = frozenset({"", "null", "na", "none"})  # what exporters write where CSV has no number
_SHOWN_COLUMNS = 200  # characters of a header that are told


class Problem(NamedTuple):
    """Why a record is set aside: a code of `messages.REASONS`, and the same for a person."""

    reason: str
    detail: str


@dataclass(slots=True)
class Parsed:
    """Columns that the parsers append to; `covariates`, `record_times` and `future` stay empty if not configured.

    Of `future` a row has a list per name, which may be empty or None, of at most as many numbers as there are horizons.
    `controls` holds what is no event but meant for the daemon; positions there are indices of records.
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
        """No events yet."""
        return cls([], [], [], [], [], [], [], [])


class Fallback(NamedTuple):
    """What stands in for fields that an event lacks, by index of its record; None for no such thing."""

    keys: Sequence[bytes | None] | None = None  # for the series
    timestamps_ms: Sequence[int] | None = None  # for the event time


NO_FALLBACK = Fallback()


class Parser(Protocol):
    """Turns records into rows of `Parsed`."""

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
    """JSON objects, one per record; typed, so that "5" or true is no number; others are skipped.

    Of a field that stands twice the last counts. NaN, Infinity and numbers beyond float64, which JSON does
    not have but some writers write, are understood.
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
            told = [(name, list[float | None] | None, None) for name in self._future]
            called = dict(zip(self._future, future, strict=True))
            fields.append(("future", msgspec.defstruct("Future", told, rename=called, gc=False) | None, None))
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

    def _cut(self, told: Any) -> None:
        """Lets go of what lies beyond the horizon at once: lists take many times the memory of their text."""
        for name in self._future:
            numbers = getattr(told, name, None)
            if numbers and len(numbers) > self._horizon:
                setattr(told, name, numbers[: self._horizon])

    # No error is handed on and raised again below: it would refer to itself by the frame that it was raised from, and
    # keep the whole batch in memory until the garbage collector comes by, which is seldom.

    def _decode_otherwise(self, value: bytes, error: str, index: int, fallback: Fallback) -> Any:
        """Once more, with what the record itself tells in place of a missing series or time; None where that fails."""
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
        """Once more with Python's own parser, where the first one met what only that one understands; else None."""
        if not (b"NaN" in value or b"Infinity" in value or "out of range" in error):
            return None
        event: Any = msgspec.convert(json.loads(value.decode()), kind)
        (event.series or "").encode()  # the strict parser refuses half a surrogate pair; this one must too
        return event


def _no_event(value: bytes, index: int, error: Exception, into: Parsed) -> Problem | None:
    """What is wrong with a record that is no event; None where it is a control record, which is appended."""
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
    """Records of CSV below a header: comma, double quotes, line ends within quoted fields."""

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
        """The parser of the lines below that header."""
        if header not in self._known:
            if len(self._known) > 64:  # a folder of files with ever new headers must not fill the memory
                self._known.clear()
            self._known[header] = CsvLines(
                header, self._required, self._record_time, self._covariates, self._future, self._horizon
            )
        return self._known[header]


class CsvLines:
    """The lines of one CSV header. Built by `CsvParser`."""

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
        fallback: Fallback = NO_FALLBACK,  # noqa: ARG002 - a line of CSV has all columns of its header
    ) -> None:
        """See `Parser`."""
        if self._lacking:
            text = f"got the columns {self._present}, expected {', '.join(self._lacking)} as well; see input.fields"
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
        """All lines at once, where none needs a closer look; otherwise False and nothing is appended."""
        lines = [values[index] for index in indices]
        if {line.count(b",") for line in lines} != {self._width - 1}:
            return False
        try:
            text = b",".join(lines).decode()
        except UnicodeDecodeError:
            return False
        if '"' in text or "\r" in text or "\n" in text:
            return False
        # One flat list: a list per line would set off the garbage collector every few hundred lines.
        fields = text.split(",")
        columns = [fields[at :: self._width] for at in range(self._width)]
        series, times, value = (columns[at] for at in self._columns)
        numbers = _floats(value)
        extra = [_floats(columns[at]) if at is not None else [math.nan] * len(lines) for at in self._covariates]
        nothing: list[list[float | None] | None] = [[]] * len(lines)
        ahead = [
            nothing if at is None else [listed(text, self._horizon) for text in columns[at]] for at in self._future
        ]
        if not all(series) or not all(times) or numbers is None or None in extra or any(None in told for told in ahead):
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
            text = "got quotes or line ends that do not match, expected a record of CSV whose quotes are closed"
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
            return Problem("wrong_type", f"got {wrong[:80]!r}, expected a number, or nothing where it is missing")
        told = [listed(fields[at], self._horizon) if at is not None else [] for at in self._future]
        if None in told:
            wrong = fields[self._future[told.index(None)] or 0]
            return Problem("wrong_type", f"got {wrong[:80]!r}, expected numbers joined by spaces or |, or nothing")
        found = [number for number in numbers if number is not None]
        into.index.append(index)
        into.series.append(series)
        into.times.append(time)
        into.values.append(found[0])
        if self._covariates:
            into.covariates.append(found[1:])
        if self._future:
            into.future.append(told)
        if self._has_record_time:
            written = "" if self._record_time is None else fields[self._record_time]
            into.record_times.append(written or None)
        return None


def _split(line: str) -> list[str] | None:
    """The fields of one line of CSV, or None when it is none."""
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _float(text: str) -> float | None:
    if text.strip().lower() in _ABSENT:
        return math.nan
    try:
        return None if "_" in text else float(text)  # Python would read 1_000 as a number
    except ValueError:
        return None


def listed(text: str, most: int | None = None) -> list[float | None] | None:
    """The first `most` numbers of a cell of CSV, joined by "|" (nothing for a missing one) or spaces, else None."""
    numbers = [_float(part) for part in (text.split("|") if "|" in text else text.split())[:most]]
    return None if None in numbers else numbers


def _floats(texts: Sequence[str]) -> list[float] | None:
    """All numbers of a column, or None when one of them needs a closer look."""
    if "_" in "".join(texts):
        return None
    try:
        return [float(text) if text else math.nan for text in texts]
    except ValueError:
        return None
