"""Control records in the stream, which address the daemon itself; pure functions.

    {"exclude": {"series": "cpu.*", "from": "2026-11-22T10:00Z", "to": "2026-11-22T12:00Z", "reason": "disk full"}}

excludes a window from training, like `forecaster exclude`. It gets no forecast and no row. A Kafka record without a
value is a control record too: it may remove the state of the series of its key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from service.messages.depth import too_deep
from service.messages.keys import text_of_key
from service.messages.timestamps import EXPECTED, parse_time

EXPECTED_WINDOW: Final = '{"exclude": {"series": GLOB, "from": TIME, "to": TIME, "reason": TEXT}}'


class _Window(msgspec.Struct, rename={"start": "from", "end": "to"}, forbid_unknown_fields=True):
    series: str
    start: int | str
    end: int | str
    reason: str = ""


class _Control(msgspec.Struct):
    exclude: _Window


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record without a value.

    Attributes:
        position: source position of the record.
        event: index of the event of the batch that follows it; the number of events if none follows.
        series: the series whose state is to be removed, "" for none.
    """

    position: int
    event: int
    series: str


@dataclass(frozen=True, slots=True)
class Exclude:
    """A window that is excluded from training.

    Attributes:
        position: source position of its record.
        series: a glob as in a shell; "*" for all.
        from_ms, to_ms: event time, epoch ms; from included, to excluded.
        reason: text for people.
    """

    position: int
    series: str
    from_ms: int
    to_ms: int
    reason: str


def series_of_key(key: bytes | None, field: str) -> str:
    """Returns the series of a record's key: the key itself, or the given field of a JSON object; "" for none."""
    text = text_of_key(key or b"") or ""
    if text.startswith("{") and not too_deep(key or b""):
        try:
            named = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get(field)
            return text if named is None else msgspec.json.decode(named, type=str)
        except msgspec.MsgspecError:
            pass
    return text


def may_be_control(value: bytes) -> bool:
    """Returns whether a record that is not an event may be a control record."""
    return b'"exclude"' in value


def read_control(value: bytes, position: int) -> Exclude:
    """Parses a control record.

    Raises:
        ValueError: it is invalid; the message has what was received and what is expected.
    """
    try:
        window = msgspec.json.decode(value, type=_Control).exclude
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"{error}; expected {EXPECTED_WINDOW}"
        raise ValueError(msg) from None  # otherwise it would keep the records of the batch in memory
    start, end = parse_time(window.start), parse_time(window.end)
    if start is None or end is None:
        got = window.start if start is None else window.end
        msg = f"got the time {str(got)[:80]!r}, expected {EXPECTED}"
        raise ValueError(msg)
    if not window.series or start >= end:
        empty = "window" if window.series else "series"
        msg = f"got an empty {empty}, expected {EXPECTED_WINDOW}, its end after its start"
        raise ValueError(msg)
    return Exclude(position, window.series, start, end, window.reason[:200])
