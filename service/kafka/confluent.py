"""confluent-kafka (librdkafka) as a client: several times the throughput of kafka-python.

All members of a group must use the same client, as the two speak different assignment strategies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka.client import GroupOffset
from service.kafka.columns import without
from service.kafka.confluent_calls import close_within
from service.kafka.confluent_producer import ConfluentProducer, library_log, settings_of
from service.kafka.group import Assignment
from service.kafka.kafka_python_producer import is_fenced, is_unreachable
from service.ports import Records

_call_headers: Final = methodcaller("headers")
_NO_OFFSET: Final = 0  # negative offsets of the library stand for "none"

_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - the library's own public names begin so
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED if hasattr(KafkaError, "PRODUCER_FENCED") else 90,
    }
)

_UNREACHABLE: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 - as above
        KafkaError._TRANSPORT,  # noqa: SLF001 - as above
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - as above
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


class ConfluentConsumer:
    """`service.kafka.client.Consumer` over librdkafka.

    Args:
        settings: of the session.
        assignment: learns what the group gives and takes.
    """

    def __init__(self, settings: KafkaConfig, assignment: Assignment) -> None:
        session_ms = round(settings.session_timeout * 1000)
        own: dict[str, Any] = {
            "group.id": settings.group_name,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,  # the only way to learn that the last offsets hold no records
            "check.crcs": True,
            "fetch.max.bytes": settings.fetch_max_bytes,
            "message.max.bytes": max(1 << 20, settings.fetch_max_bytes - 1024),
            "queued.max.messages.kbytes": max(1024, settings.fetch_max_bytes >> 10),
            "fetch.wait.max.ms": 100,
            "socket.timeout.ms": max(2000, round(settings.request_timeout * 1000)),  # the library's own is a minute
            "fetch.queue.backoff.ms": 5,  # once the queue was full; the default of a second would starve us
            "topic.metadata.refresh.interval.ms": round(settings.metadata_max_age * 1000),
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": min(3000, session_ms // 4),
            "max.poll.interval.ms": max(300_000, session_ms),
        }
        if settings.membership == "group":
            own["group.instance.id"] = settings.transactional_id
        self._consumer = Consumer(settings_of(settings) | own, logger=library_log)
        self._assignment = assignment
        self._places: set[TopicPartition] = set()
        self._eof: dict[TopicPartition, int] = {}
        if settings.membership == "group":
            self._consumer.subscribe(
                list(settings.topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )

    def _assigned(self, consumer: Any, places: Sequence[Any]) -> None:
        """Takes the partitions, paused: where to begin is not known yet."""
        self._places = {TopicPartition(place.topic, place.partition) for place in places}
        self._assignment.changes += 1
        consumer.assign([Place(place.topic, place.partition, OFFSET_END) for place in places])
        if places:
            consumer.pause(places)

    def _revoked(self, consumer: Any, places: Sequence[Any]) -> None:
        self._places = set()
        if places:
            self._assignment.changes += 1
        consumer.unassign()

    def _lost(self, consumer: Any, places: Sequence[Any]) -> None:
        self._assignment.lost += 1
        self._revoked(consumer, places)

    def look_up(self, topics: Sequence[str]) -> None:
        """Asks for the topics."""
        for topic in topics:
            self._consumer.list_topics(topic, timeout=10)

    def assign(self, sources: Sequence[TopicPartition]) -> None:
        """Takes these partitions, outside of any group."""
        self._places = set(sources)
        self._assignment.changes += 1

    def joined(self) -> bool:
        """Whether the group has called back."""
        return bool(self._assignment.changes)

    def assignment(self) -> set[TopicPartition]:
        """What is ours now."""
        return set(self._places)

    def read_from(self, starts: Mapping[TopicPartition, int], reading: Mapping[TopicPartition, int]) -> None:
        """Assigns all of them: the library replaces what it reads as a whole."""
        offsets = {**reading, **starts}
        places = [Place(source.topic, source.partition, offset) for source, offset in offsets.items()]
        self._eof.clear()
        self._consumer.assign(places)
        self._consumer.resume(places)

    def pause(self, *sources: TopicPartition) -> None:
        """Hands out nothing of these partitions until `read_from`."""
        if self._consumer.assignment():
            self._consumer.pause([Place(source.topic, source.partition) for source in sources])

    def poll(self, timeout_ms: int, max_records: int = 1) -> dict[TopicPartition, list[Any]]:
        """Records by partition: waits for the first, takes along what else is there."""
        first = self._consumer.poll(timeout_ms / 1000)
        if first is None:
            return {}
        more = self._consumer.consume(max_records - 1, 0) if max_records > 1 and first.error() is None else []
        found: dict[TopicPartition, list[Any]] = {}
        message: Any
        for message in (first, *more):
            source = TopicPartition(message.topic(), message.partition())
            error = message.error()
            if error is None:
                found.setdefault(source, []).append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name
                self._eof[source] = int(message.offset() or 0)
            else:
                raise KafkaException(error)
        return {source: batch for source, batch in found.items() if source in self._places}

    def columns(self, partition: str, batch: Sequence[Any]) -> Records:
        """The library's records as columns."""
        headers, values = [_headers(message) for message in batch], [message.value() for message in batch]
        return Records(
            partition,
            [message.offset() for message in batch],
            batch[-1].offset() + 1,
            [value or b"" for value in values],
            [message.key() for message in batch],
            [tuple(each or ()) for each in headers] if any(headers) else None,
            [message.timestamp()[1] for message in batch],
            tombstones=without(values),
        )

    def committed(self, source: TopicPartition, timeout_ms: int) -> GroupOffset | None:
        """The group's offset and its mark, or None; waits while a transaction that moves it is being ended."""
        (place,) = self._consumer.committed([Place(source.topic, source.partition)], timeout_ms / 1000)
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < _NO_OFFSET:
            return None
        return GroupOffset(int(place.offset), place.metadata or "")

    def show_offsets(self, offsets: Mapping[TopicPartition, int], timeout_ms: int) -> None:  # noqa: ARG002 - see below
        """Commits them in the library's own thread; `close` waits for the answer."""
        places = [Place(source.topic, source.partition, offset) for source, offset in offsets.items()]
        self._consumer.commit(offsets=places, asynchronous=True)

    def position(self, source: TopicPartition) -> int:
        """The next offset that can be read, markers of transactions left behind."""
        (place,) = self._consumer.position([Place(source.topic, source.partition)])
        return max(int(place.offset), self._eof.get(source, -1))

    def highwater(self, source: TopicPartition) -> int | None:
        """The end of the partition as the last answer told, or None."""
        _, high = self._consumer.get_watermark_offsets(Place(source.topic, source.partition), cached=True)
        return None if high < _NO_OFFSET else int(high)

    def membership(self) -> Any:
        """Our membership as it is now."""
        return self._consumer.consumer_group_metadata()

    def close(self, timeout_ms: int) -> None:
        """Leaves; the group keeps our partitions for us until the session ends."""
        close_within(timeout_ms / 1000, self._consumer.close)


