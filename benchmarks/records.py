"""Time per event by the shape of records, and how many times as long it is as with the flat JSON record.

    python benchmarks/records.py [--events 40000] [--daemon]

The same events are written as each shape, and decoded in batches of 4,096 records, as the daemon does, once by the
parsers alone, as in the first seconds on a machine, and once with the code that reads usual records, compiled; the
processor time of the best of seven runs of all shapes in turns counts. With `--daemon` they are read from a file by a
daemon that forecasts them into SQLite; its processor time counts, of all threads and without its first batch, the best
of three runs of all shapes in turns. The figures are in docs/performance.md.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastavro import parse_schema, schemaless_writer
from google.protobuf import descriptor_pool, message_factory

from forecaster import use_kernels, used_kernels
from forecaster.flat_text import compile_flat_text
from service.cli._bench_daemon import throwaway, timed_units
from service.config.input import InputConfig
from service.config.sections import Config
from service.messages.decode import CSV_HEADER, Decoder
from service.ports import Records
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.schemas.proto_files import file_descriptors
from service.schemas.schema import RegisteredSchema

BATCH, RUNS, DAEMON_RUNS, MOST_NAMES = 4096, 7, 3, 4096
DAEMON = Config.model_validate({"model": {"seasons": [24], "interval": "1s"}})
T0_MS = 1_767_571_200_000
SCHEMA = {
    "type": "record", "name": "Reading", "fields": [
        {"name": "series", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "value", "type": ["null", "double"]},
    ],
}  # fmt: skip


PROTO = RegisteredSchema(
    """syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Reading { string series = 1; google.protobuf.Timestamp timestamp = 2; optional double value = 3; }
