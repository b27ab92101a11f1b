"""The shapes of records that are not flat, each with the settings for it and the events that the daemon decodes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, Decoder
from service.messages.outside import FILE_NAME
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
        "Parallel arrays",
        '{"site": "north", "hourly": {"time": ["2026-11-22T10:00", "2026-11-22T11:00"], "temp": [3.5, 4.1]}}',
        {"fields": {"series": "site", "timestamp": "hourly[:].time", "value": "hourly[:].temp"}},
    ),
    Shape(
        "A date and a time of day in two columns",
        "Date;Time;Power\n16/12/2026;5:24 PM;4,216",
        {"fields": {"series": "{file}", "timestamp": ["Date", "Time"], "value": "Power", "date_order": "dmy",
                    "decimal": ","}},
    ),
    Shape(
        "Wide CSV with semicolons and decimal commas",
        "date;HUFL;OT\n2026-11-22 10:00:00;5,827;30,5",
        {"fields": {"series": "", "timestamp": "date", "values": ["HUFL", "OT"], "decimal": ",",
                    "timezone": "Europe/Berlin"}},
    ),
    Shape(
        "InfluxDB line protocol",
        "cpu,host=web1,cpu=cpu0 usage_idle=92.5,usage_user=4.25 1795341600000000000",
        {"fields": {"series": "{host}/{cpu}/{field}", "values": ["usage_*"]}},
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


SHAPES_TEXT: Final = """`forecaster inspect FILE`, or `--topic NAME`, shows which settings read a file or a topic; \
`forecaster run --input FILE` chooses them by itself where the default names are not there (see \
[files](files.md#files-as-they-are)).

A field may be a path: `sensor.id` into objects, `readings[0]` into arrays, `samples[].v` for every element of an \
array, `hourly[:].v` for the elements of parallel arrays, or a JSON Pointer (`/a.b`) for names with dots.
A field whose name is the whole text takes precedence.
"""
SEVERAL_TEXT: Final = """A record with several values, or with an array of samples, is several events with one position.
They are observed in this order: elements of the array as they come; within each, the values as `input.fields.values` \
lists them, those of a glob in the order of the record.
Their forecasts have the number of the event within the record, from 0, as `event` in `source`, which is part of the \
identity of the forecast.
A unit always has whole records, so that all events of a record are forecast, or none yet.

A bad value among several becomes a missing value; with `input.partial = "reject"` it is no event, and its record is \
also rejected.
Whatever else is wrong with one event of a record rejects the record too, once; its other events are forecast.
A record has at most 10,000 events.
"""


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
