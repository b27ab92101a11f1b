"""Determines the greatest processed offset of a partition, from the newest forecasts and rejects backwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import ConfigurationError, SchemaRegistryError, SourceGoneError, TransportError, UnreachableError
from service.kafka.history import TopicHistory
from service.kafka.records import Origin, reject_source
from service.messages.frames import FrameError, schema_id
from service.schemas.forecast_reader import ForecastReader

_WINDOW: Final = 10_000  # offsets per read


class _Source(msgspec.Struct):
    partition: str
    position: int
    run: int = 1


class _Forecast(msgspec.Struct):
    source: _Source


_decode: Final[Any] = msgspec.json.Decoder(_Forecast | list[_Forecast]).decode


def newest_output(
    history: TopicHistory,
    settings: KafkaConfig,
    counts: Mapping[str, int],
    source: Origin,
    run: int,
    least: int | None,
    reader: ForecastReader,
) -> int | None:
    """Returns the greatest offset that a run has processed, according to the ends of the output topics.

    Where no output at or after `least` is found there, all records of the topics are searched for one. That is slow; it
    happens only where another program has set an offset.

    Args:
        history: reads the topics.
        settings, counts: the topics, and the number of partitions of each.
        source, run: the partition and run of the outputs.
        least: smallest offset that counts; None: any, and the ends of the topics are enough.
        reader: of forecasts that have a schema.

    Returns:
        The offset, or None where none was found.

    Raises:
        UnreachableError: the registry of such forecasts does not answer.
        TransportError: none is configured, or it does not have the schema.
    """
    places = [
        TopicPartition(topic, at) for topic in (settings.forecasts, settings.rejects) for at in range(counts[topic])
    ]
    windows = [_windows(history, place) for place in places]
    found = [_newest(next(window, []), settings, source, run, reader) for window in windows]
    newest = max((one for one in found if one is not None), default=None)
    if least is None or (newest is not None and newest >= least):
        return newest
    for window in windows:
        for records in window:
            before = _newest(records, settings, source, run, reader)
            if before is not None and before >= least:
                return before
    return newest


def _windows(history: TopicHistory, place: TopicPartition) -> Iterator[list[Any]]:
    """Yields all records of a partition in blocks, the newest block first."""
    start, end = history.bounds(place)
    while end > start:
        lower = max(start, end - _WINDOW)
        with contextlib.suppress(SourceGoneError):  # retention has deleted them meanwhile
            yield history.records(place, lower, end)
        end = lower


def _newest(records: list[Any], settings: KafkaConfig, source: Origin, run: int, reader: ForecastReader) -> int | None:
    """Returns the greatest offset of a partition among the outputs in these records."""
    positions = [
        position
        for record in records
        for partition, position, its_run in _sources(record, settings, reader)
        if (partition, its_run) == (str(source), run)
    ]
    return max(positions, default=None)


def _sources(record: Any, settings: KafkaConfig, reader: ForecastReader) -> Iterator[tuple[str, int, int]]:
    if record.topic == settings.rejects and (rejected := reject_source(record.headers)):
        yield rejected
        return
    try:
        value = record.value or b""
        found = _decode(value) if schema_id(value) is None else _with_schema(value, reader)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return  # written by another program
    for one in found if isinstance(found, list) else [found]:
        yield one.source.partition, one.source.position, one.source.run


def _with_schema(value: bytes, reader: ForecastReader) -> list[_Forecast]:
    """Reads a forecast in Avro or Protobuf; returns nothing for a record of another program.

    A record whose schema cannot be read may be a forecast: to continue without it could answer its event twice.
    """
    try:
        return msgspec.convert(reader.read(value), list[_Forecast])
    except SchemaRegistryError as error:
        raise UnreachableError(str(error)) from error
    except ConfigurationError as error:
        raise TransportError(str(error)) from error
    except FrameError as error:
        if error.problem.reason == "unknown_schema":
            msg = f"got a record in the topic of forecasts that cannot be read, expected its schema: {error}"
            raise TransportError(msg) from error
        return []
    except ValueError:
        return []
