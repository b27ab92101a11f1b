"""Parses lines of InfluxDB line protocol to flat records, whose names `input.fields` refers to.

    cpu,host=web0,region=eu usage_idle=10.5,procs=12i,ok=t,state="a b" 1767571200000000000

    timestamp               the number at the end of the line, where it has one
    measurement             its first name
    series                  measurement and tags, sorted by their names and escaped as in the line
    host, region            the tags: texts, also where they look like numbers
    usage_idle, procs, ok   the fields in the order of the line: numbers; a boolean is 1 or 0; a string is a text

A name that is taken, in this order, gets a number as in InfluxQL: the field `host` beside a tag `host` is `host_1`. Of
a field that a line repeats, the last value counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from service.messages.numbers import MalformedNumber, PlainText
from service.messages.text_lines import Cells, LineError

MOST_FIELDS: Final = 10_000
"""Largest number of fields of a line, and of tags."""

_CACHED_HEADS: Final = 2048  # heads that are kept, as the same series come again and again; 20 MB if all are hostile
_CACHED_LENGTH: Final = 256  # characters of a head that is kept
_SHOWN: Final = 80
_BLANKS: Final = " \t\r\n"  # around a line

_NUMBER: Final = re.compile(
    r"([+-]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+)|([+-]?\d++)i|(\d++)u", re.ASCII
)  # a float, an integer, an unsigned integer
_TRUTH: Final = dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), 0.0
)
_NOT_FINITE: Final = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})
_TIME: Final = re.compile(r"[+-]?\d{1,19}", re.ASCII)
# A comma, a blank and, but in measurements, an equals sign are escaped by the backslash before them; any other
# backslash is one.
_MEASUREMENT: Final = re.compile(r"(?:[^, \\]++|\\[, ]?+)++")
_HEAD: Final = re.compile(r"(?:[^ \\]++|\\[, =]?+)++")
_NAME: Final = r"(?:[^,= \\]++|\\[,= ]?+)++"
_TAG: Final = re.compile(f",({_NAME})=({_NAME})")
_FIELD: Final = re.compile(rf'({_NAME})=(?:"((?:[^"\\]++|\\.)*+)"|([^, "]*+))', re.DOTALL)
_ESCAPED_IN_MEASUREMENT: Final = re.compile(r"\\([, ])")
_ESCAPED_IN_NAME: Final = re.compile(r"\\([,= ])")
_ESCAPED_IN_STRING: Final = re.compile(r'\\(["\\])')
_IN_MEASUREMENT: Final = str.maketrans({",": r"\,", " ": r"\ "})
_IN_NAME: Final = str.maketrans({",": r"\,", " ": r"\ ", "=": r"\="})


def is_blank(line: str) -> bool:
    """Returns whether a line has no point: it is a comment, or has blanks only."""
    text = line.lstrip(_BLANKS)
    return not text or text.startswith("#")


def parse_line(line: str) -> Cells:
    """Parses one line that has a point; blanks and line ends around it do not count.

    Raises:
        LineError: it is not line protocol; its message has what was received and what is expected.
    """
    text = line.strip(_BLANKS)
    head, rest = _divided(text)
    names = _cached_head(head) if len(head) <= _CACHED_LENGTH else _head(head)
    fields, time = _quoted_fields(rest) if "\\" in rest or '"' in rest else _plain_fields(rest)
    cells = dict(names)
    if time:
        if not _TIME.fullmatch(time):
            msg = f"got the timestamp {time[:_SHOWN]!r}, expected a whole number, such as of nanoseconds since 1970"
            raise LineError(msg, "bad_timestamp")
        cells["timestamp"] = int(time)
    if "timestamp" in fields or not fields.keys().isdisjoint(cells):
        _add_free(cells, fields)
    else:
        cells |= fields
    return cells


def _add_free(cells: Cells, more: Mapping[str, object]) -> None:
    """Adds cells; those whose names are taken, as of "timestamp" they always are, get a number."""
    for name, value in more.items():
        free, number = name, 0
        while free in cells or free == "timestamp" or (number and free in more):
            number += 1
            free = f"{name}_{number}"
        cells[free] = value


def _value(text: str) -> object:
    """Returns the value of a field that is no string."""
    match = _NUMBER.fullmatch(text)
    if match is not None:
        return float(match[match.lastindex or 0])
    if (truth := _TRUTH.get(text)) is not None:
        return truth
    return math.nan if text.lower() in _NOT_FINITE else MalformedNumber(text)


# Measurement and tags -------------------------------------------------------------------------------------------


def _divided(text: str) -> tuple[str, str]:
    """Returns measurement and tags, which end at a blank that is not escaped, and what follows."""
    if "\\" not in text:
        head, _, rest = text.partition(" ")
        return head, rest
    match = _HEAD.match(text)
    head = "" if match is None else match[0]
    return head, text[len(head) :].lstrip(" ")


def _head(text: str) -> Cells:
    """Returns the cells of measurement and tags."""
    tags = dict[str, str]()
    if "\\" in text:
        return _escaped_head(text, tags)
    measurement, *items = text.split(",", MOST_FIELDS + 1)
    for item in items:
        name, equals, value = item.partition("=")
        if not (name and equals and value) or "=" in value:
            raise _no_tag(item)
        _add_tag(tags, name, value)
    return _named(measurement, tags)


_cached_head = lru_cache(_CACHED_HEADS)(_head)


def _escaped_head(text: str, tags: dict[str, str]) -> Cells:
    match = _MEASUREMENT.match(text)
    if match is None:
        raise _no_measurement()
    measurement, at = _ESCAPED_IN_MEASUREMENT.sub(r"\1", match[0]), match.end()
    while at < len(text):
        match = _TAG.match(text, at)
        if match is None or text[match.end() : match.end() + 1] not in {",", ""}:
            raise _no_tag(text[at + 1 :])
        _add_tag(tags, *(_ESCAPED_IN_NAME.sub(r"\1", part) for part in match.groups()))
        at = match.end()
    return _named(measurement, tags)


def _add_tag(tags: dict[str, str], name: str, value: str) -> None:
    if name in tags:
        msg = f"got the tag {name[:_SHOWN]!r} more than once, expected every tag once"
        raise LineError(msg)
    if len(tags) >= MOST_FIELDS:
        raise _too_many("tags")
    tags[name] = value


def _named(measurement: str, tags: dict[str, str]) -> Cells:
    """Returns the cells of measurement and tags."""
    if not measurement:
        raise _no_measurement()
    cells: Cells = {"measurement": PlainText(measurement), "series": PlainText(series_of(measurement, tags))}
    _add_free(cells, {name: PlainText(value) for name, value in tags.items()})
    return cells


def series_of(measurement: str, tags: Mapping[str, str]) -> str:
    """Returns measurement and tags, sorted by their names and escaped as in a line."""
    parts = (f"{name.translate(_IN_NAME)}={tags[name].translate(_IN_NAME)}" for name in sorted(tags))
    return ",".join([measurement.translate(_IN_MEASUREMENT), *parts])


# Fields and timestamp -------------------------------------------------------------------------------------------


def _plain_fields(text: str) -> tuple[Cells, str]:
    """Returns the fields, and the timestamp or an empty text, of a line without quotes and backslashes."""
    section, _, time = text.lstrip(" ").partition(" ")
    if section.count(",") >= MOST_FIELDS:
        raise _too_many("fields")
    fields = Cells()
    for item in section.split(","):
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise _no_field(item)
        fields[name] = _value(value)
    return fields, time.strip(" ")


def _quoted_fields(text: str) -> tuple[Cells, str]:
    """Returns the same of any line."""
    fields, at, count = Cells(), len(text) - len(text.lstrip(" ")), 0
    while True:
        match = _FIELD.match(text, at)
        following = "" if match is None else text[match.end() : match.end() + 1]
        if match is None or following not in {",", " ", ""}:
            raise _no_field(text[at:])
        name, string, plain = match.groups()
        value = _value(plain) if string is None else PlainText(_ESCAPED_IN_STRING.sub(r"\1", string))
        fields[_ESCAPED_IN_NAME.sub(r"\1", name)] = value
        at, count = match.end() + 1, count + 1
        if count > MOST_FIELDS:
            raise _too_many("fields")
        if following != ",":
            return fields, text[at:].strip(" ")


def _no_measurement() -> LineError:
    return LineError("got a line without a measurement, expected its name first, then tags, fields and a timestamp")


def _no_tag(text: str) -> LineError:
    return LineError(f"got {text[:_SHOWN]!r} after the measurement, expected tags such as name=value, without blanks")


def _no_field(text: str) -> LineError:
    return LineError(
        f'got {text[:_SHOWN]!r}, expected fields such as name=1.5,other=2i,state="on" after measurement and tags'
    )


def _too_many(what: str) -> LineError:
    return LineError(f"got more than {MOST_FIELDS} {what} in a line, expected at most as many", "too_large")
