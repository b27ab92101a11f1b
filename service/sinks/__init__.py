"""Where forecasts go. A `Sink` holds outputs and source positions in one atomic unit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from service.ports import Adoption, Encoded, Outcomes, OutputIdentity, Unit
from service.sources.manifest import FileEntry


class Sink(Protocol):
    """Holds what was published, and with it the position of every source partition.

    One thread uses it. An exception out of any method makes it useless, except where the docstring says so: the caller
    closes it and makes a new one.

    Attributes:
        atomic: whether a unit is durable as a whole or absent as a whole, its position included, whatever happens to
            the process. False means at least once: readers drop repeats by `source` of the forecasts.
    """

    atomic: bool = True

    @property
    def identity(self) -> OutputIdentity:
        """By which the output is told from others, once it is open."""

    def open(self) -> None:
        """Shuts out every other writer, then gets ready to read and write.

        Raises:
            TransportBusyError: another process holds the output.
            SinkFormatError: the output is damaged or not one of ours.
            UnreachableError: it is not there.
        """

    def committed(self, partition: str) -> int | None:
        """The committed source position, or None where nothing was ever committed.

        Raises:
            SourceGoneError: it was lost or moved, so that events would be answered twice.
        """

    def files(self, partition: str) -> Sequence[FileEntry]:
        """The entries that the source has had kept with that position, by rising position."""

    def run(self, partition: str) -> int:
        """As of `service.ports.Transport.run`; asked behind `committed`."""

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """All committed adoptions of the partition's run, by rising position. Their models can be loaded then."""

    def models_needed(self, earliest: Callable[[str], int]) -> Collection[str]:
        """Models that adoptions name and that a replay may still come to.

        Args:
            earliest: the oldest position that the source holds of a partition; -1 for one that is not read now.
        """

    def outcomes(self, partitions: Sequence[str]) -> Outcomes | None:
        """What became of all committed records of these partitions; None: not kept."""

    def tend(self) -> None:
        """Work that is due now and then; called before every poll of the source."""
        return

    def forget(self) -> None:
        """The partitions of this process have changed: positions that were read before may have been moved."""
        return

    def stage(self, partition: str, forecasts: Encoded) -> None:  # noqa: ARG002 - a default
        """As of `service.ports.Transport.stage`; does nothing where a unit is written as a whole."""
        return

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Makes durable as a whole: outputs, adoption, position, and what the source wants kept with its position.

        Args:
            unit: what one batch has caused.
            files, removed: as of `service.sources.Source.changes`.

        Raises:
            SinkUnavailableError: it cannot be written now and nothing was; the unit may be given again.
            ValueError: the unit does not follow what is committed; nothing was written.
            TransportError: not written, or not known.
        """

    def close(self) -> None:
        """Releases everything, opened or not."""
