"""Where records come from. A `Source` hands out records at positions and can replay them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from service.ports import Records, Reject
from service.sources.manifest import FileEntry


class CommittedPositions(Protocol):
    """What a source asks of the sink that it is paired with."""

    def committed(self, partition: str) -> int | None:
        """The committed position of a partition, or None where nothing was ever committed."""

    def files(self, partition: str) -> Sequence[FileEntry]:
        """The entries that the source has had kept with that position (see `Source.changes`)."""


class Source(Protocol):
    """Hands out records of partitions, each at a position of its partition, and reads them again on request.

    One thread uses it. An exception out of any method makes it useless: the caller closes it and makes a new one.
    `service.transport.pair.Pair` opens the sink first, so positions are asked for when nobody else can move them.

    Attributes:
        generation: rises whenever `partitions()` has changed, which happens in `open` and in `poll` only. Such a
            `poll` returns None.
    """

    generation: int = 0

    def check(self) -> None:
        """Refuses what could not be read again later. Called before the sink is opened; changes nothing.

        Raises:
            ConfigurationError: what, and what to set.
            TransportBusyError: another process reads what this one is to read alone.
        """
        return

    def open(self, sink: CommittedPositions) -> None:
        """Gets ready to read every partition from its committed position on.

        Args:
            sink: opened; asked for positions now and later.

        Raises:
            SourceGoneError: the source is not the one that was read before.
            SourceUnavailableError, UnreachableError: it is not there.
        """

    def partitions(self) -> Sequence[str]:
        """The partitions that this process reads now."""

    def all_partitions(self) -> Sequence[str]:
        """All partitions, whichever process reads them; the same in all of them."""

    def pause(self, partitions: Collection[str]) -> None:
        """From now on `poll` reads all partitions but these. The next call names all that are paused then."""

    def earliest(self, partition: str) -> int:
        """The oldest position that can still be read."""

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """As of `service.ports.Transport.poll`."""

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """As of `service.ports.Transport.poll_buffered`."""

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) once more, in batches of at most `limit` records; `poll` is not disturbed.

        Raises:
            SourceGoneError: the source no longer holds it, or holds something else there.
        """

    def originals(self, partition: str, rejects: Sequence[Reject]) -> Sequence[Reject]:  # noqa: ARG002 - a default
        """The rejects with the bytes of their records as they came, where `poll` has unwrapped them."""
        return rejects

    def changes(self, partition: str, position: int) -> tuple[Sequence[FileEntry], Sequence[tuple[int, str]]]:
        """What has to be kept with the committed `position`: entries that have changed, keys of those to be removed.

        The sink writes them in the transaction that commits the position, and gives them back by `files`.
        """

    def published(self, partition: str, position: int) -> None:
        """The position is committed, and what `changes` gave for it is kept."""

    def release(self, partition: str, position: int) -> None:
        """A hint: nothing before the position will be replayed any more."""

    def finished(self) -> bool:
        """Whether the source has an end, it was reached and everything polled was published."""

    def lag(self) -> dict[str, int]:
        """How far the committed position of each partition is behind its end, in the units of its positions."""

    def close(self) -> None:
        """Releases everything, opened or not."""
