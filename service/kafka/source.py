"""Kafka topics as a source: the partitions that the group assigns to this process, or all of them without a group.

    check    input topics keep all records; no group members where this process must be alone
    open     join the group, or assign
    poll     one batch of the consumer, a `Records` per partition; None when the assignment has changed

After any error the source cannot be used again, because the library's state is unknown.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import structlog
from kafka.structs import TopicPartition

from service.errors import SourceGoneError, TransportError
from service.kafka.client import Consumer
from service.kafka.columns import before, in_turns, name_of
from service.kafka.group import Assignment
from service.kafka.history import quietly
from service.kafka.offsets import GroupProgress
from service.kafka.passed_headers import PassedHeaders
from service.kafka.preconditions import check_alone, check_preconditions, fence_alone
from service.kafka.reader import Reader
from service.kafka.records import headers_limit
from service.kafka.session import KafkaSession
from service.ports import Records, Reject
from service.sources import CommittedPositions, Source
from service.sources.manifest import FileEntry

_log = structlog.get_logger(__name__)

# During a long replay the group's consumer is polled at this interval, far below its maximal poll interval.
_ALIVE_SECONDS: Final = 2.0
_SHOWN_SECONDS: Final = 1.0  # between two commits of offsets for lag tools
_LAST_SHOWN_MS: Final = 1000  # longest wait for the last of these commits
_TOPIC: Final = "kafka-topic:"  # prefix of the file entry that another sink stores with the position


class KafkaSource(Source):
    """`service.sources.Source` over the input topics.

    Args:
        session: of the cluster.
        ahead: number of batches requested at once, so that partitions can be observed in parallel.
        foreign: positions are stored by a sink that is not on this cluster. The group's offsets are then committed
            afterwards, best effort, for tools that display consumer lag, and never read back.
        after_history: the partitions begin with a history, so that `kafka.start` = committed is their end.

    Attributes:
        passed: headers of events that are copied to their forecasts.
    """

    def __init__(
        self, session: KafkaSession, *, ahead: int = 1, foreign: bool = False, after_history: bool = False
    ) -> None:
        settings = session.settings
        self._session, self._settings, self._guarded = session, settings, session.guarded
        self._ahead, self._foreign = ahead, foreign
        usual = "latest" if after_history else "earliest"
        self._start = usual if settings.start == "committed" else settings.start
        self._first: dict[str, int] = {}  # of `first`
        session.stay_alive = self._stay_alive
        self.passed = PassedHeaders(settings.pass_headers, headers_limit(settings.max_request_bytes))
        self._sink: CommittedPositions | None = None
        self._consumer: Consumer | None = None
        self._assignment = Assignment()
        self._seen_changes, self._assigned_at = 0, 0.0
        self._membership: Any = None  # with which the present partitions were assigned
        self._progress = GroupProgress(settings.watchdog)
        self._all: list[str] = []
        self._find_due = 0.0
        self._paused: frozenset[str] = frozenset()
        self._queue: deque[Records] = deque()
        self._alive_due = 0.0
        self._topics: dict[str, str] = {}  # identity of each topic; with a foreign sink only
        self._kept: set[str] = set()  # partitions whose entry is in the sink
        self._shown: dict[TopicPartition, int] = {}  # offsets not yet committed for lag tools
        self._show_due = 0.0

    # Start and end -------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Checks the input topics and, where this process must be alone, the group."""
        with self._guarded("start"):
            check_preconditions(self._settings)

    def open(self, sink: CommittedPositions) -> None:
        """Joins the group and waits for its assignment, or assigns all partitions.

        Raises:
            TransportError: brokers or topics are not available.
            SourceGoneError: a topic is not the one that was read before.
        """
        self._sink = sink
        settings = self._settings
        with self._guarded("start"):
            reader = self._session.history.reader
            inputs = self._find_inputs(reader)
            if settings.stop_at_end:
                self._progress.ends = {name_of(source): reader.committed_end(source) for source in inputs}
            if self._foreign:
                cluster = reader.cluster()
                found = {topic: reader.topic_id(topic) for topic in settings.topics}
                self._topics = {topic: f"{_TOPIC}{cluster}/{number}" for topic, number in found.items() if number}
            consumer = self._consumer = self._session.client.consumer(self._assignment)
            if settings.membership == "alone":
                if not self._foreign:
                    check_alone(settings)
                consumer.assign(inputs)
            else:
                consumer.request_metadata(settings.topics)
                self._join(consumer)
                fence_alone(settings)
            self._take_assignment()
        for name, source in self._progress.sources.items() if self._foreign else ():
            self._check_topic(name, source.topic, sink)

    def _check_topic(self, name: str, topic: str, sink: CommittedPositions) -> None:
        """Checks that a topic was not deleted and recreated, which makes stored offsets invalid."""
        kept, now = [entry.path for entry in sink.files(name) if entry.base >= 0], self._topics.get(topic)
        if not kept or now is None:
            return
        if kept != [now]:
            msg = (
                f'{name}: got the topic "{topic}" ({now.removeprefix(_TOPIC)}), expected the one that was read before '
                f"({kept[0].removeprefix(_TOPIC)}), whose offsets the output has: it was deleted and created again, or "
                "this is another cluster. Set another output.path and state.data_dir to start with this topic"
            )
            raise SourceGoneError(msg)
        self._kept.add(name)

    def _opened(self) -> Consumer:
        if self._consumer is None:
            msg = "the source is not open"
            raise TransportError(msg)
        return self._consumer

    @property
    def consumer(self) -> Consumer:
        """The consumer, for a sink that commits its offsets.

        Raises:
            TransportError: not open.
        """
        return self._opened()

    def _join(self, consumer: Consumer) -> None:
        limit = 2 * self._settings.session_timeout + self._settings.request_timeout
        deadline = time.monotonic() + limit
        while not consumer.joined():
            consumer.poll(200)
            if time.monotonic() > deadline:
                msg = (
                    f'group "{self._settings.group_name}": could not be joined within {limit:g} s; check whether its '
                    "other members respond"
                )
                raise TransportError(msg)

    def close(self) -> None:
        """Closes the consumer within a few seconds. The group reserves its partitions until the session ends."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            if self._shown and not self._guarded.broken:
                self._session.closing(lambda: consumer.show_offsets(self._shown, _LAST_SHOWN_MS))
            wait = 1000 if self._guarded.broken else 3000
            self._session.closing(lambda: consumer.close(wait))

    # Partitions ----------------------------------------------------------------------------------------------

    def _take_assignment(self) -> None:
        """Applies the present assignment; records already polled are discarded and read again."""
        self._seen_changes, self._assigned_at = self._assignment.changes, time.monotonic()
        self._progress.take(self._opened().assignment())
        self._membership = self._opened().membership()
        if self.generation:  # otherwise `open` has just done it
            self._find_inputs(self._session.history.reader)
        self._queue.clear()
        self.passed.keep(self._progress.sources)
        self.generation += 1
        _log.info("partitions", count=len(self._progress.sources), names=sorted(self._progress.sources)[:20])

    @property
    def membership(self) -> Any:
        """The membership with which the present partitions were assigned; brokers reject it once it has ended.

        The membership at the time of the call would be wrong: a process that was suspended beyond its session has none,
        and brokers accept offsets without a membership for a group that is empty.

        Raises:
            TransportError: the assignment has changed since.
        """
        if self._assignment.changes != self._seen_changes:
            msg = "the assignment of partitions has changed; the next poll applies it"
            raise TransportError(msg)
        return self._membership

    def _find_inputs(self, reader: Reader) -> list[TopicPartition]:
        """Returns all present partitions of the input topics, including added ones."""
        self._find_due = time.monotonic() + self._settings.metadata_max_age
        inputs = [TopicPartition(t, p) for t in self._settings.topics for p in reader.partitions(t)]
        self._all = [name_of(source) for source in inputs]
        self._all += sorted(set(self._progress.sources) - set(self._all))  # the group's metadata may be newer
        return inputs

    def _find_added_partitions(self) -> None:
        """Checks periodically for added partitions, of which a process without a group is not notified."""
        if self._settings.membership != "alone" or time.monotonic() < self._find_due:
            return
        inputs = self._find_inputs(self._session.history.reader)
        if set(inputs) != set(self._progress.sources.values()):
            self._opened().assign(inputs)

    def partitions(self) -> Sequence[str]:
        """Returns the partitions assigned to this process, as topic-number."""
        return sorted(self._progress.sources)

    def all_partitions(self) -> Sequence[str]:
        """Returns all partitions of the input topics, as of the start or the last change of the assignment."""
        return self._all

    def place_of(self, partition: str) -> TopicPartition | None:
        """Returns the partition as Kafka's topic and number; None where it is no longer assigned to this process."""
        return self._progress.sources.get(partition)

    def pause(self, partitions: Collection[str]) -> None:
        """Sets the paused partitions; each is opened by the first poll after it is resumed."""
        self._paused = frozenset(partitions)

    def earliest(self, partition: str) -> int:
        """Returns the oldest offset that the brokers still hold."""
        return self._session.history.earliest(self._progress.sources[partition])

    def first(self, partition: str) -> int:
        """Returns the offset at which a first start begins to read, by `kafka.start`."""
        if partition not in self._first:
            place = self._progress.sources[partition]
            self._first[partition] = self._session.history.first(place, self._start)
        return self._first[partition]

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again, outside of the group."""
        return self._session.history.replay(partition, self._progress.sources[partition], range(start, end), limit)

    def _stay_alive(self) -> None:
        """Polls the group's consumer with all partitions paused, so that a long replay does not end the membership."""
        now = time.monotonic()
        if self._consumer is None or now < self._alive_due:
            return
        self._alive_due = now + _ALIVE_SECONDS
        if self._assignment.changes == self._seen_changes:
            self._consumer.pause(*self._progress.sources.values())
            self._progress.read.clear()  # so that the next poll seeks every partition to its committed offset
            self._queue.clear()
        self._consumer.poll(0)

    # The loop ------------------------------------------------------------------------------------------------

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records of one partition, or None; also None when `generation` has changed."""
        if self._queue:
            return self._next()
        with self._guarded("poll"):
            consumer = self._opened()
            self._find_added_partitions()
            if self._assignment.changes != self._seen_changes:
                self._take_assignment()
                return None
            self._open_partitions(consumer)
            self._show_offsets(consumer)
            polled = consumer.poll(round(timeout_seconds * 1000), max_records=limit * self._ahead)
            if self._assignment.changes != self._seen_changes:
                self._take_assignment()
                return None
            self._progress.check_silence(consumer, polled, self._session.history.reader)
        for source, batch in in_turns(polled, limit):
            name = name_of(source)
            records = consumer.columns(name, batch)
            end = self._progress.ends.get(name)
            if end is not None and records.next_position > end:
                records = before(records, end)
            if len(records):
                self._progress.read[name] = records.next_position
                self._queue.append(records)
        return self._next() if self._queue else None

    def _next(self) -> Records:
        records = self._queue.popleft()
        self.passed.note(records)
        return records

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:  # noqa: ARG002 - `poll` applied the limit
        """Returns the next records of the last poll."""
        return self._next() if self._queue and self._queue[0].partition not in taken else None

    def _open_partitions(self, consumer: Consumer) -> None:
        """Starts to read further partitions: from the committed offset on, or from the oldest."""
        progress, starts = self._progress, {}
        reading = {source: progress.read[name] for name, source in progress.sources.items() if name in progress.read}
        for name, source in progress.sources.items():
            if name not in progress.read and name not in self._paused:
                committed = self._committed(name)
                progress.read[name] = starts[source] = self._begin(name) if committed is None else committed
        if starts:
            consumer.read_from(starts, reading)

    def _begin(self, partition: str) -> int:
        """Returns the offset at which a first start begins; that it skips older ones is a batch of its own."""
        oldest = self._oldest(partition) if self._start == "earliest" else self.earliest(partition)
        begin = max(oldest, self.first(partition))
        if begin > oldest:
            _log.info("records before kafka.start are left out", partition=partition, offset=begin)
            self._queue.append(Records(partition, [], begin, []))
        return begin

    def _oldest(self, partition: str) -> int:
        """Returns the offset at which a first start begins to read, and logs whether records before it are gone."""
        offset = self.earliest(partition)
        if offset:
            _log.warning("brokers have deleted the first records of the input", partition=partition, offset=offset)
        return offset

    def _committed(self, partition: str) -> int | None:
        """Returns the position committed in the sink."""
        return None if self._sink is None else self._sink.committed(partition)

    def originals(self, partition: str, rejects: Sequence[Reject]) -> Sequence[Reject]:  # noqa: ARG002 - of Kafka nothing is cut here
        """Returns the rejects as they are."""
        return rejects

    def changes(self, partition: str, position: int) -> tuple[Sequence[FileEntry], Sequence[tuple[int, str]]]:  # noqa: ARG002 - the topic is enough
        """Returns nothing for the group's offsets; for another sink an entry with the topic's identity, once."""
        if not self._foreign:
            return (), ()
        topic = self._topics.get(self._progress.sources[partition].topic)
        return ([FileEntry(topic, 0)] if topic and partition not in self._kept else []), ()

    def published(self, partition: str, position: int) -> None:
        """Notes the offset for lag tools, where it is not committed in the group."""
        if self._foreign:
            self._kept.add(partition)
            self._shown[self._progress.sources[partition]] = position

    def _show_offsets(self, consumer: Consumer) -> None:
        """Commits offsets for lag tools, periodically; the result is ignored."""
        if self._shown and time.monotonic() >= self._show_due:
            self._show_due = time.monotonic() + _SHOWN_SECONDS
            shown, self._shown = self._shown, {}
            quietly(lambda: consumer.show_offsets(shown, 0))

    def release(self, partition: str, position: int) -> None:
        """Does nothing: brokers apply their own retention."""

    def finished(self) -> bool:
        """Returns whether all records present at the start were published; only with `kafka.stop_at_end`."""
        if not self._settings.stop_at_end or self._guarded.broken or self._consumer is None or self._queue:
            return False
        if self._assignment.changes != self._seen_changes:
            return False
        if not self._progress.sources:
            # An empty assignment is normal during a rebalance; after a full session, other members have everything.
            return time.monotonic() - self._assigned_at > self._settings.session_timeout
        return self._progress.ended(self._consumer, self._committed)

    def lag(self) -> dict[str, int]:
        """Returns the consumer lag: offsets between committed position and end of each partition, as last known."""
        return self._progress.lag(self._opened(), self._committed)
