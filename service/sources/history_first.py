"""A source that takes in the history of every partition before the records of another, live source.

    positions < 0      the history: `service.sources.history.PartitionHistory`
    positions >= 0     those of the live source

The end of a history is a batch without records, which skips to the first live position; committed like any other, it
records that the partition is live. A partition that was live before has no history.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import structlog

from service.errors import SourceGoneError
from service.ports import Records, Reject
from service.sources import CommittedPositions, Source
from service.sources.history import HistoryInput, PartitionHistory
from service.sources.manifest import FileEntry

_log = structlog.get_logger(__name__)


class LivePositions:
    """The committed positions as the live source sees them: without those of the history, and their entries."""

    def __init__(self, sink: CommittedPositions) -> None:
        self._sink = sink

    def committed(self, partition: str) -> int | None:
        """Returns the committed live position; None while the history is taken in."""
        position = self._sink.committed(partition)
        return None if position is None or position < 0 else position

    def files(self, partition: str) -> Sequence[FileEntry]:
        """Returns the entries of the live source."""
        return [entry for entry in self._sink.files(partition) if entry.base >= 0]


class HistoryFirst(Source):
    """`service.sources.Source` of a history and what follows it.

    Args:
        live: read where the history of a partition has ended.
        inputs: of the history, the same ones for every partition.
        on_release: called when no partition needs a history any more.
    """

    def __init__(
        self, live: Source, inputs: Sequence[HistoryInput], on_release: Callable[[], None] = lambda: None
    ) -> None:
        self._live, self._inputs, self._on_release = live, inputs, on_release
        self._sink: CommittedPositions | None = None
        self._histories: dict[str, PartitionHistory] = {}
        self._paused: frozenset[str] = frozenset()
        self._turn = 0  # the partition whose history is read next
        self._live_turn = True  # whether live records come first in the next poll
        self.generation = live.generation

    def check(self) -> None:
        """Checks the live source."""
        self._live.check()

    def open(self, sink: CommittedPositions) -> None:
        """Opens the live source, and the history of all partitions that have not gone live."""
        self._sink = sink
        self._live.open(LivePositions(sink))
        self._take_partitions()

    def _take_partitions(self) -> None:
        """Opens the histories of the present partitions."""
        self.generation, before = self._live.generation, self._histories
        self._histories, count = {}, len(self._live.all_partitions())
        places = {name: None if self._sink is None else self._sink.committed(name) for name in self._live.partitions()}
        others_live = any(place is not None and place >= 0 for place in places.values())
        for name, committed in places.items():
            if committed is None and others_live and not all(one.is_there() for one in self._inputs):
                _log.warning("partition begins without the history, which is no longer there", partition=name)
                self._histories[name] = PartitionHistory(name, (), (), None, partitions=count)
                continue
            entries = () if self._sink is None else self._sink.files(name)
            first = self._live.first(name) if committed is None else None
            history = PartitionHistory(name, self._inputs, entries, committed, first, count)
            self._histories[name] = history
            if committed is None:
                _log.info("taking in the history", partition=name, inputs=[one.entry for one in self._inputs][:20])
            elif committed < 0:
                _log.info("taking in the history, continued", partition=name, left_bytes=history.lag())
        for history in before.values():
            history.close()
        self._pause_live()

    def _taking_in(self) -> list[PartitionHistory]:
        """Returns the histories that have not ended and are not paused."""
        return [one for name, one in self._histories.items() if one.position < 0 and name not in self._paused]

    def _pause_live(self) -> None:
        self._live.pause(self._paused | {name for name, one in self._histories.items() if one.position < 0})

    def partitions(self) -> Sequence[str]:
        """Returns the partitions of the live source."""
        return self._live.partitions()

    def all_partitions(self) -> Sequence[str]:
        """Returns all partitions of the live source."""
        return self._live.all_partitions()

    def partitions_of_history(self, partition: str) -> int:
        """Returns the number of partitions when the history of one was begun, by which it has its series."""
        return self._histories[partition].partitions

    def pause(self, partitions: Collection[str]) -> None:
        """Excludes these partitions from `poll`."""
        self._paused = frozenset(partitions)
        self._pause_live()

    def earliest(self, partition: str) -> int:
        """Returns the oldest position that can still be read, of the history where that is held."""
        history = self._histories[partition]
        return history.earliest() if history.held else self._live.earliest(partition)

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records: live ones that are there and those of a history, by turns.

        Otherwise a live partition with a lag would keep the others in their histories.
        """
        histories = self._taking_in()
        self._live_turn = not histories or not self._live_turn
        if not self._live_turn and (records := self._next(histories, limit)) is not None:
            return records
        records = self._live.poll(limit, 0.0 if histories else timeout_seconds)
        if self._live.generation != self.generation:
            self._take_partitions()
            return None
        return self._next(histories, limit) if records is None else records

    def _next(self, histories: Sequence[PartitionHistory], limit: int) -> Records | None:
        if not histories:
            return None
        self._turn += 1
        history = histories[self._turn % len(histories)]
        if (records := history.read(limit)) is not None:
            return records
        return history.end(self._live.earliest(history.partition))

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Returns further records that are there, of partitions that are not in `taken`."""
        if (records := self._live.poll_buffered(limit, taken)) is not None:
            return records
        return self._next([one for one in self._taking_in() if one.partition not in taken], limit)

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again, first what of it is history.

        Raises:
            SourceGoneError: the history was released, as a snapshot after it was written.
        """
        if start < 0:
            if not self._histories[partition].held:
                msg = (
                    f"partition {partition}: no usable snapshot is left after its history, which is no longer held; "
                    "expected one. Restore the snapshots, or start anew with an empty state.data_dir and output"
                )
                raise SourceGoneError(msg)
            for records in self._histories[partition].replay(start, end, limit):
                start = records.next_position
                yield records
        if 0 <= start < end:
            yield from self._live.replay(partition, start, end, limit)

    def originals(self, partition: str, rejects: Sequence[Reject]) -> Sequence[Reject]:
        """Returns the rejects of the live source with their original bytes."""
        return self._live.originals(partition, rejects)

    def changes(self, partition: str, position: int) -> tuple[Sequence[FileEntry], Sequence[tuple[int, str]]]:
        """Returns the changed and the removed entries of the history and of the live source."""
        changed, removed = self._histories[partition].changes(position)
        if position < 0:
            return changed, removed
        more, gone = self._live.changes(partition, position)
        return [*changed, *more], [*removed, *gone]

    def published(self, partition: str, position: int) -> None:
        """Notes that the position is committed; the first live one ends the history."""
        history = self._histories[partition]
        history.written(position)
        if position < 0:
            return
        self._live.published(partition, position)
        if history.ends:
            history.ends = False
            _log.info("history taken in, reading the live input", partition=partition, position=position)
            self._pause_live()

    def release(self, partition: str, position: int) -> None:
        """Notes that nothing before the position will be replayed."""
        history = self._histories[partition]
        if history.held:
            history.release(position)
            if not any(one.held for one in self._histories.values()):
                self._on_release()
        if position >= 0:
            self._live.release(partition, position)

    def finished(self) -> bool:
        """Returns whether all histories and the live source have ended."""
        return all(one.position >= 0 for one in self._histories.values()) and self._live.finished()

    def lag(self) -> dict[str, int]:
        """Returns how far each partition is behind the end of its source, the bytes of its history included."""
        return {
            name: lag + (self._histories[name].lag() if name in self._histories else 0)
            for name, lag in self._live.lag().items()
        }

    def close(self) -> None:
        """Closes everything."""
        for history in self._histories.values():
            history.close()
        self._live.close()
