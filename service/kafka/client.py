"""The interface of a Kafka client, independent of the library: a consumer and a transactional producer.

    kafka_python.py, kafka_python_producer.py     kafka-python, the default
    confluent.py, confluent_producer.py           confluent-kafka (librdkafka), several times the throughput

Partitions are kafka-python's `TopicPartition` in both. An object of a client is used by one thread and discarded
after any error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka.group import Assignment
from service.kafka.records import Message
from service.ports import Records


class GroupOffset(NamedTuple):
    """An offset committed for a group, and the mark committed with it, "" for none."""

    offset: int
    mark: str


class Consumer(Protocol):
    """Reads input partitions: those assigned by the group, or those assigned explicitly.

    Partitions are paused until `read_from` sets their start. Changes of the assignment are counted in the `Assignment`
    that the consumer was constructed with.
    """

    def request_metadata(self, topics: Sequence[str]) -> None:
        """Requests the partitions of topics, which the first join needs."""

    def assign(self, sources: Sequence[TopicPartition]) -> None:
        """Assigns these partitions, outside of any group."""

    def joined(self) -> bool:
        """Returns whether this process has joined the group and has an assignment."""

    def assignment(self) -> set[TopicPartition]:
        """Returns the partitions assigned to this process."""

    def read_from(self, starts: Mapping[TopicPartition, int], reading: Mapping[TopicPartition, int]) -> None:
        """Starts to return records of partitions.

        Args:
            starts: the start offset of each of the partitions.
            reading: partitions that are being read already, and the next offset of each.
        """

    def pause(self, *sources: TopicPartition) -> None:
        """Stops returning records of these partitions until `read_from`."""

    def poll(self, timeout_ms: int, max_records: int = 1) -> Mapping[TopicPartition, Sequence[Any]]:
        """Returns the library's records by partition; empty when none arrived within the timeout."""

    def columns(self, partition: str, batch: Sequence[Any]) -> Records:
        """Converts the library's records of one partition to columns."""

    def committed(self, source: TopicPartition, timeout_ms: int) -> GroupOffset | None:
        """Returns the group's offset, or None; waits for a pending transaction that changes it."""

    def show_offsets(self, offsets: Mapping[TopicPartition, int], timeout_ms: int) -> None:
        """Commits offsets of the group outside of any transaction, for tools that display consumer lag.

        Args:
            offsets: next offset of every partition.
            timeout_ms: longest wait for the answer; 0 does not wait and reports no failure.
        """

    def position(self, source: TopicPartition) -> int:
        """Returns the next readable offset, past transaction markers."""

    def highwater(self, source: TopicPartition) -> int | None:
        """Returns the end of the partition as of the last answer, or None."""

    def membership(self) -> Any:
        """Returns the present membership; called when partitions were assigned."""

    def close(self, timeout_ms: int) -> None:
        """Closes the consumer; the group reserves its partitions until the session ends."""


class Producer(Protocol):
    """Writes transactions.

    Attributes:
        stages: whether it saves time to `send` the first records of a transaction while others are being encoded.
    """

    stages: bool

    def fence(self) -> None:
        """Ends the open transaction of a predecessor with the same transactional id, and fences that predecessor."""

    def partitions(self, topic: str) -> int:
        """Returns the number of partitions of a topic.

        Raises:
            TransportError: the topic does not exist.
        """

    def send(self, messages: Sequence[Message]) -> None:
        """Passes on records of the transaction, which is begun if needed; `transact` commits them."""

    def transact(
        self, messages: Sequence[Message], offsets: Mapping[TopicPartition, int], group: Any, mark: str = ""
    ) -> None:
        """Commits the transaction with these records and offsets. A return means committed, any exception unknown.

        Args:
            messages: further records; none larger than the limit.
            offsets: next offset of every input partition; empty where positions are records themselves.
            group: from `Consumer.membership`; ignored without offsets.
            mark: text committed with the offsets.
        """

    def maintain(self) -> None:
        """Processes the library's log entries; called periodically, so that they do not accumulate."""

    def close(self, *, broken: bool) -> None:
        """Closes the producer; `broken`: nothing may arrive at a broker any more, otherwise nothing is in flight."""


class Client(Protocol):
    """A Kafka library."""

    def consumer(self, assignment: Assignment) -> Consumer:
        """Creates a consumer of the input topics, of the kind that `kafka.membership` selects."""

    def producer(self) -> Producer:
        """Creates a transactional producer, connected, not fenced yet."""

    def is_fenced(self, error: Exception) -> bool:
        """Returns whether an error means that another process uses the same name."""

    def is_unreachable(self, error: Exception) -> bool:
        """Returns whether an error means that no broker answers."""


def client_of(settings: KafkaConfig) -> Client:
    """Returns the client of the library that `kafka.client` names; only that library is imported."""
    if settings.client == "confluent":
        from service.kafka.confluent import ConfluentClient  # noqa: PLC0415 - an extra that may not be installed

        return ConfluentClient(settings)
    from service.kafka.kafka_python import KafkaPythonClient  # noqa: PLC0415 - the other one is not loaded

    return KafkaPythonClient(settings)
