"""Chooses which fields of a sample are the time, the series and the values.

The rules, in this order; each choice has its reason as a text:

    time      a field with a usual name whose values are times; else the only one whose values are texts of times
    values    a numeric field with a usual name; else all numeric fields that are no identifiers
    series    a field with a usual name; else the fewest text fields with which no time occurs twice; else the file name

A field that the configuration names is used as it says. Where several fields could be the time, or none, the choice
fails: a wrong guess would give wrong forecasts without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final

from service.config.csv_start import USUAL_START
from service.config.field_paths import COLUMNS, parse_path
from service.config.input import FieldNames, InputConfig
from service.discovery.columns import Column, columns_of, notation_of
from service.discovery.entries import choose_for_entries
from service.discovery.points import reasons_for_points
from service.discovery.readable import check_readable, format_text
from service.discovery.sample import InputSample
from service.discovery.time_choice import choose_time, default_order, is_clock, is_named_like_time, listed_columns
from service.errors import ConfigurationError
from service.messages.numbers import Notation
from service.messages.parse_lines import LINE_FORMATS

KNOWN: Final[Mapping[str, Sequence[str]]] = MappingProxyType({
    "series": (
        "series", "series_id", "unique_id", "item_id", "id", "name", "key", "metric", "sensor", "device", "device_id",
        "deviceid", "sensor_id", "host", "tags",
    ),
    "value": ("value", "_value", "y", "target", "v", "val", "reading", "measurement"),
})  # fmt: skip
"""Usual names of the fields, the likeliest first."""

_NO_NAMES: Final = frozenset({
    "status", "state", "quality", "flag", "unit", "units", "severity", "message", "note", "comment", "description",
})  # fmt: skip
"""Text fields that say something of a value, and do not name what is measured."""

PARTS: Final = frozenset({"series", "timestamp", "value", "values"})
"""The fields that make an event."""

_FEW_ROWS, _REPEATED = 20, 0.1  # rows that say something; share of them that may be at the time of another one
_MOST_FIELDS: Final = 3  # of a name of a series


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        settings: configuration keys with their values, where they differ from the defaults.
        reasons: why, a text per part: format, time, values, series.
        columns: the fields of the sample.
    """

    settings: Mapping[str, Any]
    reasons: Mapping[str, str]
    columns: Sequence[Column] = field(default=())

    @property
    def line(self) -> str:
        """The choice in one line, for people."""
        return "; ".join(f"{part}: {reason}" for part, reason in self.reasons.items())


def default_choice(sample: InputSample, given: Mapping[str, Any] = MappingProxyType({})) -> Choice:
    """Returns the choice for a sample with the default fields, of which only the form is to be set.

    Args:
        sample: the first records.
        given: fields that the configuration names, by the keys of `input.fields`; they are not chosen.
        covariates: fields that are covariates, and so neither values nor names.

    Raises:
        ConfigurationError: it is ambiguous how numbers or dates are written.
    """
    settings = _form_settings(sample)
    written = notation_of(sample, given)
    settings |= {f"input.fields.{name}": one for name, one in _unusual(written).items()}
    if "date_order" not in given and (order := default_order(sample)) != "ymd":
        settings["input.fields.date_order"] = order
    return Choice(settings, {"format": format_text(sample)})


def _form_settings(sample: InputSample) -> dict[str, Any]:
    """Returns the settings of the form of the input, where they differ from the defaults."""
    settings: dict[str, Any] = {"input.format": sample.format} if sample.guessed else {}
    usual, found = USUAL_START, sample.csv
    settings |= {"input.skip_lines": found.skip_lines} if found.skip_lines != usual.skip_lines else {}
    if not found.has_header:
        settings |= {"input.header": False, "input.separator": found.separator}
    return settings


def _unusual(notation: Notation) -> dict[str, str]:
    usual = Notation()._asdict()
    return {name: one for name, one in notation._asdict().items() if one != usual[name]}


