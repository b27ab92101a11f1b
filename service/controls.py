"""Control records: what stands in a stream beside its events and is meant for the daemon itself; pure.

    {"exclude": {"series": "cpu.*", "from": "2026-11-22T10:00Z", "to": "2026-11-22T12:00Z", "reason": "disk full"}}

marks a window as not to be learnt from, as `forecaster exclude` does. It gets no forecast and no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from service.timestamps import EXPECTED, parse_time

EXPECTED_WINDOW: Final = '{"exclude": {"series": GLOB, "from": TIME, "to": TIME, "reason": TEXT}}'


class _Window(msgspec.Struct, rename={"start": "from", "end": "to"}, forbid_unknown_fields=True):
    series: str
    start: int | str
    end: int | str
    reason: str = ""


class _Control(msgspec.Struct):
    exclude: _Window


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
