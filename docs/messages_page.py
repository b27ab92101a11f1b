"""docs/messages.md: every record that is read or written, made by the program's own code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from message_examples import (
    CLOUD_EVENT,
    CONTROL,
    CSV,
    ENTRY,
    EVENTS,
    POINT,
    adoption,
    begun,
    columns,
    decoded_lines,
    examples,
    joined,
    monthly,
    position_records,
    rejected,
    revision,
    time_marks,
    truncated,
)
from messages_texts import (
    ADOPTION_TEXT,
    CLOUD_TEXT,
    CONTROL_TEXT,
    CSV_TEXT,
    ENTRIES_NAMES_TEXT,
    ENTRIES_TEXT,
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
    SUPPRESSED_TEXT,
    TOPIC_TEXT,
)
from registered_schemas import formats_part
from shapes import SEVERAL_TEXT, SHAPES, SHAPES_TEXT, Shape, events_of

from service.config.input import FieldNames, InputConfig
from service.config.sections import Config
from service.kafka.records import Message
from service.kafka.tools.topics import plan
from service.messages.decode import REASONS

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
    points = decoded_lines(POINT)
    parts += ["### InfluxDB line protocol\n", INFLUX_TEXT, _block(POINT, "text")]
    rows = [(f"`{series}`", f"{value:g}") for series, value in zip(points.series, points.value.tolist(), strict=True)]
    parts += [table(["series", "value"], rows), INFLUX_NAMES_TEXT]
    parts += ["### Access logs\n", ENTRIES_TEXT, _block(ENTRY, "text"), ENTRIES_NAMES_TEXT]
    (control,) = decoded_lines(CONTROL).controls
    parts += ["### Control records\n", CONTROL_TEXT.format(control=control), _block(CONTROL)]
    parts += [
        "## Forecasts out\n",
        _pretty(forecast),
        table(["field", "meaning"], _marked(FORECAST_FIELDS)),
        SUPPRESSED_TEXT,
    ]
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
