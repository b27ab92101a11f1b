"""The pair of any source with any sink: the only `Transport` of the program.

start     lock of the data folder -> source.check -> sink.open (excludes a predecessor) -> source.open
poll      source
publish   sink: outputs, position and the source's entries, as one unit; then `source.published`
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from service.folder_lock import FolderLock
from service.ports import NO_RECORD, Adoption, Encoded, Outcomes, OutputIdentity, Records, TimeMark, Unit
from service.sinks import Sink
from service.sources import Source


class Shared(Protocol):
    """A resource that source and sink share, such as the session of a Kafka cluster."""

    def open(self) -> None:
        """Opens it; called before source and sink are opened."""

    def close(self) -> None:
        """Closes it; called after both are closed, opened or not."""


class Pair:
    """A `service.ports.Transport`, which documents the guarantees.

    Args:
        source: reads the records.
        sink: stores the units, and the positions of the source.
        lock: of the data folder, whose snapshots and models belong to one output at a time.
        shared: opened before source and sink, closed after them.

    Attributes:
        atomic: that of the sink.
        generation: that of the source.
    """

    def __init__(
        self, source: Source, sink: Sink, *, lock: FolderLock | None = None, shared: Shared | None = None
    ) -> None:
        self.source, self.sink, self.shared = source, sink, shared
        self.atomic, self.generation = sink.atomic, source.generation
        self._lock = lock

    def start(self) -> None:
        """Takes the lock, opens the sink, then the source at the positions that are committed there."""
        if self._lock is not None:
            self._lock.take()
        if self.shared is not None:
            self.shared.open()
        self.source.check()
        self.sink.open()
        self.source.open(self.sink)
        self.generation = self.source.generation

    @property
    def identity(self) -> OutputIdentity:
        """Returns the identity of the sink."""
        return self.sink.identity

    # Positions -----------------------------------------------------------------------------------------------

    def partitions(self) -> Sequence[str]:
        """Returns the partitions of the source that this process reads."""
        return self.source.partitions()

    def all_partitions(self) -> Sequence[str]:
        """Returns all partitions of the source."""
        return self.source.all_partitions()

    def partitions_of_history(self, partition: str) -> int:
        """Returns the number of partitions among which the source divides a history."""
        return self.source.partitions_of_history(partition)

    def committed(self, partition: str) -> int | None:
        """Returns the committed position from the sink."""
        return self.sink.committed(partition)

    def run(self, partition: str) -> int:
        """Returns the run from the sink."""
        return self.sink.run(partition)

    def earliest(self, partition: str) -> int:
        """Returns the oldest position that the source can still read."""
        return self.source.earliest(partition)

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """Returns the committed adoptions from the sink."""
        return self.sink.adoptions(partition)

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks from the sink."""
        return self.sink.marks(partition, start)

    def models_needed(self) -> Collection[str]:
        """Returns the models of the sink's adoptions that a replay of the source may still need."""
        names = frozenset(self.source.partitions())
        return self.sink.models_needed(lambda name: self.source.earliest(name) if name in names else NO_RECORD)

    def outcomes(self) -> Outcomes | None:
        """Returns the outcome counters from the sink."""
        return self.sink.outcomes(self.source.partitions())

    def lag(self) -> dict[str, int]:
        """Returns the consumer lag from the source."""
        return self.source.lag()

    # The loop ------------------------------------------------------------------------------------------------

    def pause(self, partitions: Collection[str]) -> None:
        """Pauses these partitions of the source."""
        self.source.pause(partitions)

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records of the source, or None; also None when `generation` has changed."""
        self.sink.maintain()
        records = self.source.poll(limit, timeout_seconds)
        if self.source.generation != self.generation:
            self.sink.forget()
            self.generation = self.source.generation
        return records

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Returns further records of the source that are available without waiting."""
        return self.source.poll_buffered(limit, taken)

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) of the source again."""
        return self.source.replay(partition, start, end, limit)

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Passes the first forecasts of the next unit to the sink."""
        self.sink.stage(partition, forecasts)

    def publish(self, unit: Unit) -> None:
        """Commits the unit, its position and the source's entries as one unit."""
        partition, position = unit.partition, unit.next_position
        rejects = self.source.originals(partition, unit.rejects)
        self.sink.publish(
            unit if rejects is unit.rejects else replace(unit, rejects=rejects),
            *self.source.changes(partition, position),
        )
        self.source.published(partition, position)

    def release(self, partition: str, position: int) -> None:
        """Releases the positions of the source, and the time marks of the sink, that will not be replayed."""
        self.source.release(partition, position)
        self.sink.release(partition, position)

    def finished(self) -> bool:
        """Returns whether the source has ended and all of it is published."""
        return self.source.finished()

    def close(self) -> None:
        """Closes source and sink, even if one of them raises, then releases the lock."""
        try:
            self.source.close()
        finally:
            try:
                self.sink.close()
            finally:
                if self.shared is not None:
                    self.shared.close()
                if self._lock is not None:
                    self._lock.release()
