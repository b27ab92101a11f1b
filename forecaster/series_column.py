"""A column of series by their numbers, so that what is known of a series is found without its name.

    SeriesNames    series -> number, in the order in which they come; shared by all columns of one origin
    SeriesColumn   the series of a batch: reads as a sequence of names, holds their numbers
    SeriesLookup   series -> slot of one holder of state: by number where the column has them, else by name

A number says nothing by itself: another `SeriesNames` may give the same series another one. Results never depend on
numbers, only the time to find them does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

_UNKNOWN: Final = -2  # of a number that was not looked up yet
_LEAST_ROOM: Final = 1024


class SeriesNames:
    """Numbers of series. They only grow; who makes columns starts another object where they have become too many."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.names: list[str] = []

    def __len__(self) -> int:
        """Returns how many series have a number."""
        return len(self.names)

    def number(self, name: str) -> int:
        """Returns the number of the series `name`, a new one where it has none."""
        found = self._numbers.setdefault(name, len(self.names))
        if found == len(self.names):
            self.names.append(name)
        return found

    def column(self, names: Sequence[str]) -> SeriesColumn:
        """Returns names as a column."""
        return SeriesColumn(self, np.fromiter(map(self.number, names), np.int64, len(names)))


class SeriesColumn(Sequence[str]):
    """The series of events, in their order; equal to any sequence of the same names.

    Args:
        known: the names.
        numbers: of the series of every event, shape (n,); not changed afterwards.
    """

    __slots__ = ("_listed", "known", "numbers")

    def __init__(self, known: SeriesNames, numbers: NDArray[np.int64]) -> None:
        self.known, self.numbers = known, numbers
        self._listed: list[str] | None = None

    def _list(self) -> list[str]:
        if self._listed is None:
            self._listed = list(map(self.known.names.__getitem__, self.numbers.tolist()))
        return self._listed

    def __len__(self) -> int:
        """Returns the number of events."""
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> SeriesColumn: ...

    def __getitem__(self, at: int | slice) -> str | SeriesColumn:
        """Returns the series of an event, or a column of several."""
        return SeriesColumn(self.known, self.numbers[at]) if isinstance(at, slice) else self._list()[at]

    def __iter__(self) -> Iterator[str]:
        """Yields the names."""
        return iter(self._list())

    def __contains__(self, name: object) -> bool:
        """Returns whether an event is of a series."""
        return name in self.present

    def __eq__(self, other: object) -> bool:
        """Returns whether another sequence has the same names."""
        return self._list() == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        """Returns the text of the list of names."""
        return repr(self._list())

    @property
    def present(self) -> set[str]:
        """The series that have an event."""
        return set(map(self.known.names.__getitem__, np.unique(self.numbers).tolist()))


def chosen(series: Sequence[str], at: NDArray[np.int64]) -> Sequence[str]:
    """Returns the `series` of some events, by their indices `at`, shape (m,)."""
    if isinstance(series, SeriesColumn):
        return SeriesColumn(series.known, series.numbers[at])
    return [series[i] for i in at.tolist()]


class SeriesLookup:
    """Finds the slots of the series of events.

    Args:
        index: series -> slot, which its owner changes. After a series was removed, or has got another slot, the owner
            calls `forget`, and where misses are kept, also after one was added.
    """

    def __init__(self, index: Mapping[str, int]) -> None:
        self._index = index
        self._names: SeriesNames | None = None
        self._slots = np.zeros(0, np.int64)  # by number

    def forget(self, index: Mapping[str, int] | None = None) -> None:
        """Looks all series up again from now on; in another index where one is given."""
        self._names, self._index = None, self._index if index is None else index

    def slots(self, series: Sequence[str], *, keeps_misses: bool = False) -> NDArray[np.int64]:
        """Returns the slot of every series, shape (n,), -1 where it has none.

        Args:
            series: of the events.
            keeps_misses: whether those without a slot will have none until `forget`.
        """
        get = self._index.get
        if not isinstance(series, SeriesColumn):
            return np.fromiter((get(name, -1) for name in series), np.int64, len(series))
        self._prepare(series.known)
        found: NDArray[np.int64] = self._slots[series.numbers]
        if (new := found == _UNKNOWN).any():
            names = series.known.names
            numbers = np.unique(series.numbers[new])
            self._slots[numbers] = [get(names[number], -1) for number in numbers.tolist()]
            found = self._slots[series.numbers]
            if not keeps_misses:
                self._slots[numbers[self._slots[numbers] < 0]] = _UNKNOWN
        return found

    def _prepare(self, names: SeriesNames) -> None:
        """Makes room for all numbers."""
        if names is not self._names:
            self._names, self._slots = names, np.full(max(_LEAST_ROOM, len(names)), _UNKNOWN, np.int64)
        elif len(names) > len(self._slots):
            more = np.full(max(len(names), 2 * len(self._slots)) - len(self._slots), _UNKNOWN, np.int64)
            self._slots = np.concatenate((self._slots, more))
