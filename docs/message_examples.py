"""The examples of docs/messages.md: records that are read or written, made by the program's own code."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from forecaster import Forecasts, Silence, Status
from service.config.input import InputConfig
from service.kafka.records import (
    Message,
    Origin,
    Partitioner,
    adoption_message,
    cut,
    deletion_messages,
    forecast_messages,
    mark_message,
    reject_message,
    run_message,
)
from service.kafka.topic_positions import PositionRecord, position_messages
from service.messages.compact import CompactFormat
from service.messages.decode import Decoded, Decoder
from service.messages.encode import JSON, OutputFormat, encode
from service.ports import Adoption, Encoded, Outcomes, Records, TimeMark, Unit
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry

SOURCE: Final = Origin("events", 3)
POSITION: Final = 4711
MODEL: Final = "3f2a91c0d4e5" + "0" * 52
EVENT: Final = '{"series": "cpu.host1", "timestamp": "2026-11-22T10:00:00Z", "value": 0.73}'
EVENTS: Final = {
    "JSON": EVENT,
    "epoch milliseconds, and a missing value": ('{"series": "cpu.host1", "timestamp": 1795341600000, "value": null}'),
    "other fields are ignored": (
        '{"series": "cpu.host1", "timestamp": "2026-11-22T11:00:00+01:00", "value": 1e-3, "host": "a"}'
    ),
}

CONTROL: Final = (
    '{"exclude": {"series": "cpu.*", "from": "2026-11-22T10:00Z", "to": "2026-11-22T12:00Z", "reason": "disk full"}}'
)

CSV: Final = "series,timestamp,value\ncpu.host1,2026-11-22T10:00:00Z,0.73\ncpu.host2,1795341600000,\n"

CLOUD_EVENT: Final = (
    '{"specversion": "1.0", "id": "7f3e", "type": "reading", "source": "/plant/4",\n'
    f' "datacontenttype": "application/json",\n "data": {EVENT}}}'
)

POINT: Final = 'cpu,host=web1,cpu=cpu0 usage_idle=92.5,threads=12i,ok=t,state="up" 1795341600000000000'
ENTRY: Final = '10.0.0.7 - - [22/Nov/2026:10:00:01 +0100] "GET /api?page=2 HTTP/1.1" 200 512 "-" "curl/8.5" 0.012'


_OF_VIEWS: Final = {"stored_numbers", "step_numbers", "byte_numbers"}  # what the views are made of


def decoded_lines(*lines: str) -> Decoded:
    """Decodes records as the daemon does."""
    values = [line.encode() for line in lines]
    positions = range(POSITION, POSITION + len(values))
    return Decoder(InputConfig()).decode(Records(str(SOURCE), positions, positions.stop, values))


def examples(output: OutputFormat = JSON) -> list[bytes]:
    """A forecast and a silence, as the daemon encodes them."""
    decoded = decoded_lines(EVENT)
    silence = Silence("cpu.host2", 0, 1_795_341_000_000, 1_795_341_060_000, 1_795_341_600_000)
    forecasts = Forecasts(
        status=np.zeros(1, np.uint8), origin_ms=decoded.timestamp_ms, interval_ms=np.array([60_000]),
        steps=np.array([120]), quantiles=np.array([[[0.61, 0.72, 0.86], [0.55, 0.71, 0.92]]], np.float32),
        anomaly=np.array([0.25], np.float32), flagged=np.zeros(1, np.uint8), silences=[silence],
    )  # fmt: skip
    found = encode(decoded, forecasts, partition=str(SOURCE), levels=(0.1, 0.5, 0.9), model_sha256=MODEL, output=output)
    return list(found.forecasts)


def revision() -> bytes:
    """The corrected forecast of the newest event, because of a late one."""
    decoded = decoded_lines(EVENT)
    forecasts = Forecasts(
        status=np.full(1, Status.REPAIRED, np.uint8), origin_ms=decoded.timestamp_ms + 120_000,
        interval_ms=np.array([60_000]), steps=np.array([122]),
        quantiles=np.array([[[0.58, 0.7, 0.85], [0.54, 0.7, 0.9]]], np.float32),
        anomaly=np.full(1, np.nan, np.float32), flagged=np.zeros(1, np.uint8),
    )  # fmt: skip
    (found,) = encode(decoded, forecasts, partition=str(SOURCE), levels=(0.1, 0.5, 0.9), model_sha256=MODEL).forecasts
    return found


def monthly() -> bytes:
    """A forecast whose steps are months, from a month's end to month ends."""
    decoded = decoded_lines('{"series": "sales", "timestamp": "2026-01-31T00:00:00Z", "value": 210}')
    forecasts = Forecasts(
        status=np.zeros(1, np.uint8), origin_ms=decoded.timestamp_ms, interval_ms=np.array([31 * 86_400_000]),
        steps=np.array([25]), quantiles=np.array([[[190, 205, 219], [198, 220, 240]]], np.float32),
        anomaly=np.array([0.5], np.float32), flagged=np.zeros(1, np.uint8), calendar=np.array([32 + 31], np.int16),
    )  # fmt: skip
    (found,) = encode(decoded, forecasts, partition=str(SOURCE), levels=(0.1, 0.5, 0.9), model_sha256=MODEL).forecasts
    return found


