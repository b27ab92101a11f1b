"""What a row needs to put late events in their place: its newest events, and its state before them.

With `within` = L > 0 every row has two checkpoints, copies of its whole state, and the events since the older one:

    older checkpoint, L events of the ring, newer checkpoint, up to L - 1 events of the ring, the row

A row whose newer checkpoint is L events behind moves on: the newer checkpoint becomes the older one and the events
between them are dropped, and the present state becomes the newer one. The number of events decides where that happens,
so all of this is a function of the events of a row in the order of their times, however they are batched.

A checkpoint is one of the weights under which its row went on from it. At the first event under other weights, and
after an event that showed that the newest time was wrong, both checkpoints become the present state and the ring is
empty: no event is put before that point.

The number of the newest event and the time of silence detection follow the order of arrival. In checkpoints they are 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import CheckpointError
from forecaster.features.counters import EVENT, LAST_TS, SEEN, STEPS
from forecaster.kernels.buffers import reserve
from forecaster.state.late_words import (
    BASE,
    COUNT,
    HEADER,
    NEWEST,
    NO_SLOT,
    TAG,
    LateLayout,
    NewEvents,
    append_in_order,
    move_on,
)

if TYPE_CHECKING:
    from forecaster.state.history import HistoryRing

NAME: Final = "late"
"""Name of the array of a state."""

MOST_STEPS: Final = 10_000


class RowEvents(NamedTuple):
    """The events of a row's ring, by time; copies.

    Attributes:
        ts, slots: (n,) int64. value: (n,) float64. covariates, future: flat, float32.
    """

    ts: NDArray[np.int64]
    slots: NDArray[np.int64]
    value: NDArray[np.float64]
    covariates: NDArray[np.float32]
    future: NDArray[np.float32]


class LateRows:
    """Rings and checkpoints of the rows of a table.

    Args:
        counters, stats, hidden: arrays of the table. calendar: that of its calendar state.
        within: L, at least 1.
        covariates, future: numbers per event.

    Attributes:
        array: (max_series, words) int64.
    """

    def __init__(
        self,
        counters: NDArray[np.int64],
        stats: NDArray[np.float64],
        hidden: NDArray[np.float32],
        calendar: NDArray[np.int64],
        within: int,
        covariates: int,
        future: int,
    ) -> None:
        parts = counters, stats.view(np.int64), hidden.view(np.int64), calendar
        sizes = tuple(part.shape[1] for part in parts)
        each, ring = -(-(covariates + future) // 2), 2 * within
        older = HEADER + ring * (3 + each)
        newer = older + sum(sizes)
        times, values, slots, numbers = (HEADER + k * ring for k in range(4))
        self.layout = LateLayout(
            within, newer + sum(sizes), times, values, slots, numbers, each, covariates, future, older, newer, *sizes
        )
        self.array = reserve(len(counters), self.layout.words, np.int64)
        self._words, self._counters = self.array.reshape(-1), counters
        self._numbers = self._words.view(np.float32)
        self._parts, self._flat = parts, tuple(part.reshape(-1) for part in parts)

    @property
    def within(self) -> int:
        """L."""
        return self.layout.within

    def clear(self, row: int) -> None:
        """Removes ring and checkpoints of a row; they begin anew at its next event."""
        self.array[row, :HEADER] = 0

    def append(
        self, events: NewEvents, start: int, end: int, slot: int, tag: int, full: NDArray[np.int64]
    ) -> tuple[int, int]:
        """See `append_in_order`."""
        found: tuple[int, int] = append_in_order(
            tuple(self.layout), self._flat, self._words, self._numbers, tuple(events), start, end, slot, tag, full
        )
        return found

    def move_on(self, rows: NDArray[np.int64], count: int) -> None:
        """See `move_on`."""
        if count:
            move_on(tuple(self.layout), self._flat, self._words, rows, count)

    def place_of(self, row: int, ts: int, interval: int) -> tuple[int, bool]:
        """Returns the place of a late event in the ring, -1 where it is too late, and whether its time is known there.

        It is not too late if at most L events of the row are newer, the newest by at most L intervals, and none of the
        weights that held before the ring's events or of a wrong time is among them.
        """
        at, late = self.layout, self.array[row]
        n = int(late[COUNT])
        times = late[at.times : at.times + n]
        place = int(np.searchsorted(times, ts))
        known = place < n and int(times[place]) == ts
        if n - place - known > at.within or (interval and int(late[NEWEST]) - ts > at.within * interval):
            return -1, False
        older = late[at.older : at.older + at.counters]
        if place == 0 and not known and int(older[STEPS]) > 0 and int(older[LAST_TS]) >= ts:
            return -1, False
        return place, known

    def insert(self, row: int, place: int, event: tuple[int, float, Any, Any], slot: int) -> None:
        """Inserts an event (time, value, covariates, known future values) into the ring.

        The numbers in the history stay rising: they are places of the series, which its events fill by time.
        """
        at, late = self.layout, self.array[row]
        n, (ts, value, covariates, future) = int(late[COUNT]), event
        for first in (at.times, at.values):
            late[first + place + 1 : first + n + 1] = late[first + place : first + n].copy()
        if at.event_words:
            rest = late[at.numbers : at.older].reshape(-1, at.event_words)
            rest[place + 1 : n + 1] = rest[place:n].copy()
        late[at.times + place], late[at.slots + n] = ts, slot
        late[COUNT] = n + 1
        self.replace(row, place, (value, covariates, future))

    def replace(self, row: int, place: int, event: tuple[float, Any, Any]) -> None:
        """Replaces value, covariates and known future values of an event of the ring."""
        at, late, (value, covariates, future) = self.layout, self.array[row], event
        late[at.values + place : at.values + place + 1].view(np.float64)[0] = value
        if at.event_words:
            first = at.numbers + place * at.event_words
            numbers = late[first : first + at.event_words].view(np.float32)
            numbers[: at.covariates] = covariates
            numbers[at.covariates : at.covariates + at.future] = future

    def number(self, row: int, ts: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Overwrites the numbers in the history of the ring's events of a row.

        Args:
            row: the row.
            ts, numbers: (n,) times and numbers of the events of its series in the history; those of others are none.
        """
        at, late = self.layout, self.array[row]
        n = int(late[COUNT])
        known = dict(zip(ts.tolist(), numbers.tolist(), strict=True))
        late[at.slots : at.slots + n] = [known.get(time, NO_SLOT) for time in late[at.times : at.times + n].tolist()]

    def ring(self, row: int) -> RowEvents:
        """Returns the events of a row's ring."""
        at, late = self.layout, self.array[row]
        n = int(late[COUNT])
        numbers = late[at.numbers : at.numbers + n * at.event_words].view(np.float32).reshape(n, 2 * at.event_words)
        return RowEvents(
            late[at.times : at.times + n].copy(),
            late[at.slots : at.slots + n].copy(),
            late[at.values : at.values + n].view(np.float64).copy(),
            numbers[:, : at.covariates].reshape(-1),
            numbers[:, at.covariates : at.covariates + at.future].reshape(-1),
        )

    def newest(self, row: int) -> int:
        """Returns the time of the newest event of a row."""
        return int(self.array[row, NEWEST])

    def is_newer(self, row: int, ts: int, tag: int) -> bool:
        """Returns whether an event under some weights is newer than the newest event of its row."""
        if self.array[row, TAG] == tag:
            return ts > self.newest(row)
        return self._counters[row, STEPS] == 0 or ts > int(self._counters[row, LAST_TS])

    def count(self, row: int) -> int:
        """Returns the number of events in a row's ring."""
        return int(self.array[row, COUNT])

    def base(self, row: int) -> int:
        """Returns the number of the ring's events in the newer checkpoint."""
        return int(self.array[row, BASE])

    def rewind(self, row: int, *, newer: bool) -> None:
        """Overwrites the state of a row by a checkpoint, except for number and silence of its newest event."""
        at, counters = self.layout, self._counters
        event, seen = counters[row, EVENT], counters[row, SEEN]
        first = at.newer if newer else at.older
        for part in self._parts:
            width = part.shape[1]
            part[row] = self.array[row, first : first + width]
            first += width
        counters[row, EVENT], counters[row, SEEN] = event, seen

    def take_newer(self, row: int) -> None:
        """Replaces the newer checkpoint of a row by its present state."""
        at = self.layout
        place = at.newer
        for part in self._parts:
            self.array[row, place : place + part.shape[1]] = part[row]
            place += part.shape[1]
        self.array[row, [at.newer + EVENT, at.newer + SEEN]] = 0

    def is_full(self, row: int) -> bool:
        """Returns whether the row must move on."""
        return int(self.array[row, COUNT] - self.array[row, BASE]) == self.layout.within

    def restore(self, used: int, written: int, history: HistoryRing) -> None:
        """Checks the restored words of the rows in use, and continues with a history that may number its events anew.

        Args:
            used: rows in use.
            written: events in the history when the state was taken.
            history: restored.

        Raises:
            CheckpointError: no row can have such numbers.
        """
        at, late = self.layout, self.array[:used]
        count, base = late[:, COUNT], late[:, BASE]
        fits = (count >= 0) & (base >= 0) & (count >= base) & (count - base < at.within)
        fits &= (base == 0) | (base == at.within)
        if not fits.all():
            row = int(np.flatnonzero(~fits)[0])
            msg = (
                f"{NAME}: got {count[row]} late events kept and {base[row]} in the newer checkpoint of row {row}, "
                f"expected 0 or {at.within}, and fewer than {at.within} after it"
            )
            raise CheckpointError(msg)
        if moved := written - history.written:
            slots = late[:, at.slots : at.numbers]
            slots[slots >= 0] -= moved
            slots[(slots < 0)] = NO_SLOT