def choose(
    sample: InputSample, *, given: Mapping[str, Any] = MappingProxyType({}), covariates: Sequence[str] = ()
) -> Choice:
    """Chooses the fields of the events of a sample.

    Args:
        sample: the first records.
        given: fields that the configuration names, by the keys of `input.fields`; they are not chosen.

    Raises:
        ConfigurationError: it is ambiguous which fields make the events, or some part of an event is missing.
        ServiceError: no record can be read.
    """
    check_readable(sample)
    notation = notation_of(sample, given)
    columns = columns_of(sample, notation, given.get("date_order"))
    if sample.format == "influx":
        return replace(default_choice(sample), columns=columns, reasons={
            "format": format_text(sample), **reasons_for_points(columns, given)
        })  # fmt: skip
    if sample.format == "access-log":
        entries = choose_for_entries(columns, given)
        chosen = {f"input.fields.{name}": value for name, value in entries.settings.items()}
        reasons = {"format": format_text(sample)} | entries.reasons
        return Choice(chosen | _form_settings(sample), reasons, columns)
    time = choose_time(sample, columns, given)
    free = [column for column in columns if column.path not in covariates]
    values, why_values = _values(sample, free, time.paths, given)
    series, why_series = _series(sample, free, time.paths, values, given)
    if "series" not in given and not {"value", "values"} & given.keys():
        values, series, why_series = _with_categories(sample, free, time.paths, values, series, why_series)
    fields: dict[str, Any] = {"timestamp": time.setting, "series": series}
    fields |= {"value": values[0]} if len(values) == 1 and "values" not in given else {"values": list(values)}
    fields |= _unusual(notation) | {"date_order": time.order}
    usual = {"timestamp": "timestamp", "series": "series", "value": "value", "date_order": "ymd"}
    settings: dict[str, Any] = {
        f"input.fields.{name}": value for name, value in fields.items() if usual.get(name) != value
    }
    settings |= _form_settings(sample)
    reasons = {"format": format_text(sample), "time": time.why, "values": why_values, "series": why_series}
    return Choice(settings, reasons, columns)


def has_default_fields(sample: InputSample) -> bool:
    """Returns whether the records have the fields of an event with their default names."""
    return sample.format not in LINE_FORMATS and {"series", "timestamp", "value"} <= set(sample.paths)


def settled(sample: InputSample, settings: InputConfig) -> InputConfig:
    """Returns the settings with the fields that the configuration does not name chosen for a sample.

    Raises:
        ConfigurationError: as `choose`.
    """
    if is_named(settings.fields):
        return settings
    return with_choice(settings, choice_for(sample, settings))


def choice_for(sample: InputSample, settings: InputConfig) -> Choice:
    """Returns the choice of what the settings do not name; of the fields nothing, where they are the default ones.

    Raises:
        ConfigurationError: as `choose`.
    """
    given = {name: getattr(settings.fields, name) for name in settings.fields.model_fields_set}
    if not given.keys() & PARTS and has_default_fields(sample):
        return default_choice(sample, given)
    return choose(sample, given=given, covariates=settings.covariates)


def with_choice(settings: InputConfig, choice: Choice) -> InputConfig:
    """Returns the settings with what was chosen, where they do not name all fields of an event themselves."""
    if is_named(settings.fields):
        return settings
    given = {name: getattr(settings.fields, name) for name in settings.fields.model_fields_set}
    fields = {
        key.removeprefix("input.fields."): value
        for key, value in choice.settings.items()
        if key.startswith("input.fields.")
    }
    form = {
        name: value for key, value in choice.settings.items()
        for section, _, name in [key.rpartition(".")] if section == "input" and name not in settings.model_fields_set
    }  # fmt: skip
    return settings.model_copy(update={**form, "fields": FieldNames.model_validate(fields | given)})


def is_named(fields: FieldNames) -> bool:
    """Returns whether the configuration names all fields of an event, so that nothing is to be chosen."""
    names = fields.model_fields_set
    return {"series", "timestamp"} <= names and bool({"value", "values"} & names)


def _values(
    sample: InputSample, columns: Sequence[Column], times: Sequence[str], given: Mapping[str, Any]
) -> tuple[Sequence[str], str]:
    for name in ("value", "values"):
        if name in given:
            found = [given[name]] if isinstance(given[name], str) else list(given[name])
            return found, f"{', '.join(found)} (configured)"
    numeric = [
        column for column in columns
        if column.kind == "number" and column.path not in times
        and not (column.may_be_time and is_named_like_time(column))
        and column.path not in {given.get("series"), given.get("record_time")}
    ]  # fmt: skip
    for name in KNOWN["value"]:
        named = [column for column in numeric if column.name == name]
        if len(named) == 1:
            return [named[0].path], f"{named[0].path}, by its name"
    measured = [column for column in numeric if not _is_identifier(column)] or numeric
    arrays = max((parse_path(column.path).arrays for column in measured), key=len, default=())
    measured = [column for column in measured if parse_path(column.path).arrays == arrays]
    if not measured:
        msg = (
            f"{sample.source}: got no numeric field among {listed_columns(columns)}; expected at least one with the "
            f"observed values. Set it: --set {sample.section}.fields.value=NAME"
        )
        raise ConfigurationError(msg)
    found = [column.path for column in measured]
    if len(found) == 1:
        return found, f"{found[0]}, the only numeric field"
    return found, f"{len(found)} numeric fields, each a series of its own: {listed_columns(measured)}"


def _is_identifier(column: Column) -> bool:
    whole = all(isinstance(one, int) or str(one).strip().lstrip("-").isdigit() for one in column.examples)
    return whole and (column.name in KNOWN["series"] or column.name.endswith(("_id", "id")))