""",
    "PROTOBUF",
)


class Shape(NamedTuple):
    """Records of one shape: settings of `input.fields`, the records, and the header of CSV."""

    fields: dict[str, Any]
    records: list[bytes]
    header: bytes | None = None


class Registry:
    """Has two schemas."""

    def schema(self, number: int) -> RegisteredSchema:
        """Returns one of them."""
        return RegisteredSchema(json.dumps(SCHEMA)) if number == 1 else PROTO

    def close(self) -> None:
        """Does nothing."""


def shapes(events: int) -> dict[str, Shape]:
    """Returns the records of every shape, with about so many events."""
    times = [T0_MS + 1000 * i for i in range(events)]
    names, values = [f"s{i % 500}" for i in range(events)], [i * 0.5 for i in range(events)]
    rows = list(zip(names, times, values, strict=True))
    wide = [(f"s{i % 50}", at, [value + k for k in range(10)]) for i, (_, at, value) in enumerate(rows[: events // 10])]
    columns = [f"v{k}" for k in range(10)]

    def dumped(records: Sequence[dict[str, Any]]) -> list[bytes]:
        return [json.dumps(record).encode() for record in records]

    def in_columns(value: list[float]) -> dict[str, float]:
        return dict(zip(columns, value, strict=True))

    return {
        "JSON, flat": Shape({}, dumped([{"series": s, "timestamp": t, "value": v} for s, t, v in rows])),
        "JSON, nested": Shape(
            {"series": "sensor.id", "value": "data.value"},
            dumped([{"sensor": {"id": s}, "timestamp": t, "data": {"value": v}} for s, t, v in rows]),
        ),
        "JSON, ten values by name": Shape(
            {"series": "host", "values": columns},
            dumped([{"host": s, "timestamp": t, **in_columns(v)} for s, t, v in wide]),
        ),
        'JSON, ten values by "*"': Shape(
            {"series": "host", "values": ["*"]},
            dumped([{"host": s, "timestamp": t, **in_columns(v)} for s, t, v in wide]),
        ),
        "JSON, ten samples in an array": Shape(
            {"timestamp": "samples[].t", "value": "samples[].v"},
            dumped([{"series": s, "samples": [{"t": t + k, "v": x} for k, x in enumerate(v)]} for s, t, v in wide]),
        ),
        "CSV, flat": Shape({}, [f"{s},{t},{v}".encode() for s, t, v in rows], b"series,timestamp,value"),
        "CSV, ten columns": Shape(
            {"series": "host", "values": columns},
            [",".join([s, str(t), *map(str, v)]).encode() for s, t, v in wide],
            ",".join(["host", "timestamp", *columns]).encode(),
        ),
        "Avro, flat": Shape({}, in_avro(rows)),
        "Protobuf, flat": Shape({}, in_protobuf(rows)),
    }


def in_avro(rows: Sequence[tuple[str, int, float]]) -> list[bytes]:
    """Returns the rows in the wire format of a registry."""
    parsed, found = parse_schema(SCHEMA), []
    for series, at, value in rows:
        stream = io.BytesIO()
        stream.write(b"\0\0\0\0\1")
        schemaless_writer(stream, parsed, {"series": series, "timestamp": at, "value": value})
        found.append(stream.getvalue())
    return found


def in_protobuf(rows: Sequence[tuple[str, int, float]]) -> list[bytes]:
    """Returns the rows in the wire format of a registry."""
    pool = descriptor_pool.DescriptorPool()
    for file in file_descriptors(PROTO):
        pool.Add(file)
    kind, found = message_factory.GetMessageClass(pool.FindMessageTypeByName("Reading")), []
    for series, at, value in rows:
        record = kind(series=series, value=value)
        record.timestamp.FromMilliseconds(at)
        found.append(b"\0\0\0\0\2\0" + record.SerializeToString())
    return found


def seconds(shape: Shape, most_names: int = 0) -> tuple[float, int]:
    """Returns the processor seconds to decode all records of a shape once, and the number of their events.

    Args:
        shape: with the records.
        most_names: see `Decoder`; 0: by the parsers alone.
    """
    frames = SchemaFrames(Registry(), codec_of, 10) if shape.records[0][:1] == b"\0" else None
    if frames is not None:
        frames.prepare(shape.records)
    decoder = Decoder(InputConfig.model_validate({"fields": shape.fields}), frames=frames, most_names=most_names)
    batches = [shape.records[at : at + BATCH] for at in range(0, len(shape.records), BATCH)]
    headers = None if shape.header is None else ((CSV_HEADER, shape.header),)
    events, began = 0, time.process_time()
    for values in batches:
        found = decoder.decode(
            Records("p", range(len(values)), len(values), values, headers=headers and [headers] * len(values))
        )
        if found.rejects:
            raise ValueError(found.rejects[0].detail)
        events += len(found)
    return time.process_time() - began, events


def daemon_seconds(shape: Shape, config: Config) -> tuple[float, int]:
    """Returns the processor seconds of a daemon over a file of the records, and the number of events counted."""
    values = [shape.header, *shape.records] if shape.header else shape.records
    with tempfile.TemporaryDirectory(prefix="forecaster-bench-") as folder:
        path = Path(folder) / ("events.csv" if shape.header else "events.jsonl")
        path.write_bytes(b"\n".join(values) + b"\n")
        settings = throwaway(config, path, 1000, len(shape.records)).model_dump(mode="json")
        settings["input"] |= {"format": "csv" if shape.header else "jsonl", "fields": shape.fields, "late": "drop"}
        seen = timed_units(Config.model_validate(settings), time.process_time)
    return seen[-1][0] - seen[0][0], sum(count for _, count in seen[1:])


def decoding_table(events: int) -> str:
    """Returns the table of decoding alone."""
    read = shapes(events)
    before = used_kernels()
    use_kernels("literal")
    try:
        compile_flat_text()
    finally:
        use_kernels(before)
    least = {most: dict[str, tuple[float, int]]() for most in (0, MOST_NAMES)}
    for _ in range(RUNS):
        for name, shape in read.items():
            for most, found in least.items():
                found[name] = min(found.get(name, (float("inf"), 0)), seconds(shape, most))
    rows = ["| record | us per event, parsers | with compiled code | of flat JSON |", "|---|--:|--:|--:|"]
    flat = 0.0
    for name in read:
        parsed, compiled = (found[name][0] / found[name][1] * 1e6 for found in least.values())
        flat = flat or compiled
        rows.append(f"| {name} | {parsed:.2f} | {compiled:.2f} | {compiled / flat:.2f} |")
    return "\n".join(rows)


def daemon_table(events: int, config: Config = DAEMON, runs: int = DAEMON_RUNS) -> str:
    """Returns the table of the whole daemon. Records in the frame of a registry are no file and have no row."""
    read = {name: shape for name, shape in shapes(events).items() if not name.startswith(("Avro", "Protobuf"))}
    took = [{name: daemon_seconds(shape, config) for name, shape in read.items()} for _ in range(runs)]
    return table({name: min(run[name] for run in took) for name in read})


def table(measured: Mapping[str, tuple[float, int]]) -> str:
    """Returns the table of seconds and events by shape, of which the first is the flat JSON record."""
    rows, flat = ["| record | us per event | of flat JSON |", "|---|--:|--:|"], 0.0
    for name, (took, count) in measured.items():
        per_event = took / count * 1e6
        flat = flat or per_event
        rows.append(f"| {name} | {per_event:.2f} | {per_event / flat:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--daemon", action="store_true", help="time the whole daemon")
    given = parser.parse_args()
    print((daemon_table if given.daemon else decoding_table)(given.events))
