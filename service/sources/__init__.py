"""Sources of records. A `Source` reads records at positions and can replay them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from service.ports import Records, Reject
from service.sources.manifest import FileEntry


class CommittedPositions(Protocol):
    """The part of a sink that its source reads."""

    def committed(self, partition: str) -> int | None:
        """Returns the committed position of a partition, or None if nothing was ever committed."""

    def files(self, partition: str) -> Sequence[FileEntry]:
        """Returns the entries stored with that position (see `Source.changes`)."""


class Source(Protocol):
    """Reads records of partitions, each at a position of its partition, and replays them on request.

    A single thread uses it. After an exception from any method the caller closes it and creates a new one.
    `service.transport.pair.Pair` opens the sink first, so that positions are read when no other process can move them.

    Attributes:
        generation: increases whenever `partitions()` has changed, which happens in `open` and in `poll` only. Such a
            `poll` returns None.
    """

    generation: int = 0

    def check(self) -> None:
        """Rejects inputs that cannot be replayed. Called before the sink is opened; changes nothing.

        Raises:
            ConfigurationError: an input cannot be replayed; names the setting.
            TransportBusyError: another process reads an input that needs exclusive access.
        """
        return

    def open(self, sink: CommittedPositions) -> None:
        """Prepares to read every partition from its committed position on.

        Args:
            sink: open; its positions are read now and later.

        Raises:
            SourceGoneError: the source is not the one that was read before.
            SourceUnavailableError, UnreachableError: the source is missing or not reachable.
        """

    def partitions(self) -> Sequence[str]:
        """Returns the partitions that this process reads now."""

    def partitions_of_history(self, partition: str) -> int:  # noqa: ARG002 - a default
        """Returns the number of partitions among which the series of a history are divided; see `HistoryFirst`."""
        return len(self.all_partitions())

    def all_partitions(self) -> Sequence[str]:
        """Returns all partitions, whichever process reads them; the same in every process."""

    def pause(self, partitions: Collection[str]) -> None:
        """Excludes exactly these partitions from `poll`, until the next call replaces them."""

    def earliest(self, partition: str) -> int:
        """Returns the oldest position that can still be read."""

    def first(self, partition: str) -> int:
        """Returns the position at which a partition begins to be read where nothing is committed."""
        return self.earliest(partition)

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records, see `service.ports.Transport.poll`."""

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Returns records without waiting, see `service.ports.Transport.poll_buffered`."""

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again, in batches of at most `limit` records; `poll` is not affected.

        Raises:
            SourceGoneError: the source no longer holds it, or holds something else there.
        """

    def originals(self, partition: str, rejects: Sequence[Reject]) -> Sequence[Reject]:  # noqa: ARG002 - a default
        """Returns the rejects with the original bytes of their records, where `poll` has unwrapped them."""
        return rejects

    def changes(self, partition: str, position: int) -> tuple[Sequence[FileEntry], Sequence[tuple[int, str]]]:
        """Returns the entries to store with the committed `position`: changed ones, and keys of removed ones.

        The sink writes them in the transaction that commits the position, and returns them from `files`.
        """

    def published(self, partition: str, position: int) -> None:
        """Notes that the position is committed, with the result of `changes` for it."""

    def release(self, partition: str, position: int) -> None:
        """Notes that nothing before the position will be replayed."""

    def finished(self) -> bool:
        """Returns whether the source has an end, it was reached and everything polled was published."""

    def lag(self) -> dict[str, int]:
        """Returns how far each partition's committed position is behind its end, in the units of its positions."""

    def close(self) -> None:
        """Releases everything, opened or not."""