def _series(
    sample: InputSample,
    columns: Sequence[Column],
    times: Sequence[str],
    values: Sequence[str],
    given: Mapping[str, Any],
) -> tuple[str | list[str], str]:
    if "series" in given:
        return given["series"], f"{given['series']} (configured)"
    if (tags := _influx_series(columns)) and not values[1:]:
        return tags, f"{', '.join(tags)}: measurement, tags and field of InfluxDB"
    free = [
        column for column in columns
        if column.path not in {*times, *values} and column.kind != "empty" and not is_clock(column)
        and _in_all(sample, column)
    ]  # fmt: skip
    named = [
        column for name in KNOWN["series"] for column in free
        if column.name == name and (column.kind == "text" or _is_identifier(column)) and _recurs(sample, column, times)
    ]  # fmt: skip
    # Around parallel arrays are texts such as their zone, which are the same everywhere and name nothing.
    changes = 1 if COLUMNS in times[0] else 0
    repeated = [
        column for column in free
        if column.kind == "text" and column.distinct > changes and 2 * column.distinct <= len(sample.rows)
        and column not in named and column.name not in _NO_NAMES
    ]  # fmt: skip
    candidates = [*named, *repeated]
    for count in range(1, _MOST_FIELDS + 1):
        for fields in combinations(candidates, count):
            if _are_distinct(sample, [*times, *(column.path for column in fields)]):
                names = [column.path for column in fields]
                why = f"{', '.join(names)}, with which every time occurs once"
                return (names[0], why) if count == 1 else (names, why)
    if named:
        return named[0].path, f"{named[0].path}, by its name"
    if candidates:
        names = [column.path for column in candidates[:_MOST_FIELDS]]
        return (names if len(names) > 1 else names[0]), f"{', '.join(names)}, the fields with repeated texts"
    keys = sample.records.keys
    if keys is not None and all(keys):
        return "{key}", "the key of the record, because no field has one"
    if len(values) > 1:
        return ("{file}" if sample.several_files else ""), "the names of the values"
    return "{file}", "the name of the file, because no field has one"


def _influx_series(columns: Sequence[Column]) -> list[str]:
    """Returns the columns that name a series in annotated CSV of InfluxDB; none in other files."""
    names = {column.path for column in columns if column.kind != "empty"}
    if not {"_measurement", "_field", "_time", "_value"} <= names:
        return []
    texts = [column.path for column in columns if column.kind == "text"]
    tags = [name for name in texts if not name.startswith(("_", "column_")) and name not in {"result", "table"}]
    return ["_measurement", *tags, "_field"]


def _recurs(sample: InputSample, column: Column, times: Sequence[str]) -> bool:
    """Returns whether a field names series, not single records: its texts come again at other times."""
    if len(sample.rows) < _FEW_ROWS or 2 * column.distinct <= len(sample.rows):
        return True
    return len(set(_keys(sample, times))) <= 2


def _with_categories(
    sample: InputSample,
    columns: Sequence[Column],
    times: Sequence[str],
    values: Sequence[str],
    series: str | list[str],
    why: str,
) -> tuple[Sequence[str], str | list[str], str]:
    """Adds numeric fields of few whole values to the name of the series where times occur several times without them.

    Raises:
        ConfigurationError: nothing distinguishes the records of a time.
    """
    if "{key}" in series or not any(
        times[0] in row for row in sample.rows
    ):  # what distinguishes them is not in the rows
        return values, series, why
    fields = [] if "{" in series or not series else [series] if isinstance(series, str) else list(series)
    keys = list(_keys(sample, [*times, *fields]))
    if len(keys) - len(set(keys)) <= _REPEATED * len(keys) or parse_path(times[0]).arrays:
        return values, series, why
    few = [
        column.path for column in columns
        if column.path in values and 4 * column.distinct <= len(sample.rows)
        and all(str(text).lstrip("-").isdigit() for text in column.examples)
    ]  # fmt: skip
    if any(name not in few for name in values):
        for count in range(1, _MOST_FIELDS + 1):
            for more in combinations(few, count):
                names = [*fields, *more]
                if _are_distinct(sample, [*times, *names]):
                    kept = [name for name in values if name not in more]
                    why = f"{', '.join(names)}, which distinguish the records"
                    return kept, names[0] if len(names) == 1 else names, why
    msg = (
        f"{sample.source}: got several records at the same time that no field distinguishes, with the time in "
        f"{', '.join(times)}; expected one record per series and time. Set the fields that name the series: --set "
        f"{sample.section}.fields.series=NAME"
    )
    raise ConfigurationError(msg)


def _in_all(sample: InputSample, column: Column) -> bool:
    """Returns whether every row has a text or number there; a series cannot lack its name."""
    return not any(row.get(column.path) in {None, ""} for row in sample.rows)


def _are_distinct(sample: InputSample, paths: Sequence[str]) -> bool:
    seen = set[tuple[str, ...]]()
    for key in _keys(sample, paths):
        if key in seen:
            return False
        seen.add(key)
    return True


def _keys(sample: InputSample, paths: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields what every row has at these paths."""
    return (tuple(str(row.get(path)) for path in paths) for row in sample.rows)
