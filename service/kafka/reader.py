"""Reads ranges again, and small topics completely, outside of the group. Never changes an offset of the group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import SourceGoneError, TransportError
from service.kafka.connection import connection
from service.kafka.construct import construct

_POLL_MS: Final = 500


class Reader:
    """A consumer without a group, used by one thread, discarded after any error.

    Args:
        settings: of the transport.
        waiting: called between two polls, so that the caller can keep its group membership alive.
    """

    def __init__(self, settings: KafkaConfig, waiting: Callable[[], None] = lambda: None) -> None:
        self._limit_seconds = settings.transaction_timeout + settings.request_timeout
        self._waiting = waiting
        arguments = connection(settings) | {
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "fetch_max_bytes": settings.fetch_max_bytes,
            "max_partition_fetch_bytes": settings.fetch_max_bytes,
        }
        # The first reads up to an open transaction, the second up to the end of the log. No deserializers: one that
        # raises would make the library spin.
        self._consumer = construct(KafkaConsumer, isolation_level="read_committed", **arguments)
        self._ends = construct(KafkaConsumer, isolation_level="read_uncommitted", **arguments)

    def cluster(self) -> str:
        """Returns the identity of the cluster."""
        self._consumer.topics()  # requests metadata, which include it
        return str(self._consumer._client.cluster.cluster_id or "")  # noqa: SLF001 - not in the consumer's public interface

    def topic_id(self, topic: str) -> str:
        """Returns the identity of a topic, which changes when it is recreated; "" with brokers older than 2.8."""
        self._consumer.topics()
        return str(self._consumer._client.cluster.topic_id(topic) or "")  # noqa: SLF001 - as above

    def partitions(self, topic: str) -> list[int]:
        """Returns the present partitions of a topic.

        Raises:
            TransportError: the topic does not exist.
        """
        self._consumer.topics()  # requests metadata; the cached ones may be outdated
        found = self._consumer.partitions_for_topic(topic)
        if not found:
            msg = f'topic "{topic}": not found; `forecaster topics create` creates missing topics'
            raise TransportError(msg)
        return sorted(found)

    def earliest(self, source: TopicPartition) -> int:
        """Returns the oldest offset that the brokers still hold."""
        return int(self._consumer.beginning_offsets([source])[source])

    def end(self, source: TopicPartition) -> int:
        """Returns the end offset of all written records, committed or not."""
        return int(self._ends.end_offsets([source])[source])

    def committed_end(self, source: TopicPartition) -> int:
        """Returns the end offset of the records before the first open transaction."""
        return int(self._consumer.end_offsets([source])[source])

    def offset_at(self, source: TopicPartition, time_ms: int) -> int | None:
        """Returns the offset of the first record whose timestamp is not before a time, None where there is none."""
        found = self._consumer.offsets_for_times({source: time_ms})[source]
        return None if found is None else int(found.offset)

    def read(self, source: TopicPartition, start: int, end: int, limit: int) -> Iterator[list[Any]]:
        """Yields the records of [start, end) that belong to committed transactions, at most `limit` at a time.

        It ends by position, not by records: the last offsets may hold transaction markers only.

        Raises:
            SourceGoneError: the brokers no longer hold `start`, or hold less than `end`.
        """
        if start >= end:
            return
        earliest, present = self.earliest(source), self.end(source)
        if start < earliest or end > present:
            msg = (
                f"{source.topic}-{source.partition}: offsets [{start}, {end}) are needed, but the brokers hold "
                f"[{earliest}, {present}): the retention is too short, or the topic was deleted and created again"
            )
            raise SourceGoneError(msg)
        consumer = self._consumer
        consumer.assign([source])
        consumer.seek(source, start)
        deadline = time.monotonic() + self._limit_seconds
        while (position := consumer.position(source)) < end:
            batch = consumer.poll(_POLL_MS, max_records=limit).get(source, [])
            self._waiting()
            if consumer.position(source) > position:
                deadline = time.monotonic() + self._limit_seconds
            elif time.monotonic() > deadline:
                msg = (
                    f"{source.topic}-{source.partition}: offset {position} could not be read within "
                    f"{self._limit_seconds:g} s; check the brokers for an open transaction that does not end"
                )
                raise TransportError(msg)
            inside = [record for record in batch if record.offset < end]
            if inside:
                yield inside
            if len(inside) < len(batch):
                return

    def whole(self, source: TopicPartition) -> list[Any]:
        """Returns all committed records of a partition, including those of open transactions if they commit."""
        start, end = self.earliest(source), self.end(source)
        return [record for batch in self.read(source, start, end, 1000) for record in batch]

    def close(self) -> None:
        """Closes both consumers."""
        for consumer in (self._consumer, self._ends):
            consumer.close(autocommit=False, timeout_ms=1000)
