"""The shapes of records that are not flat, each with the settings for it and the events that the daemon decodes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, Decoder
from service.messages.mapping import FILE_NAME
from service.messages.timestamps import format_times
from service.ports import Records


class Shape(NamedTuple):
    """A shape: its title, a record (of CSV with the header), and the settings of the section `input`."""

    title: str
    record: str
    settings: dict[str, Any]


SHAPES: Final = (
    Shape(
        "Nested objects",
        '{"sensor": {"id": 7, "site": "north"}, "time": 1795341600, "reading": {"celsius": "21.5"}}',
        {"fields": {"series": "{sensor.site}/{sensor.id}", "timestamp": "time", "value": "reading.celsius"}},
    ),
    Shape(
        "Several values in a record",
        '{"host": "web1", "timestamp": "2026-11-22T10:00:00Z", "cpu": 0.73, "mem": 0.41}',
        {"fields": {"series": "host", "values": ["*"]}},
    ),
    Shape(
        "An array of samples",
        '{"device": "d1", "samples": [{"t": 1795341600000, "v": 1}, {"t": 1795341660000, "v": 2}]}',
        {"fields": {"series": "device", "timestamp": "samples[].t", "value": "samples[].v"}},
    ),
    Shape(
        "Wide CSV with semicolons and decimal commas",
        "date;HUFL;OT\n2026-11-22 10:00:00;5,827;30,5",
        {"fields": {"series": "", "timestamp": "date", "values": ["HUFL", "OT"], "decimal": ",",
                    "timezone": "Europe/Berlin"}},
    ),
    Shape(
        "A file for each series (here of load.csv)",
        "timestamp,value\n2026-11-22T10:00:00Z,42",
        {"fields": {"series": "{file}"}},
    ),
    Shape(
        "A Debezium change event",
        '{"before": null, "after": {"item": "tea", "sold_at": 1795341600000, "amount": 3}, "op": "c", "ts_ms": 1}',
        {"fields": {"series": "item", "timestamp": "sold_at", "value": "amount"}},
    ),
)  # fmt: skip


def events_of(shape: Shape) -> list[tuple[str, str, float]]:
    """Series, time and value of every event of a shape, in order.

    Raises:
        ValueError: the daemon would reject it.
    """
    *header, record = shape.record.split("\n")
    headers = [(FILE_NAME, b"load"), *((CSV_HEADER, line.encode()) for line in header)]
    records = Records("events-3", [0], 1, [record.encode()], headers=[headers])
    decoded = Decoder(InputConfig.model_validate(shape.settings)).decode(records)
    if decoded.rejects:
        raise ValueError(decoded.rejects[0].detail)
    return list(zip(decoded.series, format_times(decoded.timestamp_ms), decoded.value.tolist(), strict=True))
