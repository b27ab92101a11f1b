"""Which series have a place among those that are remembered in detail.

The first series of a stream get one each. A series that somebody asks for and that has none takes the place of the one
that was asked for longest ago (never counts as longest; among those the one that was silent for longest); its history
begins then. Those that somebody listens to keep theirs. One that was silent while 64 rounds of all series went by gives
its place up to the next new one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from service.publication import SeriesKey

SILENT_ROUNDS: Final = 64


class Slots:
    """So many places. Whoever holds them locks.

    Args:
        count: of places.

    Attributes:
        index: partition -> series -> place.
        free: places that nobody has.
        seen: (count,) events of all series when the one in a place had its last. taken: events of all series so far.
        heard: (count,) whether somebody listens.
    """

    def __init__(self, count: int) -> None:
        self.index: dict[str, dict[str, int]] = {}
        self.free = list(range(count))[::-1]
        self.seen, self.taken = np.zeros(count, np.int64), 0
        self.heard = np.zeros(count, np.bool_)
        self._owner: list[SeriesKey | None] = [None] * count
        self._asked: dict[SeriesKey, int] = {}
        self._listeners: dict[SeriesKey, int] = {}
        self._ticks = itertools.count(1)
        self._looked = 0

    def of(self, key: SeriesKey) -> int | None:
        """The place of a series, if it has one."""
        return self.index.get(key[0], {}).get(key[1])

    def join(self, partition: str, names: Iterable[str]) -> list[int]:
        """Gives places to series that have none, while there are any; those that were given."""
        index, given = self.index.setdefault(partition, {}), list[int]()
        for name in dict.fromkeys(names):
            if not self.free:
                break
            if name not in index:
                given.append(self._settle((partition, name)))
        return given

    def ask(self, key: SeriesKey) -> tuple[int | None, bool]:
        """The place of a series that somebody wants to see, and whether it is new; None: all others are listened to."""
        place, new = self.of(key), False
        if place is None:
            if not self.free:
                owners = [owner for owner in self._owner if owner is not None and owner not in self._listeners]
                if not owners:
                    return None, False
                self.drop(min(owners, key=self._worth))
            place, new = self._settle(key), True
        self._asked[key] = next(self._ticks)
        return place, new

    def _worth(self, key: SeriesKey) -> tuple[int, int]:
        place = self.of(key)
        return self._asked.get(key, 0), -1 if place is None else int(self.seen[place])

    def _settle(self, key: SeriesKey) -> int:
        place = self.free.pop()
        self.index.setdefault(key[0], {})[key[1]] = place
        self._owner[place], self.seen[place] = key, self.taken
        self.heard[place] = key in self._listeners
        return place

    def drop(self, key: SeriesKey) -> None:
        """Frees the place of a series."""
        place = self.index.get(key[0], {}).pop(key[1], None)
        if place is not None:
            self.free.append(place)
            self._owner[place], self.heard[place] = None, False
            self._asked.pop(key, None)

    def drop_partition(self, partition: str) -> None:
        """Frees the places of all its series."""
        for series in list(self.index.get(partition, ())):
            self.drop((partition, series))

    def drop_silent(self, series: int) -> None:
        """Frees the places of those that fell silent, once in 64 rounds of so many series."""
        if self.free or self.taken - self._looked <= SILENT_ROUNDS * series:
            return
        self._looked = self.taken
        for place in np.flatnonzero(self.taken - self.seen > SILENT_ROUNDS * series).tolist():
            key = self._owner[place]
            if key is not None and key not in self._listeners:
                self.drop(key)

    def listen(self, keys: Sequence[SeriesKey]) -> None:
        """One listener more for each; undone by `leave`."""
        for key in keys:
            self._listeners[key] = self._listeners.get(key, 0) + 1
            place = self.of(key)
            if place is not None:
                self.heard[place] = True

    def leave(self, keys: Sequence[SeriesKey]) -> None:
        """One listener less for each."""
        for key in keys:
            self._listeners[key] = self._listeners.get(key, 1) - 1
            if self._listeners[key] <= 0:
                del self._listeners[key]
                place = self.of(key)
                if place is not None:
                    self.heard[place] = False
