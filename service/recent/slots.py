"""Assigns the slots of the series whose events are recorded.

The first series of a stream get one slot each. A requested series without a slot replaces the one whose last request is
oldest (never requested counts as oldest; among those the one silent for longest); its record starts then. Series with
subscribers keep their slots. A series that is silent during 64 rounds of all series loses its slot to the next new one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster import SeriesLookup
from service.publication import SeriesKey

SILENT_ROUNDS: Final = 64


class Slots:
    """A fixed number of slots. The caller holds a lock.

    Args:
        count: number of slots.

    Attributes:
        index: partition -> series -> slot.
        free: unused slots.
        seen: (count,) total number of events at the last event of the series in a slot. taken: total number of events.
        subscribed: (count,) whether the series has subscribers.
    """

    def __init__(self, count: int) -> None:
        self.index: dict[str, dict[str, int]] = {}
        self._lookups: dict[str, SeriesLookup] = {}
        self.free = list(range(count))[::-1]
        self.seen, self.taken = np.zeros(count, np.int64), 0
        self.subscribed = np.zeros(count, np.bool_)
        self._owner: list[SeriesKey | None] = [None] * count
        self._asked: dict[SeriesKey, int] = {}
        self._listeners: dict[SeriesKey, int] = {}
        self._ticks = itertools.count(1)
        self._checked = 0

    def of(self, key: SeriesKey) -> int | None:
        """Returns the slot of a series, if it has one."""
        return self.index.get(key[0], {}).get(key[1])

    def of_events(self, partition: str, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns the slot of the series of every event, shape (n,), -1 where it has none."""
        if partition not in self._lookups:
            self._lookups[partition] = SeriesLookup(self.index.setdefault(partition, {}))
        return self._lookups[partition].slots(series, keeps_misses=True)

    def join(self, partition: str, names: Iterable[str]) -> list[int]:
        """Assigns free slots to series without one; returns the slots assigned."""
        index, given = self.index.setdefault(partition, {}), list[int]()
        for name in dict.fromkeys(names):
            if not self.free:
                break
            if name not in index:
                given.append(self._settle((partition, name)))
        return given

    def ask(self, key: SeriesKey) -> tuple[int | None, bool]:
        """Returns the slot of a requested series, and whether it is new; None where all slots have subscribers."""
        slot, new = self.of(key), False
        if slot is None:
            if not self.free:
                owners = [owner for owner in self._owner if owner is not None and owner not in self._listeners]
                if not owners:
                    return None, False
                self.drop(min(owners, key=self._worth))
            slot, new = self._settle(key), True
        self._asked[key] = next(self._ticks)
        return slot, new

    def _worth(self, key: SeriesKey) -> tuple[int, int]:
        slot = self.of(key)
        return self._asked.get(key, 0), -1 if slot is None else int(self.seen[slot])

    def _settle(self, key: SeriesKey) -> int:
        slot = self.free.pop()
        self.index.setdefault(key[0], {})[key[1]] = slot
        self._changed(key[0])
        self._owner[slot], self.seen[slot] = key, self.taken
        self.subscribed[slot] = key in self._listeners
        return slot

    def drop(self, key: SeriesKey) -> None:
        """Releases the slot of a series."""
        slot = self.index.get(key[0], {}).pop(key[1], None)
        if slot is not None:
            self._changed(key[0])
            self.free.append(slot)
            self._owner[slot], self.subscribed[slot] = None, False
            self._asked.pop(key, None)

    def _changed(self, partition: str) -> None:
        if (lookup := self._lookups.get(partition)) is not None:
            lookup.forget()

    def drop_partition(self, partition: str) -> None:
        """Releases the slots of all series of a partition."""
        for series in list(self.index.get(partition, ())):
            self.drop((partition, series))

    def drop_silent(self, series: int) -> None:
        """Releases the slots of silent series, once in 64 rounds of the given number of series."""
        if self.free or self.taken - self._checked <= SILENT_ROUNDS * series:
            return
        self._checked = self.taken
        for slot in np.flatnonzero(self.taken - self.seen > SILENT_ROUNDS * series).tolist():
            key = self._owner[slot]
            if key is not None and key not in self._listeners:
                self.drop(key)

    def listen(self, keys: Sequence[SeriesKey]) -> None:
        """Adds one subscriber to each series; undone by `leave`."""
        for key in keys:
            self._listeners[key] = self._listeners.get(key, 0) + 1
            slot = self.of(key)
            if slot is not None:
                self.subscribed[slot] = True

    def leave(self, keys: Sequence[SeriesKey]) -> None:
        """Removes one subscriber from each series."""
        for key in keys:
            self._listeners[key] = self._listeners.get(key, 1) - 1
            if self._listeners[key] <= 0:
                del self._listeners[key]
                slot = self.of(key)
                if slot is not None:
                    self.subscribed[slot] = False
