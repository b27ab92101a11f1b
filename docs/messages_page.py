"""docs/messages.md: every record that is read or written, made by the program's own code."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from messages_texts import (
    ADOPTION_TEXT,
    CLOUD_TEXT,
    CONTROL_TEXT,
    CSV_TEXT,
    HEADER_TEXT,
    INFLUX_NAMES_TEXT,
    INFLUX_TEXT,
    INTRODUCTION,
    JOINED_TEXT,
    LINES_TEXT,
    MARK_TEXT,
    MONTHS_TEXT,
    POSITION_TEXT,
    REVISIONS_TEXT,
    RUN_TEXT,
    SILENCE_TEXT,
    SQLITE_TEXT,
    TOPIC_TEXT,
)
from registered_schemas import formats_part
from shapes import SEVERAL_TEXT, SHAPES, SHAPES_TEXT, Shape, events_of

from forecaster import Forecasts, Silence, Status
from service.config.input import FieldNames, InputConfig
from service.config.sections import Config
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
from service.kafka.tools.topics import plan
from service.kafka.topic_positions import PositionRecord, position_messages
from service.messages.decode import REASONS, Decoded, Decoder
from service.messages.encode import encode
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


FORECAST_FIELDS: Final = {
    "series": "The series of the event.",
    "origin": "Forecast origin: the time of the event, ISO-8601 in UTC. The forecast uses everything up to it.",
    "interval_ms": "Milliseconds between the steps (the frequency of the series); step k is for `origin + k * "
    "interval_ms`. 0 while it is unknown, after the first event of a series.",
    "levels": "Levels of the quantiles, increasing (`model.quantiles`).",
    "quantiles": "One row per step ahead (`model.horizon`) with one number per level, non-decreasing: a pair of "
    "quantiles around the median is a prediction interval. Rounded to a ten-millionth of the width of the row or "
    "finer. null where the status is unknown.",
    "anomaly": "Anomaly score of the event itself, 0 to 1, under its 1-step-ahead forecast; null where there is none.",
    "flagged": "Whether the event is announced as an anomaly (`[anomaly]`).",
    "model": "First twelve digits of the sha256 of the model.",
    "source": "Partition and position of the event, and `event`, its number in a record with "
    "[several](#several-events): the identity of the forecast, the same after any crash. From the second "
    "[run](kafka.md#lost-or-reset-offsets) of a partition on, also `run`, its number. Of a closed window "
    "([raw events](raw-events.md)) it is the record that closed it, with `window`, its `start` and `end`; `origin` is "
    "its start.",
    "status": '"ok"; "missing" where the event had no value; "unknown" where nothing is known of the series yet and '
    "there is no forecast.",
}
REVISION_FIELDS: Final = {"revision": "1; absent in all other records."}
MONTH_FIELDS: Final = {
    "interval": 'The step: "1mo", "3mo", "1y" or another number of months. `interval_ms` is an approximation of it.',
    "targets": "The target time of every step, ISO-8601 in UTC.",
}


SILENCE_FIELDS: Final = {
    "series": "The series whose events stopped coming.",
    "kind": '"silence"; a forecast has no such field.',
    "last": "Time of its last event.",
    "expected": "When the next one was expected.",
    "noticed": "Time of the event, of any series, that revealed it.",
    "source": "Partition and position of that event; its forecast is the record just before.",
}


HEADERS: Final = {
    "__connect.errors.topic": "Topic of the event; the name of the partition where the input is no topic.",
    "__connect.errors.partition": "Its partition; 0 where the input is no topic.",
    "__connect.errors.offset": "Its offset, or its position in the files.",
    "__connect.errors.connector.name": "`kafka.app`.",
    "__connect.errors.task.id": "Always 0.",
    "__connect.errors.stage": "Always VALUE_CONVERTER.",
    "__connect.errors.class.name": "The component that rejected it.",
    "__connect.errors.exception.class.name": "`forecaster.` followed by the code of the reason.",
    "__connect.errors.exception.message": "What was received and what was expected; 1,024 bytes at most.",
    "__connect.errors.exception.stacktrace": "Empty.",
    "forecaster.reason": "The code of the reason.",
    "forecaster.partition": "Name of the partition, where the input is no topic.",
    "forecaster.run": "The [run](kafka.md#lost-or-reset-offsets) of the partition, from the second on.",
    "forecaster.truncated": "true where the record was too large to be sent and a part of it is cut.",
    "forecaster.key.bytes": "Bytes of the complete key, where it is cut (to 1,024).",
    "forecaster.key.sha256": "Checksum of the complete key, where it is cut.",
    "forecaster.headers.left_out": "Number of headers of the event that are left out (beyond 16 KiB), where some are.",
    "forecaster.headers.left_out_bytes": "Bytes of their values.",
    "forecaster.value.bytes": "Bytes of the complete value, where something is cut.",
    "forecaster.value.sha256": "Checksum of the complete value, where something is cut.",
}


POINT: Final = 'cpu,host=web1,cpu=cpu0 usage_idle=92.5,threads=12i,ok=t,state="up" 1795341600000000000'


NAMED: Final = ("series", "timestamp", "value", "record_time", "future")


KEYS: Final = {
    "forecasts": "the series",
    "rejects": "that of the event",
    "adoptions": "`<topic>-<partition>@<offset>`, for a group of series followed by `+<group>`, from the second run on "
    "followed by `/<run>`; for the start of a run `<topic>-<partition>/<run>`; for time marks see "
    "[adoptions](#adoptions)",
    "models": "the sha256, or `champion`, for a group of series `champion/<group>`",
    "positions": "see [positions](#positions)",
    "snapshots": "`<topic>-<partition>`",
    "snapshot_chunks": "partition, slot and number",
}


def _decoded(*lines: str) -> Decoded:
    values = [line.encode() for line in lines]
    positions = range(POSITION, POSITION + len(values))
    return Decoder(InputConfig()).decode(Records(str(SOURCE), positions, positions.stop, values))


def examples() -> list[bytes]:
    """A forecast and a silence, as the daemon encodes them."""
    decoded = _decoded(EVENT)
    silence = Silence("cpu.host2", 0, 1_795_341_000_000, 1_795_341_060_000, 1_795_341_600_000)
    forecasts = Forecasts(
        status=np.zeros(1, np.uint8), origin_ms=decoded.timestamp_ms, interval_ms=np.array([60_000]),
        steps=np.array([120]), quantiles=np.array([[[0.61, 0.72, 0.86], [0.55, 0.71, 0.92]]], np.float32),
        anomaly=np.array([0.25], np.float32), flagged=np.zeros(1, np.uint8), silences=[silence],
    )  # fmt: skip
    return list(encode(decoded, forecasts, partition=str(SOURCE), levels=(0.1, 0.5, 0.9), model_sha256=MODEL).forecasts)


def revision() -> bytes:
    """The corrected forecast of the newest event, because of a late one."""
    decoded = _decoded(EVENT)
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
    decoded = _decoded('{"series": "sales", "timestamp": "2026-01-31T00:00:00Z", "value": 210}')
    forecasts = Forecasts(
        status=np.zeros(1, np.uint8), origin_ms=decoded.timestamp_ms, interval_ms=np.array([31 * 86_400_000]),
        steps=np.array([25]), quantiles=np.array([[[190, 205, 219], [198, 220, 240]]], np.float32),
        anomaly=np.array([0.5], np.float32), flagged=np.zeros(1, np.uint8), calendar=np.array([32 + 31], np.int16),
    )  # fmt: skip
    (found,) = encode(decoded, forecasts, partition=str(SOURCE), levels=(0.1, 0.5, 0.9), model_sha256=MODEL).forecasts
    return found


def rejected(run: int = 1) -> Message:
    """A record that is no event, as it goes to the dead-letter topic."""
    (reject,) = _decoded('{"series": "cpu.host1", "timestamp": 1795341600000, "value": "high"}').rejects
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
    forecast, silence = examples()
    (reject,) = _decoded("no event").rejects
    sink.publish(
        Unit(
            str(SOURCE), POSITION, POSITION + 1, ["cpu.host1", "cpu.host2"], [forecast, silence], [reject],
            Adoption(POSITION, MODEL),
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
                cursor = database.execute(f"SELECT * FROM {name}")  # noqa: S608 - names of its own schema
                row = cursor.fetchone() or [""] * len(cursor.description)
                found[name] = kind, list(zip([one[0] for one in cursor.description], row, strict=True))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines) + "\n"


def _block(text: str | bytes, kind: str = "json") -> str:
    return f"```{kind}\n{text if isinstance(text, str) else text.decode()}\n```\n"


def _pretty(message: bytes) -> str:
    found = json.loads(message)
    inner = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    return _block(f"{{{inner}}}")


def _topics() -> str:
    config = Config.model_validate({"kafka": {"topics": ["events"], "share_snapshots": "1h"}})
    keys = {getattr(config.kafka, name): key for name, key in KEYS.items()}
    files = [one for one in plan(Config.model_validate({"output": {"sink": "kafka"}}), 8, 1) if "position" in one.role]
    rows = [
        (f"`{one.name}`", one.role, keys.get(one.name, "the series, where the event does not name it"),
         one.settings.get("cleanup.policy", ""))
        for one in [*plan(config, 8, 1), *files]
    ]  # fmt: skip
    return table(["topic", "what", "key", "cleanup"], rows)


def _shown(value: Any) -> str:
    text = f"{len(value)} bytes" if isinstance(value, bytes) else str("" if value is None else value).replace("`", "'")
    return f"`{text[:60]}`" + (" ..." if len(text) > 60 else "") if text else ""


def messages_page(note: str) -> str:
    """The page."""
    fields = FieldNames.model_fields
    (forecast, silence), cut_headers = examples(), dict(truncated().headers)
    parts = ["# Messages\n", note, INTRODUCTION, "## Events in\n"]
    named = {str(fields[name].default): f"{fields[name].description} (`input.fields.{name}`)" for name in NAMED}
    named[""] = f"{fields['record_time'].description} (`input.fields.record_time`)"
    rows = [(f"`{name}`" if name else "as named", text) for name, text in named.items()]
    covariates = InputConfig.model_fields["covariates"].description or ""
    parts.append(table(["field", "meaning"], [*rows, ("as named", f"{covariates} (`input.covariates`)")]))
    for title, line in EVENTS.items():
        parts.append(f"{title[0].upper()}{title[1:]}:\n\n{_block(line)}")
    parts += [CSV_TEXT, _block(CSV.rstrip(), "csv"), CLOUD_TEXT, _block(CLOUD_EVENT)]
    parts += ["### Records of other shapes\n", SHAPES_TEXT, *(_shape(shape) for shape in SHAPES)]
    parts += ["### Several events\n", SEVERAL_TEXT]
    points = _decoded(POINT)
    parts += ["### InfluxDB line protocol\n", INFLUX_TEXT, _block(POINT, "text")]
    rows = [(f"`{series}`", f"{value:g}") for series, value in zip(points.series, points.value.tolist(), strict=True)]
    parts += [table(["series", "value"], rows), INFLUX_NAMES_TEXT]
    (control,) = _decoded(CONTROL).controls
    parts += ["### Control records\n", CONTROL_TEXT.format(control=control), _block(CONTROL)]
    parts += ["## Forecasts out\n", _pretty(forecast), table(["field", "meaning"], _marked(FORECAST_FIELDS))]
    parts += ["### Revisions\n", REVISIONS_TEXT, _pretty(revision())]
    parts += [table(["field", "meaning"], _marked(REVISION_FIELDS))]
    parts += ["### Months\n", MONTHS_TEXT, _pretty(monthly()), table(["field", "meaning"], _marked(MONTH_FIELDS))]
    parts += ["### Silences\n", SILENCE_TEXT, _pretty(silence), table(["field", "meaning"], _marked(SILENCE_FIELDS))]
    parts += [formats_part(), "## Rejected records\n", REJECT_TEXT, table(["reason", "meaning"], _marked(REASONS))]
    header_rows = [
        (f"`{name}`", _shown(cut_headers.get(name, b"").decode()), meaning) for name, meaning in HEADERS.items()
    ]
    parts += [
        "### Headers of the dead-letter topic\n",
        HEADER_TEXT,
        table(["header", "example", "meaning"], header_rows),
    ]
    parts += ["## Topics\n", TOPIC_TEXT, _topics(), "### Several forecasts in a record\n", JOINED_TEXT]
    parts += [_block(joined().value or b""), "### Adoptions\n", ADOPTION_TEXT, _pretty(adoption().value or b"")]
    parts += [RUN_TEXT, _pretty(begun().value or b""), MARK_TEXT, *map(_keyed, time_marks())]
    parts += ["### Positions\n", POSITION_TEXT, *map(_keyed, position_records())]
    parts += ["## The output file\n", SQLITE_TEXT]
    for name, (kind, found) in columns().items():
        rows = [(f"`{column}`", _shown(value)) for column, value in found]
        parts.append(f"### {kind} {name}\n\n{table(['column', 'example'], rows)}")
    parts += ["## JSON lines\n", LINES_TEXT]
    return "\n".join(parts)


def _keyed(message: Message) -> str:
    return _block(b"%s\n%s" % (message.key, message.value or b"(no value)"))


def _shape(shape: Shape) -> str:
    settings = [f"{name} = {json.dumps(value)}" for name, value in sorted(shape.settings["fields"].items())]
    events = [(f"`{series}`", time, f"{value:g}") for series, time, value in events_of(shape)]
    kind = "json" if shape.record.startswith("{") else "csv" if "\n" in shape.record else "text"
    return "\n".join([
        f"{shape.title}:\n", _block(shape.record, kind), _block("\n".join(["[input.fields]", *settings]), "toml"),
        table(["series", "timestamp", "value"], events),
    ])  # fmt: skip


def _marked(meanings: dict[str, str]) -> list[tuple[str, str]]:
    return [(f"`{name}`", meaning) for name, meaning in meanings.items()]


REJECT_TEXT: Final = f"""A record that cannot be used goes, byte for byte, to the table `rejects` of the output file \
or to the dead-letter topic, with a reason, a position and a text for people.
`forecaster_rejected_total` counts it by reason; no record is dropped silently, and the stream continues.
A `tombstone` is only counted.
The reason for `{rejected().value.decode()}` is `{dict(rejected().headers)["forecaster.reason"].decode()}`.
"""
