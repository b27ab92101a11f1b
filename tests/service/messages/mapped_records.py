"""Records decoded by given settings, what becomes of them, and tables in all forms; for tests of the mapping."""

from __future__ import annotations

import functools
import json
import math
from typing import Any, NamedTuple

from hypothesis import strategies as st

from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, REASONS, Decoded, Decoder
from service.ports import Records

NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z
HEADER = b"series,timestamp,value"
WIDE = {"values": ["a", "b", "c"]}


@functools.cache
def decoder(config: str) -> Decoder:
    """Returns a decoder for input settings, written as JSON."""
    return Decoder(InputConfig.model_validate_json(config))


def decode(
    *values: bytes,
    header: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
    keys: list[bytes | None] | None = None,
    times: list[int] | None = None,
    **config: Any,
) -> Decoded:
    """Decodes one batch by the given input settings."""
    around = headers if header is None else ((CSV_HEADER, header), *headers)
    positions, end = range(0, 10 * len(values), 10), 10 * len(values)
    shared = [around] * len(values) if around else None
    records = Records("events-3", positions, end, values, keys=keys, headers=shared, timestamps_ms=times)
    return decoder(json.dumps(config)).decode(records)


Event = tuple[str, int, float | None]


class Outcome(NamedTuple):
    """What becomes of a record."""

    events: list[Event]
    reasons: list[str]
    controls: int


def events(decoded: Decoded) -> list[Event]:
    """Returns the events; a missing value is None, so that they can be compared."""
    values = [None if math.isnan(value) else value for value in decoded.value.tolist()]
    return list(zip(decoded.series, decoded.timestamp_ms.tolist(), values, strict=True))


def outcomes(*values: bytes, **how: Any) -> list[Outcome]:
    """Decodes one batch, and returns what becomes of each record."""
    decoded = decode(*values, **how)
    found = [Outcome([], [], 0) for _ in values]
    for index, position, event in zip(decoded.index, decoded.positions, events(decoded), strict=True):
        assert position == 10 * index
        found[index].events.append(event)
    for reject in decoded.rejects:
        assert (reject.value, reject.reason in REASONS, bool(reject.detail)) == (
            values[reject.position // 10],
            True,
            True,
        )
        found[reject.position // 10].reasons.append(reject.reason)
    for control in decoded.controls:
        at = control.position // 10
        found[at] = found[at]._replace(controls=found[at].controls + 1)
    return found


def only(*values: bytes, **how: Any) -> list[Event]:
    """Returns the events of a batch without rejects."""
    decoded = decode(*values, **how)
    assert decoded.rejects == []
    return events(decoded)


def reason(value: bytes, **how: Any) -> str:
    """Returns the reason for which the only record is rejected; it has no events."""
    ((found, (code,), _),) = outcomes(value, **how)
    assert found == []
    return code


def record(**changes: object) -> bytes:
    """Returns a good record with some fields changed; `...` as a change removes the field."""
    fields = {"series": "s", "timestamp": NOON, "value": 1.5} | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


METRICS = ["c0", "c1", "c2"]
Row = tuple[str, str, int, list[float | None]]


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Draws rows of site, host, time and a value for each of `METRICS`."""
    name = st.text("aé0,;|/.{}\"'x", min_size=1, max_size=5)
    value = st.none() | st.integers(-(10**9), 10**9).map(lambda n: n / 4)
    row = st.tuples(name, name, st.integers(0, 4 * 10**12), st.lists(value, min_size=3, max_size=3))
    return draw(st.lists(row.filter(lambda row: not 10**8 <= row[2] < 10**11), min_size=1, max_size=4))


def flat(table: list[Row]) -> list[dict[str, Any]]:
    """Returns an object with one value for each value of a table."""
    return [
        {"site": site, "host": host, "metric": metric, "t": time, "v": value}
        for site, host, time, values in table
        for metric, value in zip(METRICS, values, strict=True)
    ]


def wide(table: list[Row]) -> list[dict[str, Any]]:
    """Returns an object for each row of a table."""
    return [
        {"site": site, "host": host, "t": time, **dict(zip(METRICS, values, strict=True))}
        for site, host, time, values in table
    ]


def dumped(*values: object) -> list[bytes]:
    """Returns values as JSON records."""
    return [json.dumps(value).encode() for value in values]


def forms(table: list[Row]) -> dict[str, tuple[list[bytes], dict[str, Any]]]:
    """Returns the records of a table in each JSON form, and the fields of that form."""
    alone = {"series": ["site", "host", "metric"], "timestamp": "t", "value": "v"}
    together = {"series": "{site}/{host}/{field}", "timestamp": "t", "values": METRICS}
    nested = [
        {
            "tags": {"site": one["site"], "more": [one["host"], {"m/m": one["metric"]}]},
            "at": {"t": one["t"]},
            "v": one["v"],
        }
        for one in flat(table)
    ]
    deep = {"series": "{tags.site}/{tags.more[0]}/{tags.more[1].m/m}", "timestamp": "/at/t", "value": "v"}
    samples = [
        {
            "site": s,
            "id": {"host": h},
            "t": t,
            "samples": [{"metric": m, "v": v} for m, v in zip(METRICS, vs, strict=True)],
        }
        for s, h, t, vs in table
    ]
    each = {"series": ["site", "id.host", "samples[].metric"], "timestamp": "t", "value": "samples[].v"}
    both = {
        "series": ["rows[].site", "rows[].id.host", "rows[].samples[].metric"],
        "timestamp": "rows[].t",
        "value": "rows[].samples[].v",
    }
    columns = {name: [one[name] for one in flat(table)] for name in ("site", "host", "metric", "t", "v")}
    beside = {"series": ["rows[:].site", "rows[:].host", "rows[:].metric"], "timestamp": "rows[:].t"}
    at_top = {"series": ["[:].site", "[:].host", "[:].metric"], "timestamp": "[:].t", "value": "[:].v"}
    lines = b"\n".join(dumped(*flat(table)))
    found = {
        "flat": (dumped(*flat(table)), alone),
        "nested": (dumped(*nested), deep),
        "wide": (dumped(*wide(table)), together),
        "samples of a record": (dumped(*samples), each),
        "samples of rows": (dumped({"rows": samples}), both),
        "array": (dumped(flat(table)), alone),
        "parallel arrays": (dumped({"rows": columns, "v": [0]}), beside | {"value": "rows[:].v"}),
        "arrays of the record": (dumped(columns | {"unit": "C"}), at_top),
        "array of wide ones": (dumped(wide(table)), together),
        "JSON lines": ([lines], alone),
        "with a byte order mark": ([b"\xef\xbb\xbf" + lines + b"\r\n"], alone),
    }
    if all(value is not None for *_, values in table for value in values):  # a glob leaves out what is no number
        found["glob"] = (dumped(*wide(table)), together | {"values": ["c?"]})
        found["rest"] = (dumped(*wide(table)), together | {"values": ["*"]})
    return found
