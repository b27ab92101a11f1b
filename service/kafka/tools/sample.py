"""Reads a sample of a topic: the newest records of every partition."""

from __future__ import annotations

import time
from typing import Final

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.construct import reached
from service.ports import Records

_WAIT_SECONDS: Final = 10.0
_POLL_MS: Final = 250


def newest_records(settings: KafkaConfig, topic: str, most: int) -> Records:
    """Returns at most `most` of the newest records of a topic, an equal share of every partition.

    Raises:
        TransportError: the topic does not exist, has no records, or cannot be read.
    """
    consumer = reached(
        settings, KafkaConsumer, isolation_level="read_committed", enable_auto_commit=False, group_id=None
    )
    try:
        sources = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not sources:
            msg = f'topic "{topic}": not found; expected an existing topic'
            raise TransportError(msg)
        consumer.assign(sources)
        ends, begins = consumer.end_offsets(sources), consumer.beginning_offsets(sources)
        share = max(1, most // len(sources))
        for source in sources:
            consumer.seek(source, max(begins[source], ends[source] - share))
        found, waited = list[tuple[bytes | None, bytes, int, tuple[tuple[str, bytes], ...]]](), time.monotonic()
        while any(consumer.position(source) < ends[source] for source in sources):
            if time.monotonic() - waited > _WAIT_SECONDS:
                break
            for records in consumer.poll(_POLL_MS).values():
                found += [
                    (record.key, record.value, record.timestamp, tuple(record.headers or ()))
                    for record in records
                    if record.value is not None
                ]
    except KafkaError as error:
        msg = f'topic "{topic}": {error}'
        raise TransportError(msg) from error
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)
    if not found:
        msg = f'topic "{topic}": got no records, expected at least one'
        raise TransportError(msg)
    keys, values, times, headers = (list(column) for column in zip(*found, strict=True))
    return Records(f"{topic}-0", range(len(values)), len(values), values, keys, headers, times)
