"""Kafka through confluent-kafka (librdkafka): the same transport, several times the throughput.

Only the two clients of the hot path differ from `service.kafka.transport`; order of operations, records,
models, replay and every check are the same code. All members of a group must use the same client, as the two speak
different assignment strategies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from kafka.structs import OffsetAndMetadata, TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka.columns import without
from service.kafka.confluent_calls import close_within
from service.kafka.confluent_producer import ConfluentProducer, library_log, settings_of
from service.kafka.group import Assignment
from service.kafka.records import Source
from service.kafka.transport import KafkaTransport
from service.ports import Encoded, Records

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
    """The group's consumer with the methods of kafka-python's that the transport calls.

    Args:
        settings: of the transport.
        assignment: told of what the group gives and takes.
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

    def assign(self, sources: Sequence[TopicPartition]) -> None:
        """Reads these partitions outside of any group."""
        self._places = set(sources)

    def assignment(self) -> set[TopicPartition]:
        """What is ours now."""
        return set(self._places)

    def partitions_for_topic(self, topic: str) -> list[int]:
        """The partitions of a topic."""
        return list(self._consumer.list_topics(topic, timeout=10).topics[topic].partitions)

    def read_from(self, starts: Mapping[TopicPartition, int]) -> None:
        """Reads on from these offsets; always of all partitions at once."""
        places = [Place(source.topic, source.partition, start) for source, start in starts.items()]
        self._eof.clear()
        self._consumer.assign(places)
        self._consumer.resume(places)

    def pause(self, *sources: TopicPartition) -> None:
        """Hands out nothing of these partitions until `read_from`."""
        if self._consumer.assignment():
            self._consumer.pause([Place(source.topic, source.partition) for source in sources])

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Not needed: `read_from` says where to begin."""

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

    def committed(self, source: TopicPartition, *, metadata: bool, timeout_ms: int) -> Any:  # noqa: ARG002 - always
        """The group's offset and its mark, or None; waits while a transaction that moves it is being ended."""
        (place,) = self._consumer.committed([Place(source.topic, source.partition)], timeout_ms / 1000)
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < _NO_OFFSET:
            return None
        return OffsetAndMetadata(int(place.offset), place.metadata or "", -1)

    def position(self, source: TopicPartition) -> int:
        """The next offset that can be read, markers of transactions left behind."""
        (place,) = self._consumer.position([Place(source.topic, source.partition)])
        return max(int(place.offset), self._eof.get(source, -1))

    def highwater(self, source: TopicPartition) -> int | None:
        """The end of the partition as the last answer told, or None."""
        _, high = self._consumer.get_watermark_offsets(Place(source.topic, source.partition), cached=True)
        return None if high < _NO_OFFSET else int(high)

    def group_metadata(self) -> Any:
        """Our membership as it is now."""
        return self._consumer.consumer_group_metadata()

    def close(self, *, autocommit: bool, timeout_ms: int) -> None:  # noqa: ARG002 - the signature of kafka-python's
        """Leaves; the group keeps our partitions for us until the session ends."""
        close_within(timeout_ms / 1000, self._consumer.close)


class ConfluentTransport(KafkaTransport):
    """`service.ports.Transport` over confluent-kafka. See `KafkaTransport` for arguments and guarantees."""

    def _make_producer(self) -> ConfluentProducer:
        self._sender = ConfluentProducer(self._settings)
        return self._sender

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """As of the other client; takes what the producer logged on the way."""
        self._sender.tend()
        return super().poll(limit, timeout_seconds)

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Begins the unit's transaction and lets the library send while the engine encodes on.

        Not where forecasts are joined: what belongs together is known at the end only.
        """
        source = self._progress.sources.get(partition)
        if source is None or self._settings.forecasts_per_record > 1:
            return
        with self._guarded("stage"):
            self._sender.send(self._units.forecasts(partition, forecasts, Source(*source)))
        self._staged += len(forecasts.forecasts)

    def _make_consumer(self) -> ConfluentConsumer:
        consumer = ConfluentConsumer(self._settings, self._assignment)
        self._assignment.consumer = consumer
        return consumer

    def _joined(self) -> bool:
        return bool(self._assignment.changes)

    def _read_from(self, starts: Mapping[TopicPartition, int]) -> None:
        # The library replaces what it reads as a whole, so those that are read already go along, from where they are.
        opened = {
            source: self._progress.read[name]
            for name, source in self._progress.sources.items()
            if name in self._progress.read
        }
        self._consumer.read_from({**opened, **starts})

    def _membership(self) -> Any:
        return self._consumer.group_metadata()

    def _is_fenced(self, error: Exception) -> bool:
        if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
            return error.args[0].code() in _FENCED
        return super()._is_fenced(error)

    def _is_unreachable(self, error: Exception) -> bool:
        if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
            return error.args[0].code() in _UNREACHABLE
        return super()._is_unreachable(error)

    def _columns(self, partition: str, batch: Sequence[Any]) -> Records:
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
