"""Control records: what stands in a stream beside its events and is meant for the daemon itself; pure.

    {"exclude": {"series": "cpu.*", "from": "2026-11-22T10:00Z", "to": "2026-11-22T12:00Z", "reason": "disk full"}}

marks a window as not to be learnt from, as `forecaster exclude` does. It gets no forecast and no row. A record of Kafka
without a value is such a record too: it may say that the series of its key is to be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from service.messages.depth import too_deep
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
        event: index of the event of the batch before which it stands; the number of events behind the last.
        series: what is to be forgotten, "" for nothing.
    """

    position: int
    event: int
    series: str


@dataclass(frozen=True, slots=True)
class Exclude:
    """A window that is not to be learnt from.

    Attributes:
        position: source position of its record.
        series: a glob, as the shell has them; "*" for all.
        from_ms, to_ms: event time, epoch ms; the first included, the last not.
        reason: for people.
    """

    position: int
    series: str
    from_ms: int
    to_ms: int
    reason: str


def series_of_key(key: bytes | None, field: str) -> str:
    """The series that a record's key names: the key itself, or of a JSON object that field; "" for none."""
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError:
        return ""
    if text.startswith("{") and not too_deep(key or b""):
        try:
            named = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get(field)
            return text if named is None else msgspec.json.decode(named, type=str)
        except msgspec.MsgspecError:
            pass
    return text


def may_be_control(value: bytes) -> bool:
    """Whether a record that is no event is worth a closer look."""
    return b'"exclude"' in value


def read_control(value: bytes, position: int) -> Exclude:
    """The control record of these bytes.

    Raises:
        ValueError: it is none that can be understood; says what was got and what was expected.
    """
    try:
        window = msgspec.json.decode(value, type=_Control).exclude
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"{error}; expected {EXPECTED_WINDOW}"
        raise ValueError(msg) from None  # the records of the batch would hang on it
    start, end = parse_time(window.start), parse_time(window.end)
    if start is None or end is None:
        got = window.start if start is None else window.end
        msg = f"got the time {str(got)[:80]!r}, expected {EXPECTED}"
        raise ValueError(msg)
    if not window.series or start >= end:
        empty = "window" if window.series else "series"
        msg = f"got an empty {empty}, expected {EXPECTED_WINDOW}, its end behind its beginning"
        raise ValueError(msg)
    return Exclude(position, window.series, start, end, window.reason[:200])