def rejected(run: int = 1) -> Message:
    """A record that is no event, as it goes to the dead-letter topic."""
    (reject,) = decoded_lines('{"series": "cpu.host1", "timestamp": 1795341600000, "value": "high"}').rejects
    return reject_message(reject, SOURCE, "forecaster", "forecaster.rejects", 8, run)


def truncated() -> Message:
    """The same, with a key and a header that make it too large to be sent."""
    whole = rejected(2)
    huge = whole._replace(key=b"k" * 5_000, headers=[("baggage", b"x" * 40_000), *whole.headers])
    return cut(huge, "forecaster.rejects", 3, 10_000, "too_large", len(whole.headers))


def position_records() -> list[Message]:
    """What says how far a file was answered, and what is known of the file."""
    unit = Unit("/data/events.csv", 0, 4711, [], [], outcomes=Outcomes(64, 1))
    entry = FileEntry("/data/events.csv", 0, None, 4096, "9f2c" + "0" * 60, checked=4711, checksum=2_774_101_337)
    return position_messages("forecaster.positions", PositionRecord(0).after(unit), unit, [entry], [])


def joined() -> Message:
    """Two forecasts in one record."""
    one = examples()[0]
    later = one.replace(b"T10:00:00", b"T10:01:00").replace(b":4711", b":4712")
    (message,) = forecast_messages(Encoded(["cpu.host1"] * 2, [one, later], [1, 2]), "f", 8, Partitioner(), 2)
    return message


def adoption() -> Message:
    """The record that says which model is used from which offset on."""
    return adoption_message(Adoption(POSITION, MODEL), SOURCE, "forecaster.adoptions", 8)


def begun() -> Message:
    """The record that says where a run begins."""
    return run_message(2, SOURCE, POSITION, "forecaster.adoptions", 8)


def time_marks() -> list[Message]:
    """A time mark, what says that it is deleted, and its deletion."""
    mark = TimeMark(POSITION, 1_795_341_665_000)
    topic = "forecaster.adoptions"
    return [mark_message(mark, SOURCE, topic, 8), *deletion_messages([mark], SOURCE, topic, 8)]


def written(path: Path) -> None:
    """An output file with the examples in it."""
    sink = SqliteSink(path)
    sink.open()
    forecast, silence = examples(CompactFormat())
    (reject,) = decoded_lines("no event").rejects
    sink.publish(
        Unit(
            str(SOURCE), POSITION, POSITION + 1, ["cpu.host1", "cpu.host2"], [forecast, silence], [reject],
            Adoption(POSITION, MODEL), [POSITION, POSITION],
        )
    )  # fmt: skip
    sink.close()


def columns() -> dict[str, tuple[str, list[tuple[str, Any]]]]:
    """Tables and views of the output file -> kind, and columns with the value that each has in an example."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forecasts.sqlite"
        written(path)
        chance = (
            "UPDATE starts SET start = '6f1c0b52d4e84a0f9b7d3a6215c8e90d' WHERE rowid = 1"  # the same page every time
        )
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(chance)
        with closing(sqlite3.connect(path)) as database:
            named = database.execute("SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')").fetchall()
            found = {}
            for name, kind in sorted(named, key=lambda one: (one[1] != "view", one[0])):
                if name in _OF_VIEWS:
                    continue
                cursor = database.execute(f"SELECT * FROM {name}")  # noqa: S608 - names of its own schema
                row = cursor.fetchone() or [""] * len(cursor.description)
                found[name] = kind, list(zip([one[0] for one in cursor.description], row, strict=True))
    return found
