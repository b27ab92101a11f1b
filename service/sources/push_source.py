"""The partition of events pushed over HTTP; it reads the spool that the HTTP server writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from service.ports import Records
from service.sources.manifest import FileEntry
from service.sources.push_log import PushedLines, PushLog

PUSH_PARTITION: Final = "push"


class PushSource:
    """Reads one spool; used by the engine's thread only, like `FileSource`.

    Args:
        log: the spool, opened by `open`; it outlives the source, because clients push during its restarts too.
        cold: continue at the committed position if the spool is missing.
    """

    partition = PUSH_PARTITION

    def __init__(self, log: PushLog, *, cold: bool = False) -> None:
        self._log, self._cold = log, cold
        self._position = 0

    @property
    def position(self) -> int:
        """Returns the position up to which `read` has returned records."""
        return self._position

    def open(self, entries: Sequence[FileEntry], committed: int | None) -> None:  # noqa: ARG002 - segments name themselves
        """Opens the spool and continues at the committed position.

        Raises:
            SourceGoneError, TransportBusyError: see `PushLog.open`.
        """
        self._log.open(committed, cold=self._cold)
        self._position = self._log.earliest() if committed is None else committed

    def read(self, limit: int) -> Records | None:
        """Returns at most `limit` records, None when there are none now."""
        found = self._log.read(self._position, limit)
        if found is None:
            return None
        self._position = found.next_position
        return _records(found)

    def replay(self, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again; `read` is not affected.

        Raises:
            SourceGoneError: the spool no longer holds it.
        """
        while start < end and (found := self._log.read(start, limit, end)) is not None:
            start = found.next_position
            yield _records(found)

    def earliest(self) -> int:
        """Returns the oldest position that the spool holds."""
        return self._log.earliest()

    def changes(self, position: int) -> tuple[list[FileEntry], list[tuple[int, str]]]:  # noqa: ARG002 - as above
        """Returns no entries: segments are named by their positions."""
        return [], []

    def written(self, position: int) -> None:
        """Does nothing, as `changes` returns no entries."""

    def lag(self) -> int:
        """Returns the bytes that were accepted and not read yet."""
        return max(0, self._log.end - self._position)

    def finished(self) -> bool:
        """Returns False: further events may always be pushed."""
        return False

    def release(self, position: int) -> None:
        """Releases the spool before the position, which will not be read again."""
        self._log.release(position)

    def close(self) -> None:
        """Does nothing: the spool continues to accept events."""


def _records(found: PushedLines) -> Records:
    return Records(
        PUSH_PARTITION, found.positions, found.next_position, found.values, problems=dict(found.problems)
    )  # fmt: skip
