"""Base of the sinks that store everything but forecasts in a SQLite file: it says where a restart continues."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.ports import Adoption, Outcomes, OutputIdentity, TimeMark
from service.sinks import Sink
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry


class BesideSqlite(Sink):
    """Reads positions and all that belongs to them from a database.

    Args:
        database: stores everything but the forecasts; owned by this object from then on.
    """

    def __init__(self, database: SqliteSink) -> None:
        self._database = database

    @property
    def identity(self) -> OutputIdentity:
        """Returns the identity of the database, which alone determines where a restart continues."""
        return self._database.identity

    def committed(self, partition: str) -> int | None:
        """Returns the committed source position, or None."""
        return self._database.committed(partition)

    def adoptions(self, partition: str) -> list[Adoption]:
        """Returns all committed adoptions, by rising position."""
        return self._database.adoptions(partition)

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks from a position on."""
        return self._database.marks(partition, start)

    def release(self, partition: str, position: int) -> None:
        """Lets the database delete the time marks before a position."""
        self._database.release(partition, position)

    def run(self, partition: str) -> int:
        """Returns the run of the database, which is always the first."""
        return self._database.run(partition)

    def models_needed(self, earliest: Callable[[str], int]) -> set[str]:
        """Returns the needed models of the adoptions in the database."""
        return self._database.models_needed(earliest)

    def files(self, partition: str) -> list[FileEntry]:
        """Returns the entries of the input files at the committed position."""
        return self._database.files(partition)

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """Returns the outcome counters of all committed records of these partitions."""
        return self._database.outcomes(partitions)
