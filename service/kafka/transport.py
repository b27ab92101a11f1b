"""Kafka as source and sink through kafka-python: `service.ports.Transport` with exactly-once effect.

    start    lock of the folder -> fence the predecessor -> models -> join the group
    poll     one batch of the group's consumer, a `Records` per partition; nothing when the assignment changed
    publish  one transaction: forecasts, rejects, adoption, model, input offset

Exactly once means: read with read_committed, the topics hold every forecast of every event once. Any error makes the
transport useless, as the library's state after an error is not to be trusted; the caller makes a new one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from kafka.structs import ConsumerGroupMetadata, TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.folder_lock import FolderLock
from service.kafka.cloudevents import Envelopes, PassedHeaders
from service.kafka.columns import before, columns, in_turns, name_of
from service.kafka.fencing import FencedBefore
from service.kafka.group import Assignment, group_consumer
from service.kafka.guard import Guard
from service.kafka.history import History, quietly
from service.kafka.kafka_python import Producer, TransactionalProducer, is_fenced, is_unreachable
from service.kafka.models import ModelShelf, ModelsTopic
from service.kafka.offsets import Progress
from service.kafka.preconditions import check_preconditions
from service.kafka.reader import Reader
from service.kafka.records import Source, headers_limit
from service.kafka.runs import Runs, mark_of
from service.kafka.units import Units
from service.kafka.watchdog import Watchdog
from service.ports import Adoption, Encoded, OutputIdentity, Records, Unit

_log = structlog.get_logger(__name__)

# While a replay takes its time the group's consumer is polled this often, far within its poll interval.
_ALIVE_SECONDS: Final = 2.0


class KafkaTransport:
    """`service.ports.Transport` over kafka-python. One thread uses it. See there for the guarantees.

    Args:
        settings: brokers, topics, names, limits.
        folder: where the lock is; two processes with one folder exclude each other here already.
        shelf: the models of this machine.
        fenced: shared with the transports before and after this one.
        watchdog: ends the process when a call does not come back.
        ahead: batches asked for at once, so that partitions can be observed side by side.
    """

    atomic = True

    def __init__(
        self,
        settings: KafkaConfig,
        folder: Path,
        shelf: ModelShelf,
        fenced: FencedBefore | None = None,
        watchdog: Watchdog | None = None,
        ahead: int = 1,
    ) -> None:
        self._settings, self._folder, self._ahead = settings, folder, ahead
        self._watchdog = watchdog or Watchdog(settings.watchdog)
        self._guarded = Guard(
            settings.transactional_id, self._watchdog, fenced or FencedBefore(), self._is_fenced, self._is_unreachable
        )
        self._models = ModelsTopic(shelf, settings.models)
        self._history = History(settings, self._models, self._guarded, self._stay_alive)
        self._envelopes = Envelopes()
        self._passed = PassedHeaders(settings.pass_headers, headers_limit(settings.max_request_bytes))
        self._lock = FolderLock(folder / "kafka.lock", folder, "give each its own state.data_dir")
        self._producer: Producer | None = None
        self._consumer: Any = None
        self._assignment = Assignment()
        self._seen_changes, self._assigned_at = 0, 0.0
        self.generation = 0
        self._progress = Progress(settings.watchdog)
        self._everywhere: list[str] = []
        self._look_due = 0.0
        self._held: frozenset[str] = frozenset()
        self._queue: deque[Records] = deque()
        self._counts: dict[str, int] = {}
        self._units = Units(settings, self._counts, self._models, self._envelopes, self._passed)
        self._runs = Runs(settings, self._history, self._counts)
        self._alive_due = 0.0
        self._staged = 0  # forecasts of the next unit that the producer has already
        self.identity = OutputIdentity()

    # Start and end -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes the lock, fences a predecessor, reads the models topic, joins the group and waits for partitions.

        Raises:
            TransportBusyError: another process holds the folder, or our name is in use elsewhere.
            TransportError: brokers or topics are not there.
            ConfigurationError: an input topic is one that cannot be read again.
        """
        self._lock.take()
        self._watchdog.start()
        settings = self._settings
        with self._guarded("start"):
            self._producer = self._make_producer()
            check_preconditions(settings)
            # First, so that the predecessor's last transaction has ended before anything is read.
            self._producer.fence()
            for topic in (settings.forecasts, settings.rejects, settings.adoptions, settings.models):
                self._counts[topic] = self._producer.partitions(topic)
            reader = self._history.open()
            inputs = self._look_for_inputs(reader)
            self.identity = self._identify(reader.cluster())
            self._models.read(reader)
            if settings.stop_at_end:
                self._progress.ends = {name_of(source): reader.committed_end(source) for source in inputs}
            self._consumer = self._make_consumer()
            if settings.membership == "alone":
                self._consumer.assign(inputs)
                self._assignment.on_partitions_assigned(inputs)
            else:
                for topic in settings.topics:
                    self._consumer.partitions_for_topic(topic)  # else the first join gets no partitions
                self._join()
            self._take_assignment()

    def _identify(self, cluster: str) -> OutputIdentity:
        """Positions are those of a group, of what stands in a topic, of one cluster; nobody copies that."""
        group, topic = self._settings.group_name, self._settings.forecasts
        place = f'topic "{topic}" of group "{group}" in Kafka cluster {cluster}'
        return OutputIdentity(f"kafka/{cluster}/{group}/{topic}" if cluster else "", place=place)

    def _make_producer(self) -> Producer:
        return TransactionalProducer(self._settings)

    def _make_consumer(self) -> Any:
        return group_consumer(self._settings, self._assignment)

    def _joined(self) -> bool:
        return bool(self._assignment.changes) and self._consumer.group_metadata().state == "<stable>"

    def _join(self) -> None:
        deadline = time.monotonic() + 2 * self._settings.session_timeout + self._settings.request_timeout
        while not self._joined():
            self._consumer.poll(200)
            if time.monotonic() > deadline:
                msg = f'group "{self._settings.group_name}": could not be joined; is one of its members stuck?'
                raise TransportError(msg)

    def close(self) -> None:
        """Lets go of everything within a few seconds. The group keeps our partitions for us until the session ends."""
        broken = bool(self._guarded.broken)
        with self._watchdog.watching("close"):
            if self._consumer is not None:
                quietly(lambda: self._consumer.close(autocommit=False, timeout_ms=1000 if broken else 3000))
            self._history.close()
            if self._producer is not None:
                producer = self._producer
                quietly(lambda: producer.close(broken=broken))
        self._consumer = self._producer = None
        self._watchdog.close()
        self._lock.release()

    def _is_unreachable(self, error: Exception) -> bool:
        return is_unreachable(error)

    def _is_fenced(self, error: Exception) -> bool:
        return is_fenced(error)

    # Partitions ----------------------------------------------------------------------------------------------

    def _take_assignment(self) -> None:
        """Notes what is ours now; everything already polled is forgotten and comes again."""
        self._seen_changes, self._assigned_at = self._assignment.changes, time.monotonic()
        self._progress.take(self._consumer.assignment())
        if self.generation:  # else it was looked for just before
            self._look_for_inputs(self._history.reader)
        self._queue.clear()
        self._envelopes.keep(self._progress.sources)
        self._passed.keep(self._progress.sources)
        self.generation += 1
        _log.info("partitions", count=len(self._progress.sources), names=sorted(self._progress.sources)[:20])

    def _look_for_inputs(self, reader: Reader) -> list[TopicPartition]:
        """All partitions of the input topics as they are now, those that were added among them."""
        self._look_due = time.monotonic() + self._settings.metadata_max_age
        inputs = [TopicPartition(t, p) for t in self._settings.topics for p in reader.partitions(t)]
        self._everywhere = [name_of(source) for source in inputs]
        self._everywhere += sorted(set(self._progress.sources) - set(self._everywhere))  # the group may know more
        return inputs

    def _look_for_more(self) -> None:
        """Alone nobody tells of partitions that were added: looks for them now and then."""
        if self._settings.membership != "alone" or time.monotonic() < self._look_due:
            return
        inputs = self._look_for_inputs(self._history.reader)
        if set(inputs) != set(self._progress.sources.values()):
            self._consumer.assign(inputs)
            self._assignment.on_partitions_assigned(inputs)

    def partitions(self) -> Sequence[str]:
        """The partitions that the group gave this process, as topic-number."""
        return sorted(self._progress.sources)

    def everywhere(self) -> Sequence[str]:
        """All partitions of the input topics, as they were at the start or the last change of ours."""
        return self._everywhere

    def hold(self, partitions: Collection[str]) -> None:
        """Partitions that stay paused; each is opened by the first poll after it is let go."""
        self._held = frozenset(partitions)

    def committed(self, partition: str) -> int | None:
        """The committed offset of the group; waits while a transaction that moves it is being ended."""
        if partition not in self._progress.committed:
            with self._guarded("committed"):
                source = self._progress.sources[partition]
                limit = round((self._settings.transaction_timeout + self._settings.request_timeout) * 1000)
                found = self._consumer.committed(source, metadata=True, timeout_ms=limit)
            offset, mark = (None, "") if found is None else (found.offset, found.metadata)
            self._runs.enter(Source(*source), offset, mark)
            self._progress.committed[partition] = offset
        return self._progress.committed[partition]

    def run(self, partition: str) -> int:
        """The run that the committed offset belongs to, or the one that begins."""
        self.committed(partition)
        return self._runs.of(partition)

    def earliest(self, partition: str) -> int:
        """The oldest offset that the brokers still hold."""
        return self._history.earliest(self._progress.sources[partition])

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """All committed adoptions of the partition; the models that they name are on the shelf when it returns."""
        self.committed(partition)  # from then on nothing is open that a predecessor wrote about this partition
        source, count = self._progress.sources[partition], self._counts[self._settings.adoptions]
        return self._history.adoptions(Source(*source), count, self._runs.of(partition))

    def models_needed(self) -> frozenset[str]:
        """All that the models topic holds: it never forgets one, and every start would bring them back."""
        return self._models.published

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) once more beside the group."""
        return self._history.replay(partition, self._progress.sources[partition], range(start, end), limit)

    def _stay_alive(self) -> None:
        """Polls the group's consumer with everything paused, so that a long replay does not cost our membership."""
        now = time.monotonic()
        if self._consumer is None or now < self._alive_due:
            return
        self._alive_due = now + _ALIVE_SECONDS
        if self._assignment.changes == self._seen_changes:
            self._consumer.pause(*self._progress.sources.values())
            self._progress.read.clear()  # so that the next poll puts every partition back to where it was
            self._queue.clear()
        self._consumer.poll(0)

    # The loop ------------------------------------------------------------------------------------------------

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """The next records of one partition, or None; None too when `generation` has changed."""
        if self._queue:
            return self._next()
        with self._guarded("poll"):
            self._look_for_more()
            if self._assignment.changes != self._seen_changes:
                self._take_assignment()
                return None
            self._models.look(self._history.reader)
            self._open()
            polled = self._consumer.poll(round(timeout_seconds * 1000), max_records=limit * self._ahead)
            if self._assignment.changes != self._seen_changes:
                self._take_assignment()
                return None
            self._progress.look_for_silence(self._consumer, polled, self._history.reader)
        for source, batch in in_turns(polled, limit):
            name = name_of(source)
            records = self._columns(name, batch)
            end = self._progress.ends.get(name)
            if end is not None and records.next_position > end:
                records = before(records, end)
            if len(records):
                self._progress.read[name] = records.next_position
                self._queue.append(records)
        return self._next() if self._queue else None

    def _next(self) -> Records:
        records = self._envelopes.open(self._queue.popleft())
        self._passed.note(records)
        return records

    def another(self, limit: int, taken: Collection[str]) -> Records | None:  # noqa: ARG002 - the poll has cut them
        """The next records that the last poll brought along."""
        return self._next() if self._queue and self._queue[0].partition not in taken else None

    def _open(self) -> None:
        """Lets partitions be read that are not yet: from the committed offset on, or from the oldest."""
        starts = {}
        for name, source in self._progress.sources.items():
            if name not in self._progress.read and name not in self._held:
                committed = self.committed(name)
                self._progress.read[name] = starts[source] = self.earliest(name) if committed is None else committed
        if starts:
            self._read_from(starts)

    def _read_from(self, starts: Mapping[TopicPartition, int]) -> None:
        for source, start in starts.items():
            self._consumer.seek(source, start)
            self._consumer.resume(source)

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Does nothing: this client sends in the same interpreter, so nothing would be won."""

    def publish(self, unit: Unit) -> None:
        """One transaction: forecasts, rejects, adoption and its model, and the input offset.

        Raises:
            ValueError: the unit begins before the committed offset.
            TransportError: not committed, or not known; a new transport will say.
        """
        source = self._progress.sources.get(unit.partition)
        if source is None:
            msg = f'partition "{unit.partition}" is not ours any more'
            raise TransportError(msg)
        if unit.next_position < unit.position or unit.position < (self.committed(unit.partition) or 0):
            msg = f"got a unit over [{unit.position}, {unit.next_position}), committed is another position"
            raise ValueError(msg)
        with self._guarded("publish"):
            messages = self._units.messages(unit, Source(*source), self._staged)
            messages += self._runs.messages(Source(*source), unit.position)
            if self._producer is None:
                msg = "the transport is not started"
                raise TransportError(msg)
            mark = mark_of(self._runs.of(unit.partition), unit.next_position)
            self._producer.transact(messages, {source: unit.next_position}, self._membership(), mark)
            self._runs.recorded(Source(*source))
            self._models.written(messages)
        self._staged = 0
        self._progress.committed[unit.partition] = unit.next_position

    def _membership(self) -> Any:
        """As it is now: a membership of before would not fence us off partitions that we lost."""
        if self._settings.membership == "alone":
            return ConsumerGroupMetadata(self._settings.group_name)
        return self._consumer.group_metadata()

    def _columns(self, partition: str, batch: Sequence[Any]) -> Records:
        return columns(partition, batch)

    def finished(self) -> bool:
        """Whether everything that was there at the start was published; only with `kafka.stop_at_end`."""
        if not self._settings.stop_at_end or self._guarded.broken or self._consumer is None or self._queue:
            return False
        if self._assignment.changes != self._seen_changes:
            return False
        if not self._progress.sources:
            # Between two assignments nothing is ours for a moment; for a session long it is that others have it all.
            return time.monotonic() - self._assigned_at > self._settings.session_timeout
        for name in self._progress.read:
            self.committed(name)
        return self._progress.ended(self._consumer)

    def outcomes(self) -> None:
        """Not kept: topics hold forecasts and rejects, and late events leave nothing there."""

    def release(self, partition: str, position: int) -> None:
        """Does nothing: what the source keeps is not for this process to say."""

    def lag(self) -> dict[str, int]:
        """Offsets between what is committed and the end of each partition, as far as the last answers told."""
        return self._progress.lag(self._consumer)
