"""The compiled functions on the rows of `late_rows`: a row's words are its ring of events and two checkpoints."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from forecaster.features.counters import EVENT, LAST_TS, NEVER, SEEN, STEPS
from forecaster.kernels.jit import inlined, kernel

# Columns of a row: events in the ring; those of them in the newer checkpoint, 0 or L; tag of the weights, 0 for a row
# without checkpoints; time of the newest event.
COUNT, BASE, TAG, NEWEST, HEADER = 0, 1, 2, 3, 4
NO_SLOT: Final = -(1 << 60)  # place in the history of an event that is not in it


class LateLayout(NamedTuple):
    """Places in a row, in words of 8 bytes.

    Attributes:
        within: L; the ring holds 2L events.
        words: of the row.
        times, values, slots: of the ring's events: time, bits of the value, number in the history.
        numbers: of the ring's covariates, then known future values, as float32, `event_words` per event.
        event_words: of the covariates and known future values of an event.
        covariates, future: number of them.
        older, newer: of the checkpoints: counters, statistics, hidden state, calendar state.
        counters, stats, hidden, calendar: words of these parts.
    """

    within: int
    words: int
    times: int
    values: int
    slots: int
    numbers: int
    event_words: int
    covariates: int
    future: int
    older: int
    newer: int
    counters: int
    stats: int
    hidden: int
    calendar: int


class RowWords(NamedTuple):
    """The parts of the state of all rows as words of 8 bytes, flat: counters, statistics, hidden and calendar state."""

    counters: Any
    stats: Any
    hidden: Any
    calendar: Any


class NewEvents(NamedTuple):
    """Events of a batch: rows, times, bits of the values, covariates and known future values, flat."""

    rows: Any
    ts: Any
    value: Any
    covariates: Any
    future: Any


@inlined
def copy_state(at: LateLayout, state: RowWords, late: Any, row: int, to: int) -> None:
    """Copies the present state of a row to its checkpoint at `to`."""
    place = row * at.words + to
    for k in range(at.counters):
        late[place + k] = state.counters[row * at.counters + k]
    late[place + EVENT] = late[place + SEEN] = 0
    place += at.counters
    for k in range(at.stats):
        late[place + k] = state.stats[row * at.stats + k]
    place += at.stats
    for k in range(at.hidden):
        late[place + k] = state.hidden[row * at.hidden + k]
    place += at.hidden
    for k in range(at.calendar):
        late[place + k] = state.calendar[row * at.calendar + k]


@inlined
def copy_words(late: Any, source: int, to: int, count: int) -> None:
    """Copies words to a smaller offset."""
    for k in range(count):
        late[to + k] = late[source + k]


@inlined
def clear_words(late: Any, start: int, count: int) -> None:
    """Overwrites words by 0."""
    for k in range(start, start + count):
        late[k] = 0


@kernel
def append_in_order(
    layout: Any, state: Any, late: Any, numbers: Any, events: Any, start: int, end: int, slot: int, tag: int, full: Any
) -> tuple[int, int]:
    """Appends events to the rings of their rows, up to the first that is late or whose row must move on before it.

    Args:
        layout: `LateLayout`. state: `RowWords`. events: `NewEvents`; all as plain tuples.
        late: words of all rows, overwritten. numbers: the same memory as float32.
        start, end: of the events.
        slot: number of the first event in the history; below 0: they are not in it.
        tag: of the weights in use.
        full: rows that must move on, overwritten.

    Returns:
        Index of the first event that was not appended; number of rows in `full`.
    """
    at, parts, new = LateLayout(*layout), RowWords(*state), NewEvents(*events)
    count = 0
    for i in range(start, end):
        row, ts = new.rows[i], new.ts[i]
        w = row * at.words
        if late[w + TAG] != tag:
            copy_state(at, parts, late, row, at.older)
            copy_state(at, parts, late, row, at.newer)
            late[w + COUNT] = late[w + BASE] = 0
            late[w + TAG] = tag
            known = parts.counters[row * at.counters + STEPS] > 0
            late[w + NEWEST] = parts.counters[row * at.counters + LAST_TS] if known else NEVER
        if ts < late[w + NEWEST]:
            return i, count
        if ts == late[w + NEWEST]:  # a duplicate
            continue
        n = late[w + COUNT]
        if n - late[w + BASE] == at.within:
            return i, count
        late[w + at.times + n], late[w + at.values + n], late[w + NEWEST] = ts, new.value[i], ts
        late[w + at.slots + n] = slot
        slot += 1 if slot >= 0 else 0
        place = 2 * (w + at.numbers + n * at.event_words)
        for k in range(at.covariates):
            numbers[place + k] = new.covariates[i * at.covariates + k]
        for k in range(at.future):
            numbers[place + at.covariates + k] = new.future[i * at.future + k]
        late[w + COUNT] = n + 1
        if n + 1 - late[w + BASE] == at.within:
            full[count] = row
            count += 1
    return end, count


@kernel
def move_on(layout: Any, state: Any, late: Any, rows: Any, count: int) -> None:
    """Moves the checkpoints of the first `count` rows on; their present state is that after all events of the ring."""
    at, parts = LateLayout(*layout), RowWords(*state)
    for i in range(count):
        row = rows[i]
        w = row * at.words
        base, n = late[w + BASE], late[w + COUNT]
        copy_words(late, w + at.newer, w + at.older, at.newer - at.older)
        if base > 0:
            for first in (at.times, at.values, at.slots):
                copy_words(late, w + first + base, w + first, n - base)
            copy_words(late, w + at.numbers + base * at.event_words, w + at.numbers, (n - base) * at.event_words)
            for first in (at.times, at.values, at.slots):  # no rest, which would depend on the order of arrival
                clear_words(late, w + first + n - base, base)
            clear_words(late, w + at.numbers + (n - base) * at.event_words, base * at.event_words)
        copy_state(at, parts, late, row, at.newer)
        late[w + COUNT] = late[w + BASE] = n - base
