"""Samples of access logs, and what is chosen for them: all requests are one series, with the time that they took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from service.discovery.columns import Column

_TIME: Final = "request_time"
_SIZE: Final = "bytes"


class EntryChoice(NamedTuple):
    """The fields of an access log. settings: by the keys of `input.fields`. reasons: as of a `Choice`."""

    settings: dict[str, Any]
    reasons: dict[str, str]


def choose_for_entries(columns: Sequence[Column], given: Mapping[str, Any]) -> EntryChoice:
    """Chooses the fields of an access log: the path is not the series, as its number has no bound.

    Args:
        columns: of the sample.
        given: what the configuration names, by the keys of `input.fields`.
    """
    timed = any(column.path == _TIME and column.present for column in columns)
    value = _TIME if timed else _SIZE
    chosen: dict[str, Any] = {"timestamp": "time", "series": "{file}", "value": value}
    reasons = {
        "time": "time of the line",
        "values": "request_time, as the server writes it" if timed else "bytes, as the lines have no time of requests",
        "series": 'the name of the file, for all requests together; input.fields.series = "path" makes one of each',
    }
    for name in ("timestamp", "series", "value", "values"):
        if name in given:
            part = {"timestamp": "time", "series": "series"}.get(name, "values")
            reasons[part] = f"{given[name]} (configured)"
            chosen.pop(name, None)
    if "values" in given:
        chosen.pop("value", None)
    return EntryChoice(chosen, reasons)
