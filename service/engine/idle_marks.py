"""Decides when a silent partition gets a time mark, by the clock; the mark is recorded, so that a replay repeats it.

From the last event of a partition on, its event time goes on with the clock. Once the partition has been silent for
`aggregate.idle`, its windows close when this event time reaches their end and the grace. A partition with records that
were not read yet is not silent, however long they wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from service.aggregate.aggregator import Aggregator
from service.partitions.partition import Partition
from service.ports import Clock, TimeMark

# The loop was held up for longer, by a sink or a training: meanwhile nothing was read, so no partition was silent.
_HELD_UP_SECONDS: Final = 5.0


class _Silence(NamedTuple):
    """Monotonic seconds at which it began, the event time then, and the windows that it is of."""

    since: float
    event_ms: int
    aggregator: Aggregator


class IdleMarks:
    """Time marks of silent partitions. Used in the loop's thread only.

    Args:
        idle: seconds of silence; 0: no marks, as for an input that ends.
        clock: measures them.
    """

    def __init__(self, idle: float, clock: Clock) -> None:
        self._idle, self._clock = idle, clock
        self._silent: dict[str, _Silence] = {}
        self._before = clock.monotonic()

    def observe(self, partition: str) -> None:
        """Notes that records of a partition have arrived."""
        self._silent.pop(partition, None)

    def due(
        self, partitions: Iterable[Partition], read_lag: Callable[[], Mapping[str, int]]
    ) -> Iterator[tuple[Partition, TimeMark]]:
        """Yields the partitions whose windows are to be closed now, with the marks.

        Args:
            partitions: those that are read.
            read_lag: returns how far each partition is behind the end of its source; called where a mark is due.
        """
        if not self._idle:
            return
        now = self._clock.monotonic()
        if now - self._before > _HELD_UP_SECONDS:
            self._silent.clear()
        self._before = now
        served = list(partitions)
        if len(self._silent) > len(served):
            self._silent = {one.name: self._silent[one.name] for one in served if one.name in self._silent}
        for partition in served:
            windows = partition.aggregator
            if windows is None or not partition.recorded or partition.in_history:
                continue  # in a history the clock says nothing of its times
            if (closing := windows.next_closing_ms) is None:
                continue
            found = self._silent.get(partition.name)
            if found is None or found.aggregator is not windows:
                found = self._silent[partition.name] = _Silence(now, windows.present_ms(), windows)
            silent_ms = round(1000 * (now - found.since))
            time_ms = found.event_ms + silent_ms
            if windows.marked is not None and windows.marked.position == partition.position:
                time_ms = max(time_ms, windows.marked.time_ms + 1)  # of a silence before a restart, or of the same ms
            if silent_ms < 1000 * self._idle or time_ms < closing:
                continue
            if read_lag().get(partition.name, 0) > 0:
                self._silent.pop(partition.name)
            else:
                yield partition, TimeMark(partition.position, time_ms)
