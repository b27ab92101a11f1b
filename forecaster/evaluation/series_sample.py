"""A bounded sample of the series of a stream, with a slot for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.series_column import SeriesLookup, chosen


class SeriesSample:
    """Assigns slots to series, in the order in which they are passed, while there is room.

    Args:
        limit: series in the sample, at most.

    Attributes:
        index: series -> slot. Slots of dropped series are assigned first, then those after the greatest one.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.index = limit, dict[str, int]()
        self._free: list[int] = []
        self._lookup = SeriesLookup(self.index)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another series."""
        return len(self.index) >= self.limit

    def add(self, series: Sequence[str]) -> list[int]:
        """Adds new series while there is room; returns their slots."""
        added: list[int] = []
        if not self.is_full:
            new = np.flatnonzero(self.slots(series) < 0)
            for name in dict.fromkeys(chosen(series, new)):
                if not self.is_full:
                    self.index[name] = self._free.pop() if self._free else len(self.index)
                    added.append(self.index[name])
            if added:
                self._lookup.forget()
        return added

    def slots(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns the slot of every series (n,), -1 outside the sample."""
        return self._lookup.slots(series, keeps_misses=True)

    def drop(self, slots: Iterable[int]) -> None:
        """Drops the series in these slots, which are assigned to other series."""
        dropped = set(slots)
        for name in [name for name, slot in self.index.items() if slot in dropped]:
            self._free.append(self.index.pop(name))
        self._lookup.forget()

    def refill(self, names: Iterable[str]) -> None:
        """Replaces the sample by series that have the slots from 0 on, in their order."""
        self.index = {name: slot for slot, name in enumerate(names)}
        self._lookup.forget(self.index)

    def enlarged(self, array: NDArray[Any], slots: int, fill: float = 0, *, axis: int = 0) -> NDArray[Any]:
        """Returns an array that has room for these slots: the same one, or a copy at least twice as long.

        Args:
            array: its axis `axis` is that of the slots. slots: number of slots, at most `limit`.
            fill: value of the new elements.
        """
        have = array.shape[axis]
        if slots <= have:
            return array
        more = list(array.shape)
        more[axis] = min(self.limit, max(slots, 2 * have, 16)) - have
        return np.concatenate((array, np.full(more, fill, array.dtype)), axis)
