"""Reads the present contents of topics outside of the group, with separate readers that commit nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import structlog
from kafka.structs import TopicPartition

from service.config.base import epoch_ms
from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.columns import columns
from service.kafka.guard import ClientGuard
from service.kafka.reader import Reader
from service.kafka.records import Origin, Past, PastRecords
from service.ports import Records

_log = structlog.get_logger(__name__)


class TopicHistory:
    """The past contents of topics.

    Args:
        settings: of the session.
        guarded: wraps every call of the library.
        stay_alive: called during long reads.
    """

    def __init__(self, settings: KafkaConfig, guarded: ClientGuard, stay_alive: Callable[[], None]) -> None:
        self._settings, self._guarded, self._stay_alive = settings, guarded, stay_alive
        self._reader: Reader | None = None
        self._adoptions: dict[TopicPartition, PastRecords] = {}

    def open(self) -> None:
        """Creates the reader for queries."""
        with self._guarded("start"):
            self._reader = Reader(self._settings, self._stay_alive)

    @property
    def reader(self) -> Reader:
        """The reader for queries.

        Raises:
            TransportError: not opened.
        """
        if self._reader is None:
            msg = "the transport is not started"
            raise TransportError(msg)
        return self._reader

    def earliest(self, source: TopicPartition) -> int:
        """Returns the oldest offset that the brokers still hold."""
        with self._guarded("earliest"):
            return self.reader.earliest(source)

    def first(self, source: TopicPartition, start: str) -> int:
        """Returns the offset at which a first start begins: that of `kafka.start`, resolved to a time or an end."""
        with self._guarded("first"):
            reader = self.reader
            if start == "earliest":
                return reader.earliest(source)
            found = None if start == "latest" else reader.offset_at(source, epoch_ms(start))
            return reader.committed_end(source) if found is None else found

    def past(self, source: Origin, partitions: int) -> Past:
        """Returns runs, adoptions and time marks of a partition; reads what was written since the last call.

        A topic that was deleted and created again is read from its begin. It is recognised by its identity, or, with
        brokers older than 2.8, by its offsets, if it has fewer records than the last one.

        Args:
            source: the partition.
            partitions: number of partitions of the topic of adoptions.
        """
        with self._guarded("adoptions"):
            where = TopicPartition(self._settings.adoptions, source.partition % partitions)
            known, topic_id = self._adoptions.get(where, PastRecords()), self.reader.topic_id(where.topic)
            end = self.reader.end(where)
            if end != known.end or topic_id != known.topic_id:
                begin = self.reader.earliest(where)
                if not begin <= known.end <= end or topic_id != known.topic_id:
                    known = PastRecords(topic_id)  # the first read, or the topic was deleted and created again
                for batch in self.reader.read(where, max(begin, known.end), end, 1000):
                    for record in batch:
                        known.add(record.key or b"", record.value)
                known.end, self._adoptions[where] = end, known
            return known.of(source)

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        """Returns the oldest offset of a partition, and the end of its readable records."""
        with self._guarded("bounds"):
            return self.reader.earliest(place), self.reader.committed_end(place)

    def records(self, place: TopicPartition, start: int, end: int) -> list[Any]:
        """Returns the records of [start, end) of any partition.

        Raises:
            SourceGoneError: the brokers no longer hold `start`.
        """
        with self._guarded("records"):
            return [record for batch in self.reader.read(place, start, end, end - start) for record in batch]

    def replay(self, partition: str, source: TopicPartition, span: range, limit: int) -> Iterator[Records]:
        """Reads the offsets of `span` again, with a separate reader, so that queries are possible in between."""
        with self._guarded("replay"):
            reader = Reader(self._settings)
        try:
            batches = reader.read(source, span.start, span.stop, limit)
            while True:
                with self._guarded("replay"):  # not around the yield: the caller's errors are not the library's
                    batch = next(batches, None)
                if batch is None:
                    return
                yield columns(partition, batch)
        finally:
            quietly(reader.close)

    def close(self) -> None:
        """Closes the reader."""
        if self._reader is not None:
            quietly(self._reader.close)
        self._reader = None


def quietly(close: Callable[[], object]) -> None:
    """Runs a close function and logs its exceptions: the client is discarded anyway, and closing must continue."""
    try:
        close()
    except Exception as error:  # noqa: BLE001 - see docstring
        _log.info("client did not close", error=str(error))
