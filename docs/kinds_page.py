"""docs/kinds.md: the kinds of records of Kafka, and what becomes of each; from the table that the tests read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from configured_kinds import GROUPS, Group
from messages_page import table
from record_kinds import AT, RECORD_MS, RECORD_TIME, Kind

from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.ports import Records

_SHOWN: Final = 160  # characters of a record
_SHOWN_DETAIL: Final = 240  # of the text of a reject

INTRODUCTION: Final = f"""This page lists kinds of records of Kafka, and what becomes of each.

Tests send all of them to a topic: the daemon forecasts the events in the last column, or rejects the record with the \
text that is shown.
The time of an event is {AT} unless another one is shown; that of its record on Kafka is {RECORD_TIME}.
Bytes that are no text are in hexadecimal, and long records and texts are cut.
`forecaster inspect --topic NAME` shows how the records of a topic of yours are read, and which settings read them.
"""
_REGISTRY: Final = """The value begins with a zero byte and the id of its schema, which are not shown here \
(`schema_registry.url` is set).
"""


def kinds_page(note: str) -> str:
    """The page."""
    return "\n".join(["# Kinds of Kafka records\n", note, INTRODUCTION, *map(_section, GROUPS)])


def _section(group: Group) -> str:
    parts = [f"## {group.name}\n"]
    if group.settings:
        parts.append("```toml\n" + "\n".join(_settings(group.settings)) + "\n```\n")
    if group.has_registry:
        parts.append(_REGISTRY)
    rows = [(kind.name, _sent(kind), _becomes(group, kind)) for kind in group.kinds]
    return "\n".join([*parts, table(["kind", "record", "becomes"], rows)])


def _settings(settings: Mapping[str, Any]) -> list[str]:
    """The keys of the section `input`, each on a line."""
    found = []
    for name, value in settings.items():
        inner = value if isinstance(value, dict) else {"": value}
        found += [f"input.{name}{'.' if key else ''}{key} = {json.dumps(one)}" for key, one in inner.items()]
    return found


def _sent(kind: Kind) -> str:
    parts = ["no value" if kind.value is None else _bytes(kind.value)]
    parts += [] if kind.key is None else [f"key {_bytes(kind.key)}"]
    return "<br>".join([*parts, *(f"header `{name}`: {_bytes(value)}" for name, value in kind.headers)])


def _bytes(value: bytes) -> str:
    """Bytes as code: a text with escapes, or hexadecimal where there would be many of them."""
    text = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in value.decode("utf-8", "backslashreplace")
    )
    shown = text if 2 * text.count("\\x") < len(value) else value.hex(" ")
    return f"`{shown if len(shown) <= _SHOWN else shown[:_SHOWN] + ' ...'}`" if value else "empty"


def _becomes(group: Group, kind: Kind) -> str:
    if kind.reason:
        detail = kind.says if group.has_registry else _detail(group, kind)
        text = detail if len(detail) <= _SHOWN_DETAIL else f"{detail[:_SHOWN_DETAIL]} ..."
        remedy = ", ".join(f"`{line}`" for line in _settings(kind.remedy))
        return f"`{kind.reason}`: `{text}`" + (f"<br>read with {remedy}" if remedy else "")
    events = [
        f"`{series}`: {'missing' if math.isnan(value) else f'{value:g}'}" + ("" if time == AT else f" at {time}")
        for series, time, value in kind.events
    ]
    return "<br>".join(events) or "no event"


def _detail(group: Group, kind: Kind) -> str:
    """The text of the reject of a record."""
    records = Records("events-0", [0], 1, [kind.value or b""], [kind.key], [kind.headers], [RECORD_MS])
    return Decoder(InputConfig.model_validate(group.settings)).decode(records).rejects[0].detail
