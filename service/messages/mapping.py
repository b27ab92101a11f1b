"""Maps decoded records, whatever their format, to rows of raw event fields, as `input.fields` says.

A record is an object of names and values, which may be nested. It has one event, or several: a row for each value of
`input.fields.values`, and for each element of the arrays in the paths; elements in their order, and within an element
the values in the order of the configuration, those of a glob in the order of the record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final

from service.config.field_paths import FieldPath, Keys, innermost, parse_path
from service.config.input import InputConfig
from service.config.series_rule import Outside, Part
from service.messages.numbers import Notation, number, out_of_union
from service.messages.parsed import Around, Parsed, Problem
from service.messages.timestamps import EXPECTED, Milliseconds, Time

MOST_EVENTS: Final = 10_000
"""Largest number of events of one record: more would let a small input fill the memory with forecasts."""

FILE_NAME: Final = "file-name"
"""Name of the record header with the name of the record's file, without folder and suffix."""

_ABSENT: Final = object()
_FIELD: Final = Outside("field")
_SHOWN: Final = 80  # characters of a wrong value in a message


class _RejectedError(Exception):
    """A part of a record cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(reason, detail)


class RecordMapping:
    """Maps records for one configuration. Keeps no state between records.

    Args:
        settings: the fields, covariates and known future values.
        horizon: steps of known future values to keep.
    """

    def __init__(self, settings: InputConfig, horizon: int) -> None:
        names = settings.fields
        self._horizon, self._names = horizon, names
        self._arrays = innermost(names.paths)
        self._parts = names.series_parts
        self._values = [(path, is_glob(path)) for path in names.value_paths]
        self._several = bool(names.values)
        self._time = parse_path(names.timestamp)
        self._record_time = parse_path(names.record_time) if names.record_time else None
        self._covariates = [parse_path(name) for name in settings.covariates]
        self._future = [(names.future, name) for name in settings.future_covariates]
        self._notation = Notation(names.decimal, names.thousands)
        self._blank = settings.partial == "blank"
        others = [path for path in names.paths if path not in names.value_paths]
        used = [name for path in [*others, *self._covariates] for name in (path.text, path.name)]
        self._used = {*used, names.future, *(f"{names.future}.{name}" for name in settings.future_covariates)}

    def add(self, record: object, index: int, around: Around, into: Parsed) -> Problem | None:
        """Appends the rows of a record; returns the problem of a record without any.

        Args:
            record: decoded; an object, or an array of objects, or a bare number with key and time around it.
            index: of the record; all its rows have it. The problem of a part of a record goes to `into.partial`.
            around: key, time and headers of the record.
            into: where the rows go.
        """
        before, problem = len(into.index), None
        records = record if isinstance(record, list) and not self._begins_with_array else [record]
        try:
            for bases in (bases for one in records for bases in self._elements([one], 0)):
                room = MOST_EVENTS - (len(into.index) - before)
                problem = self._add_rows(bases, index, around, into, room) or problem
                if not room:
                    break
        except _RejectedError as error:
            problem = error.problem
        if len(into.index) == before:
            return problem or Problem("missing_field", f"got no value, expected {self._expected}")
        if problem is not None:
            into.partial.setdefault(index, problem)
        return None

    @property
    def _begins_with_array(self) -> bool:
        return bool(self._arrays) and not self._arrays[0]

    @property
    def _expected(self) -> str:
        return ", ".join(path.text for path, _ in self._values)

    def _elements(self, bases: list[object], level: int) -> Iterator[list[object]]:
        """Yields the elements of the innermost array, each with the elements and the record around it."""
        if level == len(self._arrays):
            yield bases
            return
        keys = self._arrays[level]
        array = _find(bases[-1], keys)
        if not isinstance(array, list):
            got = "nothing" if array is _ABSENT else _shown(array)
            raise _RejectedError("missing_field" if array is _ABSENT else "wrong_type",
                                 f"got {got} at {_text(keys)}, expected an array of samples")  # fmt: skip
        for element in array:
            yield from self._elements([*bases, element], level + 1)

    def _add_rows(self, bases: list[object], index: int, around: Around, into: Parsed, room: int) -> Problem | None:
        """Appends at most `room` rows of one element; returns the problem of a part that has none."""
        found = list(islice(self._found_values(bases, around), room + 1))
        if not found:
            return Problem("missing_field", f"got no number, expected {self._expected}")
        time = self._time_of(bases, index, around)
        written = None if self._record_time is None else _as_time(self._get(bases, self._record_time))
        covariates = [self._covariate(bases, path) for path in self._covariates]
        future = [self._ahead(bases[0], *names) for names in self._future]
        parts = [self._resolved(bases, part, index, around) for part in self._parts]
        problem = None
        for name, raw in found[:room]:
            value = number(raw, self._notation)
            if value is None:
                wrong = Problem("wrong_type", f"got {_shown(raw)} as {name}, expected a number, or null if missing")
                if not (self._blank and self._several):
                    problem = wrong
                    continue
                value = math.nan
            into.index.append(index)
            into.series.append("".join([name if part is None else part for part in parts]))
            into.times.append(time)
            into.values.append(value)
            if self._record_time is not None:
                into.record_times.append(written)
            if covariates:
                into.covariates.append(covariates)
            if future:
                into.future.append(future)
        if len(found) > room:
            return Problem("too_large", f"got more than {MOST_EVENTS} events in one record; the first are forecast")
        return problem

    def _found_values(self, bases: list[object], around: Around) -> Iterator[tuple[str, object]]:
        """Yields the name and the raw value of every event of an element."""
        if not isinstance(bases[-1], dict | list) and not self._arrays:
            bare = isinstance(bases[-1], int | float) and not isinstance(bases[-1], bool)
            if bare and not self._several and around.timestamps_ms is not None:
                yield self._values[0][0].text, bases[-1]
                return
            raise _RejectedError(
                "wrong_type", f"got {_shown(bases[-1])}, expected an object with the fields of an event"
            )
        for path, is_glob in self._values:
            if is_glob:
                yield from self._matching(bases, path)
                continue
            raw = self._get(bases, path)
            if raw is not _ABSENT:
                yield path.text, raw
            elif not self._several:
                raise _RejectedError("missing_field", f"Object missing required field `{path.text}`")

    def _matching(self, bases: list[object], path: FieldPath) -> Iterator[tuple[str, object]]:
        *keys, glob = path.keys
        parent = _find(bases[len(path.arrays)], tuple(keys))
        if not isinstance(parent, Mapping):
            return
        prefix = path.text[: -len(str(glob))]
        for name, raw in parent.items():
            if not fnmatchcase(name, str(glob)) or prefix + name in self._used:
                continue
            raw = out_of_union(raw)
            value = None if raw is None or isinstance(raw, bool) else number(raw, self._notation)
            if value is not None and not (isinstance(raw, str) and math.isnan(value)):
                yield prefix + name, raw

    def _get(self, bases: list[object], path: FieldPath) -> object:
        base = bases[len(path.arrays)]
        if not path.arrays and isinstance(base, dict) and path.text in base:
            return out_of_union(base[path.text])
        return out_of_union(_find(base, path.keys))

    def _time_of(self, bases: list[object], index: int, around: Around) -> Time:
        raw = self._get(bases, self._time)
        if isinstance(raw, str) and not raw.strip():
            raise _RejectedError("missing_field", f"got an empty {self._time.text}")
        if raw is _ABSENT or raw is None:
            if around.timestamps_ms is not None:
                return Milliseconds(around.timestamps_ms[index])
            raise _RejectedError("missing_field", f"Object missing required field `{self._time.text}`")
        time = _as_time(raw)
        if time is None:
            raise _RejectedError("wrong_type", f"got {_shown(raw)} as {self._time.text}, expected {EXPECTED}")
        return time

    def _resolved(self, bases: list[object], part: Part, index: int, around: Around) -> str | None:
        """Returns the text of a part of the name of a series; None for the field of the value."""
        if isinstance(part, str):
            return part
        if isinstance(part, FieldPath):
            return self._series_field(bases, part, index, around)
        return None if part == _FIELD else _outside(part, index, around)

    def _series_field(self, bases: list[object], path: FieldPath, index: int, around: Around) -> str:
        raw = self._get(bases, path)
        if raw is _ABSENT:
            key = None if around.keys is None else around.keys[index]
            fields = [part for part in self._parts if isinstance(part, FieldPath)]
            if key is None or len(fields) > 1:
                raise _RejectedError("missing_field", f"Object missing required field `{path.text}`")
            return text_of_key(key)
        if isinstance(raw, bool):
            return "true" if raw else "false"
        if isinstance(raw, float) and raw.is_integer():
            raw = int(raw)
        if not isinstance(raw, str | int):
            raise _RejectedError("wrong_type", f"got {_shown(raw)} as {path.text}, expected the name of a series")
        if not str(raw).strip():
            raise _RejectedError("missing_field", "got an empty series, expected its name")
        return str(raw)

    def _covariate(self, bases: list[object], path: FieldPath) -> float:
        raw = self._get(bases, path)
        value = math.nan if raw is _ABSENT else number(raw, self._notation)
        if value is None:
            raise _RejectedError(
                "wrong_type", f"got {_shown(raw)} as {path.text}, expected a number, or null if missing"
            )
        return value

    def _ahead(self, record: object, field: str, name: str) -> list[float | None]:
        ahead = record.get(field) if isinstance(record, dict) else None
        raw = ahead.get(name) if isinstance(ahead, dict) else ahead
        numbers = (
            None if raw is None else [number(one) for one in raw[: self._horizon]] if isinstance(raw, list) else [None]
        )
        if numbers is not None and None in numbers:
            raise _RejectedError("wrong_type", f"got {_shown(raw)} as {field}.{name}, expected a list of numbers")
        return list(numbers or [])


def text_of_key(key: bytes) -> str:
    """Returns the text of a record's key; one of 4 or 8 bytes with a zero at its start is an integer (Kafka's).

    Raises:
        _RejectedError: it is not UTF-8.
    """
    if len(key) in {4, 8} and key[0] == 0:
        return str(int.from_bytes(key, "big"))
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise _RejectedError("undecodable", "got a key that is not UTF-8, expected the name of a series") from None


def _outside(part: Outside, index: int, around: Around) -> str:
    if part.place == "topic":
        return around.topic
    if part.place == "key":
        key = None if around.keys is None else around.keys[index]
        if key is None:
            raise _RejectedError("missing_field", "got a record without a key, expected one for {key} in the series")
        return text_of_key(key)
    name = FILE_NAME if part.place == "file" else part.name
    if (value := _header_of(around, index, name)) is None:
        missing = "file name" if part.place == "file" else f"header {name!r}"
        raise _RejectedError("missing_field", f"got a record without a {missing}, expected one for the series")
    return value


def is_glob(path: FieldPath) -> bool:
    """Returns whether the path is a glob of the names of fields."""
    return bool(path.keys) and any(sign in str(path.keys[-1]) for sign in "*?")


def matching(name: str, path: FieldPath) -> bool:
    """Returns whether the name of a column matches a glob."""
    return fnmatchcase(name, path.text)


def file_of(around: Around, index: int) -> str | None:
    """Returns the name of the file of a record, without folder and suffix, or None."""
    return _header_of(around, index, FILE_NAME)


def _header_of(around: Around, index: int, name: str) -> str | None:
    headers: Sequence[tuple[str, bytes]] = () if around.headers is None else around.headers[index]
    value = next((value for known, value in headers if known == name), None)
    return None if value is None else value.decode("utf-8", "replace")


def _find(base: object, keys: Keys) -> object:
    """Returns what is at the keys below an object, or `_ABSENT`."""
    found: Any = base
    for key in keys:
        if isinstance(found, dict):
            found = found.get(key if isinstance(key, str) else str(key), _ABSENT)
        elif isinstance(found, list) and isinstance(key, int):
            found = found[key] if key < len(found) else _ABSENT
        else:
            return _ABSENT
    return found


def _as_time(raw: object) -> Time | None:
    """Returns a time, or None for nothing and for what is none."""
    return raw if isinstance(raw, int | float | str) and not isinstance(raw, bool) and raw != "" else None


def _text(keys: Keys) -> str:
    return ".".join(map(str, keys)) or "the record"


def _shown(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
