"""What the topics hold already: read beside the group, by readers of our own that commit nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import structlog
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.cloudevents import Envelopes
from service.kafka.columns import columns
from service.kafka.guard import Guard
from service.kafka.reader import Reader
from service.kafka.records import Origin, Past, read_past
from service.ports import Records

_log = structlog.get_logger(__name__)


class History:
    """The past of topics.

    Args:
        settings: of the session.
        guarded: around every call of the library.
        stay_alive: called while a read takes its time.
    """

    def __init__(self, settings: KafkaConfig, guarded: Guard, stay_alive: Callable[[], None]) -> None:
        self._settings, self._guarded, self._stay_alive = settings, guarded, stay_alive
        self._reader: Reader | None = None
        self._adoptions: dict[TopicPartition, tuple[int, list[bytes]]] = {}  # as they were up to that end

    def open(self) -> None:
        """Makes the reader for questions."""
        with self._guarded("start"):
            self._reader = Reader(self._settings, self._stay_alive)

    @property
    def reader(self) -> Reader:
        """The reader for questions.

        Raises:
            TransportError: not opened.
        """
        if self._reader is None:
            msg = "the transport is not started"
            raise TransportError(msg)
        return self._reader

    def earliest(self, source: TopicPartition) -> int:
        """The oldest offset that the brokers still hold."""
        with self._guarded("earliest"):
            return self.reader.earliest(source)

    def past(self, source: Origin, partitions: int) -> Past:
        """Runs and adoptions of a partition, from a topic of so many partitions."""
        with self._guarded("adoptions"):
            where = TopicPartition(self._settings.adoptions, source.partition % partitions)
            end, (read_to, values) = self.reader.end(where), self._adoptions.get(where, (-1, []))
            if end != read_to:
                values = [record.value for record in self.reader.whole(where)]
                self._adoptions[where] = end, values
            return read_past(values, source)

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        """The oldest offset of any partition, and that behind what can be read of it."""
        with self._guarded("bounds"):
            return self.reader.earliest(place), self.reader.committed_end(place)

    def records(self, place: TopicPartition, start: int, end: int) -> list[Any]:
        """The records of [start, end) of any partition.

        Raises:
            SourceGoneError: the brokers no longer hold `start`.
        """
        with self._guarded("records"):
            return [record for batch in self.reader.read(place, start, end, end - start) for record in batch]

    def replay(self, partition: str, source: TopicPartition, span: range, limit: int) -> Iterator[Records]:
        """Reads the offsets of `span` once more, by a reader of its own: others may be asked in between."""
        with self._guarded("replay"):
            reader = Reader(self._settings)
        try:
            batches = reader.read(source, span.start, span.stop, limit)
            while True:
                with self._guarded("replay"):  # not around the yield: the caller is not the library
                    batch = next(batches, None)
                if batch is None:
                    return
                yield Envelopes().open(columns(partition, batch))
        finally:
            quietly(reader.close)

    def close(self) -> None:
        """Lets go of the reader."""
        if self._reader is not None:
            quietly(self._reader.close)
        self._reader = None


def quietly(close: Callable[[], object]) -> None:
    """Closing must go on whatever one client does; it is thrown away anyway."""
    try:
        close()
    except Exception as error:  # noqa: BLE001 - see above
        _log.info("client did not close", error=str(error))