class ConfluentClient:
    """`service.kafka.client.Client`. The clients for questions beside the hot path are kafka-python's here too.

    Args:
        settings: for all that it makes.
    """

    def __init__(self, settings: KafkaConfig) -> None:
        self._settings = settings

    def consumer(self, assignment: Assignment) -> ConfluentConsumer:
        """A consumer."""
        return ConfluentConsumer(self._settings, assignment)

    def producer(self) -> ConfluentProducer:
        """A producer."""
        return ConfluentProducer(self._settings)

    def is_fenced(self, error: Exception) -> bool:
        """As either library says it."""
        code = _code_of(error)
        return is_fenced(error) if code is None else code in _FENCED

    def is_unreachable(self, error: Exception) -> bool:
        """As either library says it."""
        code = _code_of(error)
        return is_unreachable(error) if code is None else code in _UNREACHABLE


def _code_of(error: Exception) -> int | None:
    """The number of an error of librdkafka; None for any other.

    A fatal one that the library finds while it calls back comes as the cause of a `SystemError`.
    """
    if isinstance(error, SystemError) and isinstance(error.__cause__, KafkaException):
        error = error.__cause__
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return int(error.args[0].code())
    return None


def _headers(message: Any) -> Sequence[tuple[str, bytes]] | None:
    """The headers of a record; none where a name is no UTF-8, which the library cannot hand out.

    Its method then returns something and an error at once. Called from C, as here, that is noticed; a call in
    Python may go on with half of both.
    """
    try:
        found: Sequence[tuple[str, bytes]] | None = _call_headers(message)
    except (SystemError, UnicodeDecodeError):
        return None
    return found
