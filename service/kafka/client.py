"""What the daemon needs of a Kafka client, whatever the library: a consumer and a transactional producer.

    kafka_python.py, kafka_python_producer.py     kafka-python, the default
    confluent.py, confluent_producer.py           confluent-kafka (librdkafka), several times the throughput

Partitions are kafka-python's `TopicPartition` in both. An object of a client is used by one thread and thrown away
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
    """An offset that is committed for a group, and the mark beside it, "" for none."""

    offset: int
    mark: str


class Consumer(Protocol):
    """Reads input partitions: those that the group gives, or those that are assigned.

    Partitions are paused until `read_from` says where to begin. Changes of what is ours are counted in the `Assignment`
    that the consumer was made with.
    """

    def look_up(self, topics: Sequence[str]) -> None:
        """Asks for the partitions of topics; a first join knows of none otherwise."""

    def assign(self, sources: Sequence[TopicPartition]) -> None:
        """Takes these partitions, outside of any group."""

    def joined(self) -> bool:
        """Whether the group has let us in and said what is ours."""

    def assignment(self) -> set[TopicPartition]:
        """What is ours now."""

    def read_from(self, starts: Mapping[TopicPartition, int], reading: Mapping[TopicPartition, int]) -> None:
        """Begins to hand out partitions.

        Args:
            starts: the partitions, and the offset at which each begins.
            reading: those that are handed out already, and where each goes on.
        """

    def pause(self, *sources: TopicPartition) -> None:
        """Hands out nothing of these partitions until `read_from`."""

    def poll(self, timeout_ms: int, max_records: int = 1) -> Mapping[TopicPartition, Sequence[Any]]:
        """Records of the library by partition; empty when none came within the timeout."""

    def columns(self, partition: str, batch: Sequence[Any]) -> Records:
        """Records of the library, of one partition, as columns."""

    def committed(self, source: TopicPartition, timeout_ms: int) -> GroupOffset | None:
        """The group's offset, or None; waits while a transaction that moves it is being ended."""

    def show_offsets(self, offsets: Mapping[TopicPartition, int], timeout_ms: int) -> None:
        """Commits offsets of the group outside of any transaction, for tools that show lag.

        Args:
            offsets: next offset of every partition.
            timeout_ms: longest wait for the answer; 0 does not wait and reports no failure.
        """

    def position(self, source: TopicPartition) -> int:
        """The next offset that can be read, markers of transactions left behind."""

    def highwater(self, source: TopicPartition) -> int | None:
        """The end of the partition as the last answer had it, or None."""

    def membership(self) -> Any:
        """The membership as it is now; asked when partitions were assigned."""

    def close(self, timeout_ms: int) -> None:
        """Leaves; the group keeps our partitions for us until the session ends."""


class Producer(Protocol):
    """Writes transactions.

    Attributes:
        stages: whether it gains time to `send` the first records of a transaction while others are being made.
    """

    stages: bool

    def fence(self) -> None:
        """Ends what a predecessor with our transactional id left open, and shuts it out from now on."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises:
            TransportError: it is not there.
        """

    def send(self, messages: Sequence[Message]) -> None:
        """Hands over records of the transaction, which is begun if need be; `transact` commits them."""

    def transact(
        self, messages: Sequence[Message], offsets: Mapping[TopicPartition, int], group: Any, mark: str = ""
    ) -> None:
        """Ends the transaction with these records and offsets. Returned means committed, any exception unknown.

        Args:
            messages: further records; none larger than the limit.
            offsets: next offset of every input partition; empty where positions are records themselves.
            group: as of `Consumer.membership`; not looked at without offsets.
            mark: kept beside the offsets.
        """

    def tend(self) -> None:
        """Takes what the library logged; called now and then, so that it does not pile up."""

    def close(self, *, broken: bool) -> None:
        """Ends it: nothing is on its way (orderly), or nothing of it may arrive any more (broken)."""


class Client(Protocol):
    """A library."""

    def consumer(self, assignment: Assignment) -> Consumer:
        """A consumer of the input topics; `kafka.membership` says of which kind."""

    def producer(self) -> Producer:
        """A transactional producer, connected, not fenced yet."""

    def is_fenced(self, error: Exception) -> bool:
        """Whether an error says that another process has our name."""

    def is_unreachable(self, error: Exception) -> bool:
        """Whether an error says that no broker answers."""


def client_of(settings: KafkaConfig) -> Client:
    """The client of the library that `kafka.client` names, which alone is imported."""
    if settings.client == "confluent":
        from service.kafka.confluent import ConfluentClient  # noqa: PLC0415 - an extra that may not be installed

        return ConfluentClient(settings)
    from service.kafka.kafka_python import KafkaPythonClient  # noqa: PLC0415 - the other one is not loaded

    return KafkaPythonClient(settings)
