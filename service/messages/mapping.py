"""Maps decoded records, whatever their format, to rows of raw event fields, as `input.fields` says.

A record is an object of names and values, which may be nested. It has one event, or several: a row for each value of
`input.fields.values`, and for each element of the arrays in the paths; elements in their order, and within an element
the values in the order of the configuration, those of a glob in the order of the record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import Final

from service.config.field_paths import COLUMNS, FieldPath, Keys, innermost, parse_path
from service.config.input import InputConfig
from service.config.series_rule import Outside, Part
from service.messages.field_lookup import ABSENT, find
from service.messages.hints import at, inside, missing, of_number, shown
from service.messages.keys import text_of_field
from service.messages.numbers import MalformedNumber, Notation, number, number_of_identifier, out_of_union
from service.messages.outside import event_time, name_of_key, text_outside
from service.messages.parsed import Around, Parsed, Problem, RejectedError
from service.messages.record_filter import RecordFilter
from service.messages.timestamps import EXPECTED, Milliseconds, Time

MOST_EVENTS: Final = 10_000
"""Largest number of events of one record: more would let a small input fill the memory with forecasts."""

_FIELD: Final = Outside("field")
_NUMBERS: Final = "a list of numbers; in CSV separated by spaces or |, or an empty field"


class RecordMapping:
    """Maps records for one configuration. Keeps no state between records.

    Args:
        settings: the fields, covariates, known future values, and the condition of events.
        horizon: steps of known future values to keep.
        columns: for the rows of a table, the columns that match each glob.
    """

    def __init__(self, settings: InputConfig, horizon: int, columns: Mapping[str, Sequence[str]] | None = None) -> None:
        names = settings.fields
        self._horizon, self._columns = horizon, columns
        self._arrays = innermost(names.paths)
        self._parts = names.series_parts
        self._values = [(path, is_glob(path), _label(path)) for path in names.value_paths]
        self._several, self._globs = bool(names.values), sum(map(is_glob, names.value_paths))
        self._places: dict[str, dict[str, tuple[Keys, ...] | None]] = {}  # of the fields that match a glob, by name
        self._identifiers = {_label(path) for path in names.value_paths if path.text in names.identifiers}
        self._times = names.timestamp_paths
        self._time_name = ", ".join(path.text for path in self._times)
        self._record_time = parse_path(names.record_time) if names.record_time else None
        self._covariates = [parse_path(name) for name in settings.covariates]
        self._future = [(names.future, name) for name in settings.future_covariates]
        self._notation = Notation(names.decimal, names.thousands)
        self._takes_cloudevents = settings.envelope in {"auto", "cloudevents"}
        self._blank = settings.partial == "blank"
        condition = settings.condition
        self._filter = None if condition is None else RecordFilter(condition, self._notation)
        named = [path for path in [*names.paths, *self._covariates] if not is_glob(path)]
        self._used = {*((path.arrays, path.keys) for path in named), *(((), (path.text,)) for path in named)}
        self._used |= {((), (names.future,))}
        self._takes_array = any(path.keys and isinstance(path.keys[0], int) for path in named if not path.arrays)
        self._takes_array |= bool(self._arrays) and not self._arrays[0]

    def add(
        self, record: object, index: int, around: Around, into: Parsed, times: Sequence[int | None] = (None,)
    ) -> Problem | None:
        """Appends the rows of a record; returns the problem of a record without any.

        Args:
            record: decoded; an object, or an array of objects, or a bare number with key and time around it.
            index: of the record; all its rows have it. The problem of a part of a record goes to `into.partial`.
            around: key, time and headers of the record.
            into: where the rows go.
            times: of the envelopes of the record, or of the records of an array: epoch milliseconds.
        """
        records = record if isinstance(record, list) and not self._takes_array else [record]
        own = times if len(times) == len(records) else [None] * len(records)
        return self.add_each(zip(records, own, strict=True), index, around, into)

    def add_each(
        self, records: Iterable[tuple[object, int | None]], index: int, around: Around, into: Parsed
    ) -> Problem | None:
        """Does the same as `add` for several objects and the times of their envelopes.

        A `Problem` stands for an object that cannot be read.
        """
        before, problem = len(into.index), None
        for bases, time in ((bases, time) for one, time in records for bases in self._elements([one], 0)):
            room = MOST_EVENTS - (len(into.index) - before)
            try:
                if isinstance(bases, RejectedError):
                    raise bases
                problem = self._add_rows(bases, index, around, into, room, time) or problem
            except RejectedError as error:
                problem = error.problem
            if not room:
                break
        if len(into.index) == before:
            if problem is None and index in into.filtered:
                return None
            return problem or Problem("missing_field", f"got no value, expected {self._expected}")
        if problem is not None:
            into.partial.setdefault(index, problem)
        return None

    @property
    def _expected(self) -> str:
        return ", ".join(path.text for path, _, _ in self._values)

    def _elements(self, bases: list[object], level: int) -> Iterator[list[object] | RejectedError]:
        """Yields the elements of the innermost array, each with the elements and the record around it.

        In place of an array that is not there comes the reason, because the elements behind it may be good.
        """
        if level == len(self._arrays) or isinstance(bases[0], Problem):
            yield RejectedError(*bases[0]) if isinstance(bases[0], Problem) else bases
            return
        keys = self._arrays[level]
        if keys[-1:] == (COLUMNS,):
            yield from self._columns_as_elements(bases, keys[:-1], level)
            return
        array = find(bases[-1], keys)
        if isinstance(array, list):
            for element in array:
                yield from self._elements([*bases, element], level + 1)
        elif array is ABSENT:
            yield RejectedError("missing_field", f"got nothing at {at(keys)}, expected an array of samples")
        else:
            yield RejectedError("wrong_type", f"got {shown(array)} at {at(keys)}, expected an array of samples")

    def _columns_as_elements(
        self, bases: list[object], keys: Keys, level: int
    ) -> Iterator[list[object] | RejectedError]:
        """Yields the elements of the arrays of an object, as objects: the first ones of all arrays, and so on."""
        parent = find(bases[-1], keys)
        arrays = (
            {name: one for name, one in parent.items() if isinstance(one, list)} if isinstance(parent, dict) else {}
        )
        if not arrays:
            problem = "missing_field" if parent is ABSENT else "wrong_type"
            yield RejectedError(problem, f"got no arrays at {at(keys)}, expected an object of arrays of samples")
            return
        longest = max(map(len, arrays.values()))
        elements: list[dict[str, object]] = [{} for _ in range(min(longest, MOST_EVENTS))]
        for name, array in arrays.items():
            for element, value in zip(elements, array, strict=False):
                element[name] = value
        for element in elements:
            yield from self._elements([*bases, element], level + 1)
        if longest > MOST_EVENTS:
            yield RejectedError("too_large", f"got arrays of {longest} elements, expected at most {MOST_EVENTS}")

    def _add_rows(
        self, bases: list[object], index: int, around: Around, into: Parsed, room: int, own: int | None
    ) -> Problem | None:
        """Appends at most `room` rows of one element; returns the problem of a part that has none."""
        if self._filter is not None and not self._is_wanted(self._filter, bases):
            into.filtered[index] = into.filtered.get(index, 0) + 1
            return None
        found = list(islice(self._found_values(bases, around), room + 1))
        if not found:
            return Problem("missing_field", f"got no number, expected {self._expected}")
        time = self._time_of(bases, index, around, own)
        written = None if self._record_time is None else _as_time(self._get(bases, self._record_time))
        covariates = [self._covariate(bases, path) for path in self._covariates]
        future = [self._ahead(bases[0], *names) for names in self._future]
        parts = [self._resolved(bases, part, index, around) for part in self._parts]
        problem = None
        for name, raw in found[:room]:
            value = raw if type(raw) is float else number(raw, self._notation)
            if value is None:
                kind = "an identifier, text or a whole number" if name in self._identifiers else "a number"
                hint = of_number(raw) or inside(raw, name, "values" if self._several else "value")
                wrong = Problem("wrong_type", f"got {shown(raw)} as {name}, expected {kind}, or null if missing{hint}")
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

    def _is_wanted(self, filter_: RecordFilter, bases: list[object]) -> bool:
        """Returns whether an element meets the condition; what has no fields is no event in any case."""
        if isinstance(bases[-1], dict | list) or self._arrays:
            return filter_.meets(lambda path: _or_none(self._get(bases, path)))
        bare = {self._values[0][0].text: bases[-1]}
        return not isinstance(bases[-1], int | float) or filter_.meets(lambda path: bare.get(path.text))

    def _found_values(self, bases: list[object], around: Around) -> Iterator[tuple[str, object]]:
        """Yields the name and the raw value of every event of an element."""
        if not isinstance(bases[-1], dict | list) and not self._arrays:
            bare = isinstance(bases[-1], int | float) and not isinstance(bases[-1], bool)
            if bare and not self._several and around.timestamps_ms is not None:
                label = self._values[0][2]
                yield label, _identified(bases[-1]) if label in self._identifiers else bases[-1]
                return
            text = f"got {shown(bases[-1])}, expected an object with the fields of an event"
            if around.timestamps_ms is not None:
                text += ", or a number alone, of the series that is the key of the record"
            raise RejectedError("wrong_type", text)
        matched = set[tuple[Keys, ...]]()
        for path, glob, label in self._values:
            if glob:
                yield from self._matching(bases, path, matched)
                continue
            raw = self._get(bases, path)
            if raw is not ABSENT:
                yield label, _identified(raw) if label in self._identifiers else raw
            elif not self._several:
                raise RejectedError("missing_field", missing(path.text, bases[len(path.arrays)]))

    def _matching(
        self, bases: list[object], path: FieldPath, matched: set[tuple[Keys, ...]]
    ) -> Iterator[tuple[str, object]]:
        """Yields the numeric fields that match a glob, which are not used otherwise and not in `matched`."""
        *keys, glob = path.keys
        parent, prefix = find(bases[len(path.arrays)], tuple(keys)), _label(path)[: -len(str(glob))]
        if self._columns is not None:
            parent, prefix, keys, glob = bases[0], "", [], "*"
        if not isinstance(parent, Mapping):
            return
        places = self._places.setdefault(path.text, {})
        for name in parent if self._columns is None else self._columns[path.text]:
            if name not in places:
                wanted = fnmatchcase(name, str(glob)) and (path.arrays, (*keys, name)) not in self._used
                if len(places) >= MOST_EVENTS:  # bounds the memory for records with ever new names
                    places.clear()
                places[name] = (*path.arrays, (*keys, name)) if wanted else None
            place = places[name]
            if place is None or place in matched:
                continue
            raw = out_of_union(parent[name])
            if type(raw) is not float and type(raw) is not int and type(raw) is not MalformedNumber:
                value = None if raw is None or isinstance(raw, bool) else number(raw, self._notation)
                if value is None or (isinstance(raw, str) and math.isnan(value)):
                    continue
            if self._globs > 1:
                matched.add(place)
            yield prefix + name, raw

    def _get(self, bases: list[object], path: FieldPath) -> object:
        base = bases[len(path.arrays)]
        if not path.arrays and isinstance(base, dict) and path.text in base:
            return out_of_union(base[path.text])
        return out_of_union(find(base, path.keys))

    def _time_of(self, bases: list[object], index: int, around: Around, own: int | None) -> Time:
        parts = [self._get(bases, path) for path in self._times]
        absent = [path.text for path, raw in zip(self._times, parts, strict=True) if raw is ABSENT or raw is None]
        if absent:
            outer = event_time(around, index) if own is None and self._takes_cloudevents else own
            outer = around.timestamps_ms[index] if outer is None and around.timestamps_ms is not None else outer
            if outer is not None and len(absent) == len(parts):
                return Milliseconds(outer)
            raise RejectedError("missing_field", missing(absent[0], bases[-1]))
        times = [time for time in map(_as_time, parts) if time is not None]
        if len(times) < len(parts):
            raw = parts[0] if len(parts) == 1 else parts
            hint = inside(raw, self._time_name, "timestamp") if isinstance(raw, dict) else ""
            text = f"got {shown(raw)} as {self._time_name}, expected {EXPECTED}{hint}"
            raise RejectedError("wrong_type", text)
        return times[0] if len(times) == 1 else " ".join(str(time).strip() for time in times)

    def _resolved(self, bases: list[object], part: Part, index: int, around: Around) -> str | None:
        """Returns the text of a part of the name of a series; None for the field of the value."""
        if isinstance(part, str):
            return part
        if isinstance(part, FieldPath):
            return self._series_field(bases, part, index, around)
        return None if part == _FIELD else text_outside(part, index, around)

    def _series_field(self, bases: list[object], path: FieldPath, index: int, around: Around) -> str:
        raw = self._get(bases, path)
        if raw is ABSENT:
            key = None if around.keys is None else around.keys[index]
            fields = [part for part in self._parts if isinstance(part, FieldPath)]
            if key is None or len(fields) > 1:
                raise RejectedError("missing_field", missing(path.text, bases[len(path.arrays)]))
            return name_of_key(key)
        text = text_of_field(raw)
        if text is None:
            hint = inside(raw, path.text, "series")
            raise RejectedError("wrong_type", f"got {shown(raw)} as {path.text}, expected the name of a series{hint}")
        if not text:
            raise RejectedError("missing_field", "got an empty series, expected its name")
        return text

    def _covariate(self, bases: list[object], path: FieldPath) -> float:
        raw = self._get(bases, path)
        value = math.nan if raw is ABSENT else number(raw, self._notation)
        if value is None:
            raise RejectedError("wrong_type", f"got {shown(raw)} as {path.text}, expected a number, or null if missing")
        return value

    def _ahead(self, record: object, field: str, name: str) -> list[float | None]:
        """Returns the known future values of a name, at most those of the horizon."""
        ahead = record.get(field) if isinstance(record, dict) else None
        raw = ahead.get(name) if isinstance(ahead, dict) else ahead
        if raw is None:
            return []
        fits = isinstance(raw, list) and isinstance(ahead, dict)
        numbers = [number(one, self._notation) for one in raw[: self._horizon]] if fits else []
        if not fits or None in numbers:
            raise RejectedError("wrong_type", f"got {shown(raw)} as {field}.{name}, expected {_NUMBERS}")
        return numbers


def _label(path: FieldPath) -> str:
    """Returns the text of a path for the name of a series: without the mark of parallel arrays."""
    return path.text.replace(COLUMNS, "").removeprefix(".")


def is_glob(path: FieldPath) -> bool:
    """Returns whether the path is a glob of the names of fields."""
    return bool(path.keys) and any(sign in str(path.keys[-1]) for sign in "*?")


def _identified(raw: object) -> object:
    """Returns the number of an identifier; what is none remains no number."""
    found = number_of_identifier(raw)
    return MalformedNumber(raw) if found is None else found


def _or_none(raw: object) -> object:
    return None if raw is ABSENT else raw


def _as_time(raw: object) -> Time | None:
    """Returns a time, or None for nothing and for what is none."""
    return raw if isinstance(raw, int | float | str) and not isinstance(raw, bool) else None
