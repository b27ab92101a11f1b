"""Reads new forecasts from their topic with read_committed."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.construct import reached
from service.kafka.records import Partitioner
from service.schemas.forecast_reader import ForecastReader

_POLL_MS: Final = 250


def tail(
    settings: KafkaConfig, topic: str, reader: ForecastReader, series: str = "", *, from_start: bool = False
) -> Generator[Any | None, None, None]:
    """Yields the decoded forecasts of a topic; periodically None, so that a caller can stop.

    Args:
        settings: brokers and connection.
        topic: of forecasts.
        reader: of its records, in any of their formats.
        series: only this one, read from its partition; empty for all.
        from_start: start with the oldest forecast instead of the next one.

    Raises:
        TransportError: the topic does not exist or cannot be read, or has a record that is no forecast.
        ConfigurationError: its records have a schema, and no registry is configured.
        SchemaRegistryError: the registry does not answer.
    """
    consumer = reached(
        settings, KafkaConsumer, isolation_level="read_committed", enable_auto_commit=False, group_id=None
    )
    try:
        numbers = sorted(consumer.partitions_for_topic(topic) or ())
        if not numbers:
            msg = f'topic "{topic}": not found; set --topic or kafka.app'
            raise TransportError(msg)
        if series:
            numbers = [numbers[Partitioner().hash(series) % len(numbers)]]
        sources = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(sources)
        (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(*sources)
        wanted = series.encode()
        while True:
            for records in consumer.poll(_POLL_MS).values():
                for record in records:
                    if series and record.key != wanted:
                        continue
                    yield from _read(reader, record)
            yield None
    except KafkaError as error:
        msg = f'topic "{topic}": {error}'
        raise TransportError(msg) from error
    finally:
        reader.close()
        consumer.close(autocommit=False, timeout_ms=1000)


def _read(reader: ForecastReader, record: Any) -> list[dict[str, Any]]:
    try:
        return reader.read(record.value or b"")
    except ValueError as error:
        msg = f'topic "{record.topic}": got a record at offset {record.offset} that is no forecast ({error})'
        raise TransportError(msg) from None
