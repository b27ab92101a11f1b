"""Sends a file of events to a topic, at the original speed, faster, or without waiting."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaError

from service.config.input import InputConfig
from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.construct import reached
from service.messages.decode import CSV_HEADER, Decoder
from service.messages.line_protocol import is_blank
from service.messages.parse_csv import column_names, listed, separator_of
from service.messages.parse_lines import FORMAT_HEADER
from service.ports import Records
from service.sources.file_source import FileSource

_BATCH: Final = 1000
# Shorter waits are accumulated, because a sleep is not more exact.
_LEAST_SLEEP: Final = 0.002
# A topic without metadata after this time does not exist.
_METADATA_MS: Final = 15_000


def replay_file(
    settings: KafkaConfig,
    fields: InputConfig,
    path: Path,
    topic: str,
    speed: float,
    progress: Callable[[int], object] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Sends every event of a file, keyed by its series.

    The timestamp of a record is the time of sending, because brokers delete records by their timestamps: those of last
    year would be gone at the next check of `retention.ms`.

    Lines that cannot be decoded are sent unchanged, so that the daemon rejects them as it would from the file.

    Args:
        settings: brokers and connection.
        fields: field names of events in the file; the topic gets JSON with the same names.
        path: CSV or JSON lines, also .gz.
        topic: the destination.
        speed: seconds of event time per second; infinity for no waiting.
        progress: called with the number of further records sent.
        sleep: waits; replaced in tests.

    Returns:
        The number of records sent and acknowledged.

    Raises:
        TransportError: a record was not acknowledged.
        ConfigurationError: the format cannot be derived from the file's name.
    """
    failed: list[Any] = []
    sent, first_event_ms, began = 0, None, time.monotonic()
    producer = reached(settings, KafkaProducer, linger_ms=20, batch_size=256 << 10, max_block_ms=_METADATA_MS)
    try:
        for event_ms, series, value in events_of(path, fields):
            if math.isfinite(speed) and event_ms is not None:
                first_event_ms = event_ms if first_event_ms is None else first_event_ms
                ahead = (event_ms - first_event_ms) / 1000 / speed - (time.monotonic() - began)
                if ahead > _LEAST_SLEEP:
                    sleep(ahead)
            key = None if series is None else series.encode()
            producer.send(topic, value, key=key).add_errback(failed.append)
            sent += 1
            if sent % _BATCH == 0:
                progress(_BATCH)
                producer.flush(60)  # the client's buffer is not bounded
        producer.flush(60)
        progress(sent % _BATCH)
    except KafkaError as error:
        msg = f'topic "{topic}": {error}; expected an existing topic: `forecaster topics create` creates kafka.topics'
        raise TransportError(msg) from error
    finally:
        producer.close(5)
    if failed:
        msg = f'topic "{topic}": {len(failed)} of {sent} records were not acknowledged, the first error: {failed[0]!r}'
        raise TransportError(msg)
    return sent


def events_of(path: Path, fields: InputConfig) -> Iterator[tuple[int | None, str | None, bytes]]:
    """Yields event time, series and JSON of every line; time and series are None for lines that cannot be decoded."""
    decoder = Decoder(fields.model_copy(update={"max_ahead": 0.0, "series": (), "where": ""}))
    source = FileSource(str(path), fields.format, max_record_bytes=fields.max_record_bytes, csv=fields.csv_start)
    source.open([], None)
    try:
        while not source.finished():
            records = source.read(_BATCH)
            if records is not None:
                yield from _events(records, decoder, fields)
    finally:
        source.close()


def _events(records: Records, decoder: Decoder, fields: InputConfig) -> Iterator[tuple[int | None, str | None, bytes]]:
    decoded = decoder.decode(records)
    known = {index: at for at, index in reversed(list(enumerate(decoded.index)))}  # the first event of each record
    for index, value in enumerate(records.values):
        at = known.get(index)
        headers = {} if records.headers is None else dict(records.headers[index])
        header = headers.get(CSV_HEADER)
        if at is None and FORMAT_HEADER in headers and is_blank(value.decode("utf-8", "replace")):
            continue  # a comment
        if at is None:
            yield None, None, value
        else:
            line = value if header is None else _as_json(header, value, fields)
            yield int(decoded.timestamp_ms[at]), decoded.series[at], line


def _as_json(header: bytes, line: bytes, fields: InputConfig) -> bytes:
    """Converts a line of CSV to an object; numeric fields become numbers, or null where the text is not a number."""
    text, required = header.decode(), [path.name for path in fields.fields.paths]
    separator = separator_of(text, required, fields.separator)
    names, cells = (
        column_names(text, separator) or [],
        next(csv.reader(io.StringIO(line.decode()), delimiter=separator)),
    )
    found: dict[str, Any] = {}
    ahead = f"{fields.fields.future}."
    times = {fields.fields.record_time, *(path.name for path in fields.fields.timestamp_paths)}
    for name, cell in zip(names, cells, strict=False):
        if name == fields.fields.value or name in fields.covariates:
            found[name] = _number(cell)
        elif name.startswith(ahead) and name.removeprefix(ahead) in fields.future_covariates:
            ahead_values = [None if number is None or math.isnan(number) else number for number in listed(cell) or ()]
            found.setdefault(fields.fields.future, {})[name.removeprefix(ahead)] = ahead_values
        elif name in times and cell.lstrip("-").isdigit():
            found[name] = int(cell)
        else:
            found[name] = cell
    return orjson.dumps(found)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
