"""kafka-python as a client: its consumer of the group, and its producer from `kafka_python_producer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka.client import GroupOffset
from service.kafka.columns import columns
from service.kafka.group import Assignment, group_consumer
from service.kafka.kafka_python_producer import TransactionalProducer, is_fenced, is_unreachable
from service.ports import Records


class KafkaPythonConsumer:
    """`service.kafka.client.Consumer` over kafka-python.

    Args:
        settings: of the session.
        assignment: learns what the group gives and takes.
    """

    def __init__(self, settings: KafkaConfig, assignment: Assignment) -> None:
        self._settings, self._assignment = settings, assignment
        self._consumer = group_consumer(settings, assignment)

    def look_up(self, topics: Sequence[str]) -> None:
        """Asks for metadata, without which the first join gets an empty assignment."""
        for topic in topics:
            self._consumer.partitions_for_topic(topic)

    def assign(self, sources: Sequence[TopicPartition]) -> None:
        """Takes these partitions, paused."""
        self._consumer.assign(list(sources))
        self._assignment.on_partitions_assigned(sources)

    def joined(self) -> bool:
        """Whether the group is stable and has called back."""
        return bool(self._assignment.changes) and self._consumer.group_metadata().state == "<stable>"

    def assignment(self) -> set[TopicPartition]:
        """What is ours now."""
        return set(self._consumer.assignment())

    def read_from(
        self,
        starts: Mapping[TopicPartition, int],
        reading: Mapping[TopicPartition, int],  # noqa: ARG002 - they are not disturbed
    ) -> None:
        """Sets and opens each of the partitions."""
        for source, start in starts.items():
            self._consumer.seek(source, start)
            self._consumer.resume(source)

    def pause(self, *sources: TopicPartition) -> None:
        """Hands out nothing of these partitions."""
        self._consumer.pause(*sources)

    def poll(self, timeout_ms: int, max_records: int = 1) -> Mapping[TopicPartition, Sequence[Any]]:
        """Records by partition."""
        found: Mapping[TopicPartition, Sequence[Any]] = self._consumer.poll(timeout_ms, max_records=max_records)
        return found

    def columns(self, partition: str, batch: Sequence[Any]) -> Records:
        """The library's records as columns."""
        return columns(partition, batch)

    def committed(self, source: TopicPartition, timeout_ms: int) -> GroupOffset | None:
        """The group's offset with its mark, or None."""
        found = self._consumer.committed(source, metadata=True, timeout_ms=timeout_ms)
        return None if found is None else GroupOffset(found.offset, found.metadata)

    def show_offsets(self, offsets: Mapping[TopicPartition, int], timeout_ms: int) -> None:
        """Commits them; without a wait in the library's own thread."""
        entries = {source: OffsetAndMetadata(offset, "", -1) for source, offset in offsets.items()}
        if timeout_ms:
            self._consumer.commit(entries, timeout_ms=timeout_ms)
        else:
            self._consumer.commit_async(entries, callback=lambda *_: None)

    def position(self, source: TopicPartition) -> int:
        """The next offset."""
        return int(self._consumer.position(source))

    def highwater(self, source: TopicPartition) -> int | None:
        """The end of the partition as the last fetch had it, or None."""
        found = self._consumer.highwater(source)
        return None if found is None else int(found)

    def membership(self) -> Any:
        """As it is now."""
        if self._settings.membership == "alone":
            return ConsumerGroupMetadata(self._settings.group_name)
        return self._consumer.group_metadata()

    def close(self, timeout_ms: int) -> None:
        """Ends it."""
        self._consumer.close(autocommit=False, timeout_ms=timeout_ms)


class KafkaPythonClient:
    """`service.kafka.client.Client`.

    Args:
        settings: for all that it makes.
    """

    def __init__(self, settings: KafkaConfig) -> None:
        self._settings = settings

    def consumer(self, assignment: Assignment) -> KafkaPythonConsumer:
        """A consumer."""
        return KafkaPythonConsumer(self._settings, assignment)

    def producer(self) -> TransactionalProducer:
        """A producer."""
        return TransactionalProducer(self._settings)

    def is_fenced(self, error: Exception) -> bool:
        """As the library says it."""
        return is_fenced(error)

    def is_unreachable(self, error: Exception) -> bool:
        """As the library says it."""
        return is_unreachable(error)
