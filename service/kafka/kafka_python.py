"""The kafka-python client: its group consumer, and its producer from `kafka_python_producer`."""

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
        assignment: receives the changes of the group's assignment.
    """

    def __init__(self, settings: KafkaConfig, assignment: Assignment) -> None:
        self._settings, self._assignment = settings, assignment
        self._consumer = group_consumer(settings, assignment)

    def request_metadata(self, topics: Sequence[str]) -> None:
        """Requests metadata, without which the first join gets an empty assignment."""
        for topic in topics:
            self._consumer.partitions_for_topic(topic)

    def assign(self, sources: Sequence[TopicPartition]) -> None:
        """Assigns these partitions, paused."""
        self._consumer.assign(list(sources))
        self._assignment.on_partitions_assigned(sources)

    def joined(self) -> bool:
        """Returns whether the group is stable and has called the listener."""
        return bool(self._assignment.changes) and self._consumer.group_metadata().state == "<stable>"

    def assignment(self) -> set[TopicPartition]:
        """Returns the partitions assigned to this process."""
        return set(self._consumer.assignment())

    def read_from(
        self,
        starts: Mapping[TopicPartition, int],
        reading: Mapping[TopicPartition, int],  # noqa: ARG002 - `seek` does not affect other partitions
    ) -> None:
        """Seeks to the start of each of the partitions and resumes it."""
        for source, start in starts.items():
            self._consumer.seek(source, start)
            self._consumer.resume(source)

    def pause(self, *sources: TopicPartition) -> None:
        """Stops returning records of these partitions."""
        self._consumer.pause(*sources)

    def poll(self, timeout_ms: int, max_records: int = 1) -> Mapping[TopicPartition, Sequence[Any]]:
        """Returns records by partition."""
        found: Mapping[TopicPartition, Sequence[Any]] = self._consumer.poll(timeout_ms, max_records=max_records)
        return found

    def columns(self, partition: str, batch: Sequence[Any]) -> Records:
        """Converts the library's records to columns."""
        return columns(partition, batch)

    def committed(self, source: TopicPartition, timeout_ms: int) -> GroupOffset | None:
        """Returns the group's offset with its mark, or None."""
        found = self._consumer.committed(source, metadata=True, timeout_ms=timeout_ms)
        return None if found is None else GroupOffset(found.offset, found.metadata)

    def show_offsets(self, offsets: Mapping[TopicPartition, int], timeout_ms: int) -> None:
        """Commits the offsets; with a timeout of 0 in the library's own thread."""
        entries = {source: OffsetAndMetadata(offset, "", -1) for source, offset in offsets.items()}
        if timeout_ms:
            self._consumer.commit(entries, timeout_ms=timeout_ms)
        else:
            self._consumer.commit_async(entries, callback=lambda *_: None)

    def position(self, source: TopicPartition) -> int:
        """Returns the next offset."""
        return int(self._consumer.position(source))

    def highwater(self, source: TopicPartition) -> int | None:
        """Returns the end of the partition as of the last fetch, or None."""
        found = self._consumer.highwater(source)
        return None if found is None else int(found)

    def membership(self) -> Any:
        """Returns the present membership."""
        if self._settings.membership == "alone":
            return ConsumerGroupMetadata(self._settings.group_name)
        return self._consumer.group_metadata()

    def close(self, timeout_ms: int) -> None:
        """Closes the consumer."""
        self._consumer.close(autocommit=False, timeout_ms=timeout_ms)


class KafkaPythonClient:
    """`service.kafka.client.Client` over kafka-python.

    Args:
        settings: of all clients that it creates.
    """

    def __init__(self, settings: KafkaConfig) -> None:
        self._settings = settings

    def consumer(self, assignment: Assignment) -> KafkaPythonConsumer:
        """Creates a consumer."""
        return KafkaPythonConsumer(self._settings, assignment)

    def producer(self) -> TransactionalProducer:
        """Creates a producer."""
        return TransactionalProducer(self._settings)

    def is_fenced(self, error: Exception) -> bool:
        """Returns whether an error of the library means fencing."""
        return is_fenced(error)

    def is_unreachable(self, error: Exception) -> bool:
        """Returns whether an error of the library means that no broker answered."""
        return is_unreachable(error)
