"""The rule that makes the name of a series from a record, as `input.fields.series` has it.

    host                    one field
    ["site", "metric"]      several fields, joined by "/"
    {site}/{metric}         a template. Besides fields: {key} and {topic} of the Kafka record, {header:NAME},
                            {file} (name of the input file without folder and suffix), {field} (the field of the
                            value, where a record has several); {{ and }} are braces

With several values per record, a rule without {field} is followed by "." and the field of the value.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from service.config.field_paths import FieldPath, parse_path

Place = Literal["key", "topic", "file", "header", "field"]
_PLACES: Final[dict[str, Place]] = {"key": "key", "topic": "topic", "file": "file", "field": "field"}


class Outside(NamedTuple):
    """A part of a name that is not in the record's value; `name` is that of a header."""

    place: Place
    name: str = ""


Part = str | FieldPath | Outside


def parse_rule(rule: str | Sequence[str], *, several: bool) -> tuple[Part, ...]:
    """Parses a rule into literal texts, fields and parts outside of the value.

    Args:
        rule: a field, a list of fields or a template.
        several: whether a record has several values.

    Raises:
        ValueError: it is malformed, or it is empty although a record has one value only.
    """
    parts: tuple[Part, ...]
    if isinstance(rule, str):
        parts = tuple(_template(rule)) if "{" in rule else (parse_path(rule),) if rule else ()
    else:
        parts = tuple(part for name in rule for part in ("/", parse_path(name)))[1:]
    if several and Outside("field") not in parts:
        parts = (*parts, ".", Outside("field")) if parts else (Outside("field"),)
    if not parts:
        msg = 'got no series, expected a field, a list of fields, or a template such as "{site}/{metric}"'
        raise ValueError(msg)
    return parts


def _template(text: str) -> list[Part]:
    parts = list[Part]()
    try:
        for literal, name, argument, conversion in string.Formatter().parse(text):
            parts += [literal] if literal else []
            if name is None:
                continue
            parts.append(_part(name, argument or "", conversion or ""))
    except ValueError as error:
        msg = f'got the template {text!r} ({error}), expected one such as "{{site}}/{{metric}}"'
        raise ValueError(msg) from None
    return parts


def _part(name: str, argument: str, conversion: str) -> Part:
    if conversion or bool(argument) != (name == "header"):
        msg = "only {header:NAME} has an argument"
        raise ValueError(msg)
    if argument:
        return Outside("header", argument)
    return Outside(_PLACES[name]) if name in _PLACES else parse_path(name)
