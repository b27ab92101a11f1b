"""Kafka topics as a sink: forecasts, rejects, adoption, model and position of a unit in one transaction.

Exactly once means: read with read_committed, the topics hold every forecast of every event once. Any error makes the
sink useless, as the library's state after an error is not to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from kafka.structs import TopicPartition

from service.errors import TransportError
from service.kafka.client import Producer
from service.kafka.cloudevents import PassedHeaders
from service.kafka.models import ModelShelf, ModelsTopic
from service.kafka.records import Message, Origin
from service.kafka.session import KafkaSession
from service.kafka.units import Units
from service.ports import Adoption, Encoded, Outcomes, OutputIdentity, Unit
from service.sinks import Sink
from service.sources.manifest import FileEntry


class Commit(NamedTuple):
    """What commits a position, in the transaction of the outputs; as of `service.kafka.client.Producer.transact`."""

    messages: Sequence[Message]
    offsets: Mapping[TopicPartition, int]
    group: Any
    mark: str


class Positions(Protocol):
    """Where the position of each source partition stands on Kafka: `GroupPositions` or `TopicPositions`."""

    @property
    def topics(self) -> Sequence[str]:
        """Topics that are needed for it."""

    def identity(self, cluster: str) -> OutputIdentity:
        """Of the output, by the place of its positions."""

    def open(self) -> None:
        """Gets ready. Predecessors are fenced by now, and the session has the counts of topics."""

    def origin(self, partition: str) -> Origin | None:
        """The partition as outgoing records name it; None where it is not ours any more."""

    def committed(self, partition: str) -> int | None:
        """As of `service.sinks.Sink`."""

    def files(self, partition: str) -> Sequence[FileEntry]:
        """As of `service.sinks.Sink`."""

    def run(self, partition: str) -> int:
        """As of `service.sinks.Sink`."""

    def outcomes(self, partitions: Sequence[str]) -> Outcomes | None:
        """As of `service.sinks.Sink`."""

    def forget(self) -> None:
        """As of `service.sinks.Sink`."""

    def commit(
        self, unit: Unit, origin: Origin, files: Sequence[FileEntry], removed: Sequence[tuple[int, str]]
    ) -> Commit:
        """What commits the position of a unit."""

    def recorded(self, unit: Unit) -> None:
        """The transaction with what `commit` gave is committed."""


class KafkaSink(Sink):
    """`service.sinks.Sink` over the topics of outputs.

    Args:
        session: on the cluster.
        positions: where positions stand.
        shelf: the models of this machine.
        passed: headers of events that their forecasts carry on; the source fills it.
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
        self._staged = 0  # forecasts of the next unit that the producer has already
        self._identity = OutputIdentity()

    def open(self) -> None:
        """Fences a predecessor and reads the models topic.

        Raises:
            TransportBusyError: our name is in use elsewhere.
            TransportError: brokers or topics are not there.
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
        """By cluster, topic of forecasts, and where positions stand; nobody copies that."""
        return self._identity

    def committed(self, partition: str) -> int | None:
        """The committed position."""
        return self._positions.committed(partition)

    def files(self, partition: str) -> Sequence[FileEntry]:
        """What the source has had kept with it."""
        return self._positions.files(partition)

    def run(self, partition: str) -> int:
        """The run that the committed position belongs to, or the one that begins."""
        self.committed(partition)
        return self._positions.run(partition)

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """All committed adoptions of the partition; the models that they name are on the shelf when it returns."""
        self.committed(partition)  # from then on nothing is open that a predecessor wrote about this partition
        history = self._session.history
        past = history.past(self._origin(partition), self._counts[self._settings.adoptions])
        with self._guarded("adoptions"):
            self._models.read(history.reader)
        return past.adoptions(self._positions.run(partition))

    def models_needed(self, earliest: Callable[[str], int]) -> frozenset[str]:  # noqa: ARG002 - see below
        """All that the models topic holds: it never forgets one, and every start would bring them back."""
        return self._models.published

    def outcomes(self, partitions: Sequence[str]) -> Outcomes | None:
        """As they are kept with the positions."""
        return self._positions.outcomes(partitions)

    def tend(self) -> None:
        """Takes up models that others have promoted, and what the library logged."""
        with self._guarded("poll"):
            self._models.look(self._session.history.reader)
            if self._producer is not None:
                self._producer.tend()

    def forget(self) -> None:
        """Positions are asked for anew."""
        self._positions.forget()

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Begins the unit's transaction, where the client sends while the engine encodes on.

        Not where forecasts are joined: what belongs together is known at the end only.
        """
        producer, origin = self._producer, self._positions.origin(partition)
        if producer is None or not producer.stages or origin is None or self._settings.forecasts_per_record > 1:
            return
        with self._guarded("stage"):
            producer.send(self._units.forecasts(partition, forecasts, origin))
        self._staged += len(forecasts.forecasts)

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """One transaction: forecasts, rejects, adoption and its model, and the position with what belongs to it.

        Raises:
            ValueError: the unit begins before the committed position.
            TransportError: not committed, or not known; a new start will say.
        """
        origin = self._origin(unit.partition)
        if unit.next_position < unit.position or unit.position < (self.committed(unit.partition) or 0):
            msg = f"got a unit over [{unit.position}, {unit.next_position}), committed is another position"
            raise ValueError(msg)
        with self._guarded("publish"):
            if self._producer is None:
                msg = "the sink is not open"
                raise TransportError(msg)
            commit = self._positions.commit(unit, origin, files, removed)
            messages = [*self._units.messages(unit, origin, self._staged), *commit.messages]
            self._producer.transact(messages, commit.offsets, commit.group, commit.mark)
            self._positions.recorded(unit)
            self._models.written(messages)
        self._staged = 0

    def _origin(self, partition: str) -> Origin:
        origin = self._positions.origin(partition)
        if origin is None:
            msg = f'partition "{partition}" is not ours any more'
            raise TransportError(msg)
        return origin

    def close(self) -> None:
        """Lets go of the producer within a few seconds."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._session.closing(lambda: producer.close(broken=bool(self._guarded.broken)))
