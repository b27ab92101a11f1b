"""The kinds of records of docs/configured_kinds.py as the records of a topic, and what the decoder makes of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "docs"))

from configured_kinds import GROUPS, Group
from record_kinds import RECORD_MS, Kind

from service.messages.decode import Decoded
from service.messages.timestamps import format_times
from service.ports import Records

__all__ = ["GROUPS", "RECORD_MS", "Group", "Kind", "events_of", "expected", "records_of", "value_of"]

Event = tuple[str, str, float | None]


def value_of(kind: Kind, number_of: Callable[[tuple[str, str]], int]) -> bytes | None:
    """Returns the value of a record, in the frame of its schema if it has one.

    Args:
        kind: of the record.
        number_of: returns the id of a schema, by its type and text.
    """
    if kind.schema is None or kind.value is None:
        return kind.value
    number = kind.schema if isinstance(kind.schema, int) else number_of(kind.schema)
    return b"\0" + number.to_bytes(4, "big") + kind.value


def records_of(kinds: Sequence[Kind], values: Sequence[bytes | None]) -> Records:
    """Returns records as the source of Kafka does."""
    headers = [kind.headers for kind in kinds] if any(kind.headers for kind in kinds) else None
    without = frozenset(at for at, value in enumerate(values) if value is None)
    return Records(
        "events-0", range(len(kinds)), len(kinds), [value or b"" for value in values], [kind.key for kind in kinds],
        headers, [RECORD_MS] * len(kinds), tombstones=without,
    )  # fmt: skip


def events_of(decoded: Decoded, at: int) -> list[Event]:
    """Returns the events of the record at an index; a missing value is None, so that they can be compared."""
    events = zip(decoded.series, format_times(decoded.timestamp_ms), decoded.value.tolist(), strict=True)
    return [_comparable(event) for event, index in zip(events, decoded.index, strict=True) if index == at]


def expected(kind: Kind, topic: str) -> list[Event]:
    """Returns the events that a record has, in the same form."""
    return [_comparable((series.replace("{topic}", topic), *rest)) for series, *rest in kind.events]


def _comparable(event: tuple[Any, ...]) -> Event:
    series, time, value = event
    return series, time, None if math.isnan(value) else value
