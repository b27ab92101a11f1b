"""The confluent-kafka client (librdkafka), with several times the throughput of kafka-python.

All members of a group must use the same client, because the two have different assignment strategies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
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
_NO_OFFSET: Final = 0  # the library's negative offsets mean "none"

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
        assignment: receives the changes of the group's assignment.
    """

    def __init__(self, settings: KafkaConfig, assignment: Assignment) -> None:
        session_ms = round(settings.session_timeout * 1000)
        own: dict[str, Any] = {
            "group.id": settings.group_name,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,  # the only sign that the last offsets hold no records
            "check.crcs": True,
            "fetch.max.bytes": settings.fetch_max_bytes,
            "message.max.bytes": max(1 << 20, settings.fetch_max_bytes - 1024),
            "queued.max.messages.kbytes": max(1024, settings.fetch_max_bytes >> 10),
            "fetch.wait.max.ms": 100,
            "socket.timeout.ms": max(2000, round(settings.request_timeout * 1000)),  # the library's default is a minute
            "fetch.queue.backoff.ms": 5,  # pause after a full queue; the default is a second, too long for the engine
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
        """Assigns nothing yet, because the start offsets are not known; `read_from` assigns the partitions.

        An assignment at `OFFSET_END`, paused until then, would query that offset; where the answer is outstanding while
        the partitions are assigned anew, librdkafka 2.16 sometimes never fetches them.
        """
        self._places = {TopicPartition(place.topic, place.partition) for place in places}
        self._assignment.changes += 1
        consumer.assign([])

    def _revoked(self, consumer: Any, places: Sequence[Any]) -> None:
        self._places = set()
        if places:
            self._assignment.changes += 1
        consumer.unassign()

    def _lost(self, consumer: Any, places: Sequence[Any]) -> None:
        self._assignment.lost += 1
        self._revoked(consumer, places)

    def request_metadata(self, topics: Sequence[str]) -> None:
        """Requests the metadata of the topics."""
        for topic in topics:
            self._consumer.list_topics(topic, timeout=10)

    def assign(self, sources: Sequence[TopicPartition]) -> None:
        """Sets these partitions, outside of any group; `read_from` assigns them."""
        self._places = set(sources)
        self._assignment.changes += 1

    def joined(self) -> bool:
        """Returns whether the group has called back."""
        return bool(self._assignment.changes)

    def assignment(self) -> set[TopicPartition]:
        """Returns the partitions assigned to this process."""
        return set(self._places)

    def read_from(self, starts: Mapping[TopicPartition, int], reading: Mapping[TopicPartition, int]) -> None:
        """Assigns all of them, because the library replaces its complete assignment."""
        offsets = {**reading, **starts}
        places = [Place(source.topic, source.partition, offset) for source, offset in offsets.items()]
        self._eof.clear()
        self._consumer.assign(places)
        self._consumer.resume(places)

    def pause(self, *sources: TopicPartition) -> None:
        """Stops returning records of these partitions until `read_from`."""
        if self._consumer.assignment():
            self._consumer.pause([Place(source.topic, source.partition) for source in sources])

    def poll(self, timeout_ms: int, max_records: int = 1) -> dict[TopicPartition, list[Any]]:
        """Returns records by partition: waits for the first, and adds those that are buffered."""
        first = self._consumer.poll(timeout_ms / 1000)
        if first is None:
            return {}
        more = self._consumer.consume(max_records - 1, 0) if max_records > 1 and first.error() is None else []
        found: dict[tuple[str, int], list[Any]] = {}
        message: Any
        for message in (first, *more):
            place = message.topic(), message.partition()
            error = message.error()
            if error is None:
                if (batch := found.get(place)) is None:
                    found[place] = [message]
                else:
                    batch.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name
                self._eof[TopicPartition(*place)] = int(message.offset() or 0)
            else:
                raise KafkaException(error)
        polled = {TopicPartition(*place): batch for place, batch in found.items()}
        return {source: batch for source, batch in polled.items() if source in self._places}

    def columns(self, partition: str, batch: Sequence[Any]) -> Records:
        """Converts the library's records to columns."""
        headers, values = _headers_of(batch), [message.value() for message in batch]
        return Records(
            partition,
            [message.offset() for message in batch],
            batch[-1].offset() + 1,
            [value or b"" for value in values],
            [message.key() for message in batch],
            None if headers is None else [tuple(each or ()) for each in headers],
            [message.timestamp()[1] for message in batch],
            tombstones=without(values),
        )

    def committed(self, source: TopicPartition, timeout_ms: int) -> GroupOffset | None:
        """Returns the group's offset and its mark, or None; waits for a pending transaction that changes it."""
        (place,) = self._consumer.committed([Place(source.topic, source.partition)], timeout_ms / 1000)
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < _NO_OFFSET:
            return None
        return GroupOffset(int(place.offset), place.metadata or "")

    def show_offsets(self, offsets: Mapping[TopicPartition, int], timeout_ms: int) -> None:  # noqa: ARG002 - see docstring
        """Commits the offsets in the library's own thread, without the timeout; `close` waits for the answer."""
        places = [Place(source.topic, source.partition, offset) for source, offset in offsets.items()]
        self._consumer.commit(offsets=places, asynchronous=True)

    def position(self, source: TopicPartition) -> int:
        """Returns the next readable offset, past transaction markers."""
        (place,) = self._consumer.position([Place(source.topic, source.partition)])
        return max(int(place.offset), self._eof.get(source, -1))

    def highwater(self, source: TopicPartition) -> int | None:
        """Returns the end of the partition as of the last answer, or None."""
        _, high = self._consumer.get_watermark_offsets(Place(source.topic, source.partition), cached=True)
        return None if high < _NO_OFFSET else int(high)

    def membership(self) -> Any:
        """Returns the present membership."""
        return self._consumer.consumer_group_metadata()

    def close(self, timeout_ms: int) -> None:
        """Closes the consumer; the group reserves its partitions until the session ends."""
        close_within(timeout_ms / 1000, self._consumer.close)


class ConfluentClient:
    """`service.kafka.client.Client` over librdkafka. Clients outside the hot path are kafka-python's here, too.

    Args:
        settings: of all clients that it creates.
    """

    def __init__(self, settings: KafkaConfig) -> None:
        self._settings = settings

    def consumer(self, assignment: Assignment) -> ConfluentConsumer:
        """Creates a consumer."""
        return ConfluentConsumer(self._settings, assignment)

    def producer(self) -> ConfluentProducer:
        """Creates a producer."""
        return ConfluentProducer(self._settings)

    def is_fenced(self, error: Exception) -> bool:
        """Returns whether an error of either library means fencing."""
        code = _code_of(error)
        return is_fenced(error) if code is None else code in _FENCED

    def is_unreachable(self, error: Exception) -> bool:
        """Returns whether an error of either library means that no broker answered."""
        code = _code_of(error)
        return is_unreachable(error) if code is None else code in _UNREACHABLE


def _code_of(error: Exception) -> int | None:
    """Returns the code of a librdkafka error; None for other errors.

    A fatal error that the library detects in a callback is the cause of a `SystemError`.
    """
    if isinstance(error, SystemError) and isinstance(error.__cause__, KafkaException):
        error = error.__cause__
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return int(error.args[0].code())
    return None


def _headers_of(batch: Sequence[Any]) -> list[Sequence[tuple[str, bytes]] | None] | None:
    """Returns the headers of records, or None where no record has any."""
    found = [_headers(message) for message in batch]
    return found if any(found) else None


def _headers(message: Any) -> Sequence[tuple[str, bytes]] | None:
    """Returns the headers of a record; None where a name is not UTF-8, which the library cannot return.

    Its method then returns a value and sets an error at once. A call from C, as here, detects that; a call from Python
    may continue with an inconsistent result. A second call on the same record crashes the process.
    """
    try:
        found: Sequence[tuple[str, bytes]] | None = _call_headers(message)
    except (SystemError, UnicodeDecodeError):
        return None
    return found
