"""Chooses the time of the events of a sample: a field, or a date and a time of day in two fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from service.config.input import DateOrder
from service.discovery.columns import Column, columns_of
from service.discovery.sample import InputSample
from service.errors import ConfigurationError
from service.messages.numbers import Notation
from service.messages.timestamps import parse_time

TIME_NAMES: Final = (
    "timestamp", "time", "ts", "ds", "datetime", "date", "@timestamp", "_time", "date_time", "event_time", "eventtime",
    "timestamp_ms", "t",
)  # fmt: skip
"""Usual names of the field with the time, the likeliest first."""

_DATE: Final = re.compile(r"\d{1,4}[./-](\d{1,2}|\w{3})[./-]\d{1,4}|^\d{4}-\d\d$|^(19|20)\d{6}$")
_DIGITS: Final = re.compile(r"(1[89]|20)\d\d((0[1-9]|1[0-2])([0-2]\d|3[01]))?")
_DAY: Final = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}")
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
_LISTED: Final = 12  # fields in a message
_LOOKED_AT: Final = 50  # rows


class TimeChoice(NamedTuple):
    """The fields of the time, the order of their dates, and why they are chosen."""

    paths: tuple[str, ...]
    order: DateOrder
    why: str

    @property
    def setting(self) -> str | list[str]:
        """The value of `input.fields.timestamp`."""
        return self.paths[0] if len(self.paths) == 1 else list(self.paths)


def choose_time(sample: InputSample, columns: Sequence[Column], given: Mapping[str, Any]) -> TimeChoice:
    """Chooses the time of the events.

    Args:
        sample: the first records. columns: their fields.
        given: fields that the configuration names, by the keys of `input.fields`.

    Raises:
        ConfigurationError: it is ambiguous, or there is none; the message says what to set.
    """
    if "timestamp" in given:
        named = given["timestamp"]
        paths, why = ((named,) if isinstance(named, str) else tuple(named)), f"{_named(named)} (configured)"
        _check_digits(sample, columns, given)
    else:
        path, why = _time(sample, columns)
        paths = (path,)
    if len(paths) == 1 and (clock := _clock(sample, columns, paths[0])):
        if "timestamp" in given:
            msg = (
                f"{sample.source}: got a date in {paths[0]} and a time of day in {clock}; expected both: "
                f'--set \'{sample.section}.fields.timestamp=["{paths[0]}","{clock}"]\''
            )
            raise ConfigurationError(msg)
        paths, why = (paths[0], clock), f"{paths[0]} and {clock}, a date and a time of day"
    return TimeChoice(paths, given.get("date_order") or _order(sample, columns, paths), why)


def _named(names: str | Iterable[str]) -> str:
    return names if isinstance(names, str) else ", ".join(names)


def _time(sample: InputSample, columns: Sequence[Column]) -> tuple[str, str]:
    able = [column for column in columns if column.may_be_time]
    for name in TIME_NAMES:
        named = [column for column in able if column.name == name]
        if named:
            return named[0].path, f"{named[0].path}, by its name, such as {named[0].examples[0]!r}"
    texts = [column for column in able if column.kind == "time"]
    texts = texts or [column for column in able if is_named_like_time(column)] or able
    if len(texts) == 1:
        return texts[0].path, f"{texts[0].path}, the only field with times, such as {texts[0].examples[0]!r}"
    if not able and sample.has_time:
        where = "the record" if sample.records.timestamps_ms is not None else f"the envelope ({sample.envelope})"
        return "timestamp", f"the time of {where}, because no field has one"
    if texts:
        which = " and ".join([column.path for column in texts[:_LISTED]])
        key = f"{sample.section}.fields.timestamp"
        msg = f"{sample.source}: got times in {which}; set the one of the event: --set {key}=NAME"
        raise ConfigurationError(msg)
    alike = [(one.path, text) for one in columns for text in map(str, one.examples[:1]) if _DATE.search(text)]
    seen = f" (a text such as {alike[0][1]!r} in {alike[0][0]} is not read as a time)" if alike else ""
    msg = (
        f"{sample.source}: got no field with times among {listed_columns(columns)}{seen}; expected ISO-8601 texts or "
        f"epoch numbers. Set it: --set {sample.section}.fields.timestamp=NAME, and {sample.section}.fields.time_unit "
        "for another unit"
    )
    raise ConfigurationError(msg)


def default_order(sample: InputSample) -> DateOrder:
    """Returns the order of the dates of the field with the default name.

    Raises:
        ConfigurationError: as `choose_time`.
    """
    first = [row.get("timestamp") for row in sample.rows[:_LOOKED_AT]]
    if any(isinstance(text, str) and parse_time(text) is None for text in first):
        columns = [column for column in columns_of(sample, Notation()) if column.path == "timestamp"]
        return _order(sample, columns, ["timestamp"])
    return "ymd"


def _order(sample: InputSample, columns: Sequence[Column], paths: Sequence[str]) -> DateOrder:
    """Returns the order of the dates: the only one in which all of them are dates.

    Raises:
        ConfigurationError: they are dates with the day first as well as with the month first.
    """
    dates = [column for column in columns if column.path in paths and column.orders and "ymd" not in column.orders]
    if not dates:
        return "ymd"
    if len(dates[0].orders) == 1:
        return dates[0].orders[0]
    msg = (
        f"{sample.source}: got dates such as {str(dates[0].examples[0])!r} in {dates[0].path}, of which the day or the "
        f"month may be first; set it: --set {sample.section}.fields.date_order=dmy, or mdy"
    )
    raise ConfigurationError(msg)


def _check_digits(sample: InputSample, columns: Sequence[Column], given: Mapping[str, Any]) -> None:
    """Refuses dates and years that are numbers: they would be milliseconds of the 1st of January 1970."""
    times = [one for one in columns if one.path == given["timestamp"] and "time_unit" not in given]
    if times and times[0].examples and all(_DIGITS.fullmatch(str(one)) for one in times[0].examples):
        msg = (
            f"{sample.source}: got {times[0].examples[0]!r} as the time, a date or a year in digits, which would "
            "be milliseconds; expected such as 2024-03-01. Numbers that are milliseconds: "
            f"{sample.section}.fields.time_unit=ms"
        )
        raise ConfigurationError(msg)


def _clock(sample: InputSample, columns: Sequence[Column], time: str) -> str:
    """Returns the field with the time of day of dates without one, "" where they have one.

    Raises:
        ConfigurationError: there are several such fields.
    """
    dates = [one for one in columns if one.path == time and all(_DAY.fullmatch(str(text)) for text in one.examples)]
    clocks = [one for one in columns if is_clock(one)]
    if not dates or not dates[0].examples or not clocks:
        return ""
    order = dates[0].orders[0] if dates[0].orders else "ymd"
    joined = f"{dates[0].examples[0]} {str(clocks[0].examples[0]).strip()}"
    if len(clocks) > 1 or parse_time(joined, order=order) is None:
        which = " and ".join(one.path for one in clocks[:_LISTED])
        msg = (
            f"{sample.source}: got a date in {time} and a time of day in {which}; set the fields of the time of the "
            f'event: --set \'{sample.section}.fields.timestamp=["{time}","NAME"]\''
        )
        raise ConfigurationError(msg)
    return clocks[0].path


def is_clock(column: Column) -> bool:
    """Returns whether a field has times of day."""
    return bool(column.examples) and all(_CLOCK.fullmatch(str(text).strip()) for text in column.examples)


def is_named_like_time(column: Column) -> bool:
    """Returns whether the name of a field is that of a time."""
    return "time" in column.name or "date" in column.name or column.name.endswith(("_at", "_ts"))


def listed_columns(columns: Sequence[Column]) -> str:
    """Returns the names of columns for a message, the first ones of many."""
    names = [column.path for column in columns]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more or "none"
