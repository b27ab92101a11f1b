"""Kafka topics as a sink: forecasts, rejects, adoption, model and position of a unit in one transaction.

Exactly once means: read with read_committed, the topics hold every forecast of every event once. After any error the
sink cannot be used again, because the library's state is unknown.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

from kafka.structs import TopicPartition

from service.errors import TransportError
from service.kafka.client import Producer
from service.kafka.models import ModelShelf, ModelsTopic
from service.kafka.oldest_offsets import OldestOffsets
from service.kafka.passed_headers import PassedHeaders
from service.kafka.records import Message, Origin, Past
from service.kafka.session import KafkaSession
from service.kafka.units import Units
from service.ports import Adoption, Encoded, Outcomes, OutputIdentity, TimeMark, Unit, marks_from
from service.sinks import Sink
from service.sources.manifest import FileEntry

_MOST_DELETIONS: Final = 1000  # of time marks with one unit


class Commit(NamedTuple):
    """The records and offsets that commit a position with the outputs; see `service.kafka.client.Producer.transact`."""

    messages: Sequence[Message]
    offsets: Mapping[TopicPartition, int]
    group: Any
    mark: str


class Positions(Protocol):
    """Storage of the positions of the source partitions on Kafka: `GroupPositions` or `TopicPositions`."""

    @property
    def topics(self) -> Sequence[str]:
        """Topics that it needs."""

    def identity(self, cluster: str) -> OutputIdentity:
        """Returns the identity of the output, which includes the storage of its positions."""

    def open(self) -> None:
        """Prepares for use. Predecessors are fenced already, and the session has the partition counts of the topics."""

    def origin(self, partition: str) -> Origin | None:
        """Returns the partition for outgoing records; None where it is no longer assigned to this process."""

    def committed(self, partition: str) -> int | None:
        """See `service.sinks.Sink`."""

    def files(self, partition: str) -> Sequence[FileEntry]:
        """See `service.sinks.Sink`."""

    def run(self, partition: str) -> int:
        """See `service.sinks.Sink`."""

    def outcomes(self, partitions: Sequence[str]) -> Outcomes | None:
        """See `service.sinks.Sink`."""

    def forget(self) -> None:
        """See `service.sinks.Sink`."""

    def commit(
        self, unit: Unit, origin: Origin, files: Sequence[FileEntry], removed: Sequence[tuple[int, str]]
    ) -> Commit:
        """Returns the records and offsets that commit the position of a unit."""

    def recorded(self, unit: Unit) -> None:
        """Called after the transaction with the result of `commit` is committed."""


class KafkaSink(Sink):
    """`service.sinks.Sink` over the output topics.

    Args:
        session: of the cluster.
        positions: storage of the positions.
        shelf: the models on this machine.
        passed: headers of events that are copied to their forecasts; the source fills it.
    """

    def __init__(
        self, session: KafkaSession, positions: Positions, shelf: ModelShelf, passed: PassedHeaders | None = None
    ) -> None:
        settings = session.settings
        self._session, self._settings, self._guarded = session, settings, session.guarded
        self._positions = positions
        self._models = ModelsTopic(shelf, settings.models)
        self._counts = session.counts
        self._units = Units(settings, self._counts, self._models, passed or PassedHeaders(()))
        self._producer: Producer | None = None
        self._staged = 0  # number of forecasts of the next unit already sent
        self._marks: dict[str, list[TimeMark]] = {}  # all that are stored of the partitions of this process
        self._released: dict[str, float] = {}  # by partition: time marks before it go with the next unit
        self._oldest = OldestOffsets(settings)
        self._identity = OutputIdentity()

    def open(self) -> None:
        """Fences a predecessor and reads the models topic.

        Raises:
            TransportBusyError: another process uses the same name.
            TransportError: brokers or topics are not available.
        """
        settings = self._settings
        with self._guarded("start"):
            producer = self._producer = self._session.client.producer()
            # First, so that the predecessor's last transaction has ended before anything is read.
            producer.fence()
            topics = (settings.forecasts, settings.rejects, settings.adoptions, settings.models)
            for topic in (*topics, *self._positions.topics):
                self._counts[topic] = producer.partitions(topic)
            reader = self._session.history.reader
            self._identity = self._positions.identity(reader.cluster())
            self._models.read(reader)
        self._positions.open()

    @property
    def identity(self) -> OutputIdentity:
        """Cluster, topic of forecasts, and storage of the positions; such an output cannot be copied."""
        return self._identity

    def committed(self, partition: str) -> int | None:
        """Returns the committed position."""
        return self._positions.committed(partition)

    def files(self, partition: str) -> Sequence[FileEntry]:
        """Returns the source's file entries stored with the position."""
        return self._positions.files(partition)

    def run(self, partition: str) -> int:
        """Returns the run of the committed position, or the new run."""
        self.committed(partition)
        return self._positions.run(partition)

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """Returns all committed adoptions of the partition; afterwards the shelf has their models."""
        past = self._past(partition)
        with self._guarded("adoptions"):
            self._models.read(self._session.history.reader)
        return past.adoptions(self._positions.run(partition))

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks of the partition from a position on.

        Raises:
            SourceGoneError: some of them were deleted.
        """
        past, run = self._past(partition), self._positions.run(partition)
        found = self._marks[partition] = past.marks(run)
        if found:
            self._oldest_offset(self._origin(partition))  # is known by the first `release`
        return marks_from(partition, found, start, past.deleted.get(run))

    def release(self, partition: str, position: int) -> None:
        """Deletes the time marks before a position with the next unit of the partition.

        While snapshots of a topic's partition are not shared, another process may restore it from the topic alone: then
        only those go that are before the oldest record that the brokers hold, once they have said which that is.
        """
        marks, origin = self._marks.get(partition), self._origin(partition)
        if not marks or marks[0].position >= position:
            return
        oldest = self._oldest_offset(origin)
        if oldest is not None:
            self._released[partition] = min(position, oldest)

    def _oldest_offset(self, origin: Origin) -> float | None:
        """Returns the offset from which on another process may need the time marks; None: not known yet."""
        if origin.kafka and not self._settings.share_snapshots:
            return self._oldest.of(TopicPartition(origin.topic, origin.partition))
        return math.inf

    def _deleted(self, partition: str) -> list[TimeMark]:
        """Returns the time marks that go with the next unit of a partition; they no longer count as stored."""
        position, marks = self._released.pop(partition, None), self._marks.get(partition)
        if position is None or not marks:
            return []
        count = bisect_left(marks, position, hi=min(len(marks), _MOST_DELETIONS), key=attrgetter("position"))
        gone, self._marks[partition] = marks[:count], marks[count:]
        return gone

    def _past(self, partition: str) -> Past:
        self.committed(partition)  # afterwards no transaction of a predecessor for this partition is open
        return self._session.history.past(self._origin(partition), self._counts[self._settings.adoptions])

    def models_needed(self, earliest: Callable[[str], int]) -> frozenset[str]:  # noqa: ARG002 - see docstring
        """Returns all models of the models topic: it keeps them, so every start would download deleted ones again."""
        return self._models.published

    def outcomes(self, partitions: Sequence[str]) -> Outcomes | None:
        """Returns the counts stored with the positions."""
        return self._positions.outcomes(partitions)

    def maintain(self) -> None:
        """Downloads models that other instances have promoted, and processes the library's log."""
        with self._guarded("poll"):
            self._models.read_new(self._session.history.reader)
            if self._producer is not None:
                self._producer.maintain()

    def forget(self) -> None:
        """Discards cached positions and time marks: another process may have deleted more since."""
        self._positions.forget()
        self._marks.clear()
        self._released.clear()
        self._oldest.forget()

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Sends forecasts in the unit's transaction, if the client can send while the engine continues to encode.

        Does nothing where forecasts are joined: the groups are known only at the end.
        """
        producer, origin = self._producer, self._positions.origin(partition)
        if producer is None or not producer.stages or origin is None or self._settings.forecasts_per_record > 1:
            return
        with self._guarded("stage"):
            producer.send(self._units.forecasts(partition, forecasts, origin))
        self._staged += len(forecasts.forecasts)

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Writes one transaction: forecasts, rejects, adoption and its model, and the position with its file entries.

        Raises:
            ValueError: the unit begins before the committed position.
            TransportError: not committed, or unknown; a new start finds out.
        """
        origin = self._origin(unit.partition)
        committed = self.committed(unit.partition)
        if unit.next_position < unit.position or (committed is not None and unit.position < committed):
            msg = (
                f"got a unit over [{unit.position}, {unit.next_position}), expected one that starts at the committed "
                f"position {committed} or later"
            )
            raise ValueError(msg)
        with self._guarded("publish"):
            if self._producer is None:
                msg = "the sink is not open"
                raise TransportError(msg)
            commit = self._positions.commit(unit, origin, files, removed)
            deleted = self._deleted(unit.partition)
            messages = [*self._units.messages(unit, origin, self._staged, deleted), *commit.messages]
            self._producer.transact(messages, commit.offsets, commit.group, commit.mark)
            self._positions.recorded(unit)
            if unit.mark is not None:
                self._marks.setdefault(unit.partition, []).append(unit.mark)
            self._models.written(messages)
        self._staged = 0

    def _origin(self, partition: str) -> Origin:
        origin = self._positions.origin(partition)
        if origin is None:
            msg = f'partition "{partition}" is no longer assigned to this process'
            raise TransportError(msg)
        return origin

    def close(self) -> None:
        """Closes the producer within a few seconds."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._session.closing(lambda: producer.close(broken=bool(self._guarded.broken)))
