"""What waits for a Parquet file, and what a transaction changes in the list of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.sinks.parquet_pending import HOUR_MS, ParquetFile


class WaitingOutputs(NamedTuple):
    """Outputs of one hour that no file has been begun for.

    Attributes:
        first: the number of the first one.
        next: behind the last one.
        size: their bytes as records.
        since_ms: when the first one was published.
    """

    first: int
    next: int
    size: int
    since_ms: int

    @property
    def hour(self) -> int:
        """The hour in which all of them were published."""
        return self.since_ms // HOUR_MS


def with_outputs(waiting: Sequence[WaitingOutputs], added: WaitingOutputs) -> list[WaitingOutputs]:
    """Returns what waits with further outputs: a file has those of one hour, also where others wait before it."""
    if not waiting or waiting[-1].hour != added.hour:
        return [*waiting, added]
    last = waiting[-1]
    return [*waiting[:-1], last._replace(next=added.next, size=last.size + added.size)]


class FileChange(NamedTuple):
    """What the next transaction changes.

    Attributes:
        completed: the file that was written, with its sizes.
        begun: the file to write next.
        expired: files that are deleted.
        deleted: files that have been deleted.
        over: how many rows of complete files are deleted; negative: all.
    """

    completed: ParquetFile | None
    begun: ParquetFile | None
    expired: list[ParquetFile]
    deleted: list[ParquetFile]
    over: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not (self.completed or self.begun or self.expired or self.deleted or self.over)
