"""A struct type for the usual records of a configuration: msgspec decodes them to it, and creates no other objects.

It has a field for every path, in nested structs. It is made where the paths lead through objects only, and the name of
a series comes from the record alone. Records that do not fit the type, and all of other configurations, are read by
`service.messages.mapping`, with the same result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from operator import attrgetter
from typing import Any, Final, Self

import msgspec

from service.config.field_paths import FieldPath, parse_path
from service.config.input import InputConfig
from service.config.series_rule import Outside, Part
from service.config.where import paths_of
from service.messages.columns import interleaved, joined, repeated
from service.messages.frames import Columns, Wanted
from service.messages.keys import EXACT
from service.messages.mapping import is_glob
from service.messages.numbers import Notation
from service.messages.parsed import Parsed
from service.messages.record_filter import RecordFilter
from service.messages.timestamps import Milliseconds, plain_milliseconds

_Tree = dict[str, Any]
_MOMENT, _MOMENT_OR_NONE = "moment", "moment or none"  # kinds of times, until the struct is made
_OF_JSON: Final[Mapping[Any, Any]] = {_MOMENT: int | float | str, _MOMENT_OR_NONE: int | float | str | None}
_AS_IT_IS: Final[Mapping[Any, Any]] = {_MOMENT: Any, _MOMENT_OR_NONE: Any}  # msgspec would make Milliseconds an int
_TIMES: Final = frozenset({int, float, str, Milliseconds})
_FUTURE = "future_values"
_SCALAR: Final[Any] = str | int | float | bool | None  # of a field that is only compared


class NotWantedError(Exception):
    """A record does not meet `input.where`."""


class RecordStruct:
    """Decodes records to structs, and appends their rows. Created by `of`.

    Args:
        settings: paths, covariates and known future values.
        horizon: steps of known future values to keep.

    Attributes:
        decode: returns the struct of a record; raises msgspec.MsgspecError or UnicodeDecodeError where it does not fit.
        decode_wanted: the same; raises NotWantedError where the record does not meet `input.where`.
        has_condition: whether there is such a condition.
        required: the keys of the fields that every event has.
        literals: texts of nested paths, as names in JSON.
        wanted: the fields, where `append_columns` can append their columns; else None.
    """

    def __init__(self, settings: InputConfig, horizon: int) -> None:
        names, self._horizon = settings.fields, horizon
        self.has_condition = bool(settings.where)
        tree: _Tree = {}
        self._several = bool(names.values)
        self._paths = names.value_paths
        (time,) = names.timestamp_paths
        needed = [*([] if self._several else names.value_paths), time]
        needed += [part for part in names.series_parts if isinstance(part, FieldPath)]
        self.required = [path.keys for path in needed]
        # Of a record with the whole text of a nested path as a name, that field counts, which the struct does not see.
        texts = {path.text: None for path in [*names.paths, *compared_paths(settings)] if len(path.keys) > 1}
        self._texts = list(texts)
        self.literals = [json.dumps(text).encode() for text in self._texts]
        value: Any = float | None
        self._values = [
            _leaf(tree, path, value | msgspec.UnsetType, msgspec.UNSET) if self._several else _leaf(tree, path, value)
            for path in names.value_paths
        ]
        self._time = _leaf(tree, time, _MOMENT)
        self._parts: list[attrgetter[Any] | Part] = [
            _leaf(tree, part, str) if isinstance(part, FieldPath) else part for part in names.series_parts
        ]
        self._names = [part for part in self._parts if isinstance(part, attrgetter)]
        written = parse_path(names.record_time) if names.record_time else None
        self._record_time = None if written is None else _leaf(tree, written, _MOMENT_OR_NONE, None)
        self._covariates = [_leaf(tree, parse_path(name), value, None) for name in settings.covariates]
        self._future = [f"future_{number}" for number in range(len(settings.future_covariates))]
        if self._future:
            lists = [(name, list[float | None] | None, None) for name in self._future]
            called = dict(zip(self._future, settings.future_covariates, strict=True))
            kind: Any = msgspec.defstruct("Future", lists, rename=called, gc=False) | None
            tree[names.future] = (_FUTURE, kind, None)
        self._compared = {
            path: _read(tree, path) or _leaf(tree, path, _SCALAR, None) for path in compared_paths(settings)
        }
        if settings.condition is not None:
            self._filter = RecordFilter(settings.condition, Notation(names.decimal, names.thousands))
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(_struct(tree, _OF_JSON)).decode
        self._kind = _struct(tree, _AS_IT_IS)
        self.decode_wanted = self._wanted if settings.condition else self.decode
        self.wanted = self._wanted_fields(settings)

    @classmethod
    def of(cls, settings: InputConfig, horizon: int) -> Self | None:
        """Returns the struct of a configuration, or None where it has none."""
        names = settings.fields
        paths = [*names.paths, *map(parse_path, settings.covariates), *compared_paths(settings)]
        outside = [part for part in names.series_parts if isinstance(part, Outside) and part.place != "field"]
        if outside or names.identifiers or len(names.timestamp_paths) > 1:
            return None
        if settings.envelope not in {"auto", "none"} or any(map(is_glob, names.value_paths)):
            return None
        if any(path.arrays or path.text.startswith("/") for path in paths):
            return None
        keys = [path.keys for path in paths] + [(names.future,)]
        nested = any(one != other and one == other[: len(one)] for one in keys for other in keys)
        if nested or any(isinstance(key, int) for path in paths for key in path.keys):
            return None
        return cls(settings, horizon)

    def _wanted(self, value: bytes) -> Any:
        """Decodes a record as `decode` does.

        Raises:
            NotWantedError: it does not meet the condition.
            msgspec.ValidationError: it does not fit, or its numbers are not exact as floats.
        """
        event = self.decode(value)
        compared = {path: get(event) for path, get in self._compared.items()}
        if any(isinstance(one, int | float) and abs(one) >= EXACT for one in compared.values()):
            raise msgspec.ValidationError
        if not self._filter.meets(lambda path: None if compared[path] is msgspec.UNSET else compared[path]):
            raise NotWantedError
        return event

    def may_differ(self, value: bytes) -> bool:
        """Returns whether a record may have another result than its struct: see `required` fields with dots."""
        return any(literal in value for literal in self.literals)

    def convert(self, record: object) -> Any:
        """Returns the struct of a decoded record, or None where it does not fit; its times stay `Milliseconds`."""
        if isinstance(record, dict) and any(text in record for text in self._texts):
            return None
        try:
            event: Any = msgspec.convert(record, self._kind)
        except msgspec.ValidationError:
            return None
        times = [self._time(event), *([] if self._record_time is None else [self._record_time(event) or 0])]
        return event if all(type(time) in _TIMES for time in times) else None

    def fits(self, event: Any) -> bool:
        """Returns whether a struct is an event: its series has a name, and it has a value."""
        if not all(get(event) for get in self._names):
            return False
        return not self._several or any(get(event) is not msgspec.UNSET for get in self._values)

    def all_fit(self, events: Sequence[Any]) -> bool:
        """Returns whether `fits` is certainly true for all structs; a fast check."""
        named = all(all(map(get, events)) for get in self._names)
        return named and (not self._several or msgspec.UNSET not in map(self._values[0], events))

    def _cut(self, lists: Any) -> None:
        """Truncates the lists of known future values to the horizon.

        Lists need a multiple of the memory of their text.
        """
        for name in self._future:
            numbers = getattr(lists, name, None)
            if numbers and len(numbers) > self._horizon:
                setattr(lists, name, numbers[: self._horizon])

    def append(self, events: Sequence[Any], indices: Sequence[int], into: Parsed) -> None:
        """Appends the rows of structs that fit, whose records have these indices."""
        if self._future:
            for event in events:
                self._cut(getattr(event, _FUTURE))
        columns = {path.text: list(map(get, events)) for path, get in zip(self._paths, self._values, strict=True)}
        if self._several and any(value is msgspec.UNSET for column in columns.values() for value in column):
            # Rarely: records with different fields are taken one by one.
            for at, (event, index) in enumerate(zip(events, indices, strict=True)):
                own = {name: [column[at]] for name, column in columns.items() if column[at] is not msgspec.UNSET}
                self._append([event], [index], own, into)
            return
        self._append(events, indices, columns, into)

    def _wanted_fields(self, settings: InputConfig) -> Wanted | None:
        names = settings.fields
        (time,) = names.timestamp_paths
        texts = [part for part in names.series_parts if isinstance(part, FieldPath)]
        paths = [_names(path) for path in [*texts, time, *names.value_paths]]
        if settings.condition or self._covariates or self._future or names.record_time or len(set(paths)) < len(paths):
            return None
        at, plain = len(texts), plain_milliseconds(names.time_unit)
        return Wanted(tuple(paths[:at]), paths[at], tuple(paths[at + 1 :]), frozenset(self._texts), plain)

    def append_columns(self, found: Columns, begin: int, end: int, indices: Sequence[int], into: Parsed) -> None:
        """Appends the rows of records from `begin` to before `end`, all of them usual, which have these indices."""
        several = len(self._paths)
        slots = count()
        parts = [
            found.objects(next(slots), begin, end) if isinstance(part, attrgetter) else part for part in self._parts
        ]
        into.index += repeated(indices, several)
        into.series += interleaved([_joined(parts, path.text, end - begin) for path in self._paths])
        into.times += repeated(found.objects(-1, begin, end), several)
        into.values += found.numbers[:, begin:end].T.ravel().tolist()

    def _append(
        self, events: Sequence[Any], indices: Sequence[int], values: Mapping[str, Sequence[Any]], into: Parsed
    ) -> None:
        """Appends a row for each of the values, which have a column per field."""
        several, columns = len(values), list(values.values())
        into.index += repeated(indices, several)
        into.series += interleaved([self._named(events, field) for field in values])
        into.times += repeated(list(map(self._time, events)), several)
        into.values += [math.nan if value is None else value for value in interleaved(columns)]
        if self._record_time is not None:
            get = self._record_time
            into.record_times += repeated(list(map(get, events)), several)
        if self._covariates:
            rows = [[get(event) for get in self._covariates] for event in events]
            into.covariates += repeated([[math.nan if item is None else item for item in row] for row in rows], several)
        if self._future:
            known = [getattr(event, _FUTURE) for event in events]
            into.future += repeated([[getattr(one, name, None) for name in self._future] for one in known], several)

    def _named(self, events: Sequence[Any], field: str) -> list[str]:
        parts = [list(map(part, events)) if isinstance(part, attrgetter) else part for part in self._parts]
        return _joined(parts, field, len(events))


def _joined(parts: Sequence[list[str] | Part], field: str, count: int) -> list[str]:
    """Returns the names of series of their parts: a text per record, one for all, or the name of a field of values."""
    name: list[str] | str = ""
    for part in parts:
        name = joined(name, part if isinstance(part, list) else field if isinstance(part, Outside) else str(part))
    return [name] * count if isinstance(name, str) else name


def _names(path: FieldPath) -> tuple[str, ...]:
    return tuple(map(str, path.keys))


def compared_paths(settings: InputConfig) -> list[FieldPath]:
    """Returns the paths of the fields that the condition compares, each once."""
    return [] if settings.condition is None else list(dict.fromkeys(paths_of(settings.condition)))


def _read(tree: _Tree, path: FieldPath) -> attrgetter[Any] | None:
    """Returns what reads a field that a tree has already, or None."""
    attributes = []
    node: Any = tree
    for key in map(str, path.keys):
        if not isinstance(node, dict) or key not in node:
            return None
        name, node, *_ = node[key]
        attributes.append(name)
    return attrgetter(".".join(attributes))


def _leaf(tree: _Tree, path: FieldPath, kind: Any, *default: Any) -> attrgetter[Any]:
    """Adds a field to a tree of nested objects, and returns what reads it from the struct."""
    *parents, last = (str(key) for key in path.keys)
    attributes = []
    for parent in parents:
        node = tree.setdefault(parent, (f"f{len(tree)}", {}))
        attributes.append(node[0])
        tree = node[1]
    name = f"f{len(tree)}"
    tree[last] = (name, kind, *default)
    return attrgetter(".".join([*attributes, name]))


def _struct(tree: _Tree, moments: Mapping[Any, Any]) -> Any:
    """Returns the struct type of a tree; objects on the way to a field are required."""
    fields = [
        (name, _struct(kind, moments) if isinstance(kind, dict) else moments.get(kind, kind), *default)
        for name, kind, *default in tree.values()
    ]
    rename = {name: key for key, (name, *_) in tree.items()}
    return msgspec.defstruct("Record", fields, rename=rename, gc=False, kw_only=True)
