"""Any source with any sink: the one `Transport` of the program.

start     lock of the data folder -> source.check -> sink.open (shuts out a predecessor) -> source.open
poll      source
publish   sink: outputs, position and what the source wants kept with it, as one unit; then the source is informed
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from service.folder_lock import FolderLock
from service.ports import Adoption, Encoded, Outcomes, OutputIdentity, Records, Unit
from service.sinks import Sink
from service.sources import Source


class Shared(Protocol):
    """What source and sink use together, such as the session on a Kafka cluster."""

    def open(self) -> None:
        """Called before either is opened."""

    def close(self) -> None:
        """Called behind both, opened or not."""


class Pair:
    """`service.ports.Transport`. See there for the guarantees.

    Args:
        source: where records come from.
        sink: where units go, and where the positions of the source are kept.
        lock: of the data folder, whose snapshots and models belong to one output at a time.
        shared: opened before source and sink, closed behind them.

    Attributes:
        atomic: as of the sink.
        generation: as of the source.
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
        """That of the sink."""
        return self.sink.identity

    # Positions -----------------------------------------------------------------------------------------------

    def partitions(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.partitions()

    def all_partitions(self) -> Sequence[str]:
        """All partitions of the source."""
        return self.source.all_partitions()

    def committed(self, partition: str) -> int | None:
        """As the sink has it."""
        return self.sink.committed(partition)

    def run(self, partition: str) -> int:
        """As the sink has it."""
        return self.sink.run(partition)

    def earliest(self, partition: str) -> int:
        """As the source has it."""
        return self.source.earliest(partition)

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """As the sink has them."""
        return self.sink.adoptions(partition)

    def models_needed(self) -> Collection[str]:
        """Those of the sink's adoptions that what the source holds may still come to."""
        names = frozenset(self.source.partitions())
        return self.sink.models_needed(lambda name: self.source.earliest(name) if name in names else -1)

    def outcomes(self) -> Outcomes | None:
        """As the sink has kept them."""
        return self.sink.outcomes(self.source.partitions())

    def lag(self) -> dict[str, int]:
        """As the source has it."""
        return self.source.lag()

    # The loop ------------------------------------------------------------------------------------------------

    def pause(self, partitions: Collection[str]) -> None:
        """Pauses these partitions of the source."""
        self.source.pause(partitions)

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """The next records of the source, or None; None too when `generation` has changed."""
        self.sink.tend()
        records = self.source.poll(limit, timeout_seconds)
        if self.source.generation != self.generation:
            self.sink.forget()
            self.generation = self.source.generation
        return records

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Further records of the source that are at hand."""
        return self.source.poll_buffered(limit, taken)

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """The source, once more."""
        return self.source.replay(partition, start, end, limit)

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Hands the first forecasts of the next unit to the sink."""
        self.sink.stage(partition, forecasts)

    def publish(self, unit: Unit) -> None:
        """Commits the unit, its position, and what the source wants kept with it, as one."""
        partition, position = unit.partition, unit.next_position
        rejects = self.source.originals(partition, unit.rejects)
        self.sink.publish(
            unit if rejects is unit.rejects else replace(unit, rejects=rejects),
            *self.source.changes(partition, position),
        )
        self.source.published(partition, position)

    def release(self, partition: str, position: int) -> None:
        """Tells the source what will not be replayed any more."""
        self.source.release(partition, position)

    def finished(self) -> bool:
        """Whether the source has ended and all of it is published."""
        return self.source.finished()

    def close(self) -> None:
        """Releases source and sink, whatever one of them says, then the lock."""
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
