"""Sinks of forecasts. A `Sink` stores outputs and source positions in one atomic unit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from service.ports import Adoption, Encoded, Outcomes, OutputIdentity, TimeMark, Unit
from service.sources.manifest import FileEntry


class Sink(Protocol):
    """Stores the published units, and with them the position of every source partition.

    A single thread uses it. After an exception from any method the caller closes it and creates a new one, unless the
    docstring allows otherwise.

    Attributes:
        atomic: whether a unit is durable or absent as a whole, its position included, whatever happens to the process.
            False means at least once: readers drop repeats by `source` of the forecasts.
    """

    atomic: bool = True

    @property
    def identity(self) -> OutputIdentity:
        """Returns the identity of the output, once it is open."""

    def open(self) -> None:
        """Excludes every other writer, then prepares to read and write.

        Raises:
            TransportBusyError: another process holds the output.
            SinkFormatError: the output is damaged or was not written by this program.
            UnreachableError: the output is not reachable.
        """

    def committed(self, partition: str) -> int | None:
        """Returns the committed source position, or None if nothing was ever committed.

        Raises:
            SourceGoneError: the position was lost or moved, so that events would be forecast twice.
        """

    def files(self, partition: str) -> Sequence[FileEntry]:
        """Returns the source's entries stored with that position, by rising position."""

    def run(self, partition: str) -> int:
        """Returns the run, see `service.ports.Transport.run`; called after `committed`."""

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """Returns all committed adoptions of the partition's run, by rising position; their models can be loaded."""

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks of the partition's run from `start` on; see `service.ports.Transport`."""

    def models_needed(self, earliest: Callable[[str], int]) -> Collection[str]:
        """Returns the models of adoptions that a replay may still need.

        Args:
            earliest: returns the oldest position that the source holds of a partition; `NO_RECORD`: it is not read now.
        """

    def outcomes(self, partitions: Sequence[str]) -> Outcomes | None:
        """Returns the outcome counters of all committed records of these partitions; None: not stored."""

    def maintain(self) -> None:
        """Performs periodic work; called before every poll of the source."""
        return

    def forget(self) -> None:
        """Discards cached positions: the partitions of this process have changed, so positions may have moved."""
        return

    def stage(self, partition: str, forecasts: Encoded) -> None:  # noqa: ARG002 - a default
        """Stages forecasts, see `service.ports.Transport.stage`; does nothing if a unit is written as a whole."""
        return

    def release(self, partition: str, position: int) -> None:  # noqa: ARG002 - a default
        """A hint: no time mark of the partition before `position` will be replayed again.

        What is deleted because of it is deleted with the next unit of the partition.
        """
        return

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Makes outputs, adoption, mark, position and the source's entries durable as a whole.

        Args:
            unit: the results of one batch.
            files, removed: result of `service.sources.Source.changes`.

        Raises:
            SinkUnavailableError: the unit cannot be written now and nothing was written; the caller may retry.
            ValueError: the unit does not follow the committed position; nothing was written.
            TransportError: the unit was not written, or the result is unknown.
        """

    def close(self) -> None:
        """Releases everything, opened or not."""
