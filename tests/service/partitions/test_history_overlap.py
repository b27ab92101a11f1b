"""The overlap of history and live stream, against a naive twin; its bound and its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.partitions.history_overlap import NEWEST, HistoryOverlap
from service.ports import HISTORY_BEGIN, Records

Event = tuple[str, int]
NEVER = -(1 << 63)
DECODER = Decoder(InputConfig.model_validate({}))
EVENTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=30)


def records(events: Sequence[Event], position: int) -> Records:
    """Returns events as records from a position on."""
    values = [orjson.dumps({"series": series, "timestamp": at, "value": 1.0}) for series, at in events]
    return Records("p", range(position, position + len(events)), position + len(events), values)


def taken(
    overlap: HistoryOverlap, events: Sequence[Event], position: int, cuts: Sequence[int]
) -> tuple[list[Event], list[int]]:
    """Passes events through an overlap in batches; returns the admitted ones, and the positions of duplicates."""
    found, gone = list[Event](), list[int]()
    bounds = sorted({0, len(events), *(cut for cut in cuts if cut <= len(events))})
    for start, end in pairwise(bounds):
        batch = records(events[start:end], position + start)
        admitted = overlap.admitted(batch, DECODER.decode(batch))
        overlap.pass_by(batch, admitted.series, admitted.timestamp_ms)
        found += zip(admitted.series, admitted.timestamp_ms.tolist(), strict=True)
        gone += admitted.duplicates
    return found, gone


def accepted(at: int | None) -> Callable[[Sequence[str], NDArray[np.int64]], NDArray[np.int64]]:
    """Returns an engine that has accepted times of all series up to the n-th greatest; None: none of them."""

    def of(series: Sequence[str], times: NDArray[np.int64]) -> NDArray[np.int64]:
        assert times.shape == (len(series), NEWEST)
        return np.full(len(series), NEVER) if at is None else times[:, at]

    return of


def twin(history: Sequence[Event], live: Sequence[Event], most: int, at: int | None) -> list[int]:
    """Returns the indices of live events that are dropped."""
    known: dict[str, set[int]] = {}
    for series, time_ms in history:
        known.setdefault(series, set()).add(time_ms)
        if len(known) > most:
            del known[next(iter(known))]
    gone = []
    for index, (series, time_ms) in enumerate(live):
        newest = sorted(known.get(series, ()))[-NEWEST:]
        padded = [NEVER] * (NEWEST - len(newest)) + newest
        if series in known and (time_ms in newest or (at is not None and time_ms <= padded[at])):
            gone.append(index)
        else:
            known.pop(series, None)
    return gone


@given(
    EVENTS, EVENTS, st.integers(1, 8), st.lists(st.integers(1, 30)), st.lists(st.integers(1, 30)),
    st.sampled_from([None, 0, 2, 3]),
)  # fmt: skip
def test_any_batches(
    history: list[Event], live: list[Event], most: int, cuts: list[int], restarts: list[int], at: int | None
) -> None:
    """Whatever the batches and the restarts, also within the history, exactly the repeated events are dropped."""
    overlap = HistoryOverlap(most)
    for start, end in pairwise(sorted({0, *(cut for cut in restarts if cut < len(history)), len(history)})):
        assert taken(overlap, history[start:end], HISTORY_BEGIN + start, cuts) == (history[start:end], [])
        overlap = restored(overlap, most)
    overlap.end(accepted(at))
    expected = twin(history, live, most, at)
    found, gone = list[Event](), list[int]()
    for start, end in pairwise(sorted({0, *(cut for cut in restarts if cut < len(live)), len(live)})):
        overlap = restored(overlap, most)
        more, dropped = taken(overlap, live[start:end], start, cuts)
        found, gone = found + more, gone + dropped
    assert gone == expected
    assert found == [one for index, one in enumerate(live) if index not in expected]


def restored(overlap: HistoryOverlap, most: int) -> HistoryOverlap:
    """Returns an overlap with the state of another one."""
    again = HistoryOverlap(most)
    again.restore(overlap.arrays())
    return again


@given(st.permutations(range(8)), st.lists(st.integers(50, 60), max_size=3, unique=True))
def test_repeated_events_of_a_history(order: list[int], wrong: list[int]) -> None:
    """In whatever order the history has its events, and with wrong times of the future: repeated ones are dropped.

    The engine has accepted all but the wrong times. Events that the history does not have are admitted, also those
    before the wrong times.
    """
    overlap = HistoryOverlap(10)
    taken(overlap, [("a", time_ms) for time_ms in [*order, *wrong]], HISTORY_BEGIN, ())
    overlap.end(lambda series, _: np.full(len(series), max(order)))
    repeated = [("a", time_ms) for time_ms in [*sorted(order), *wrong]]
    assert taken(overlap, [*repeated, ("a", 8), ("a", 9)], 0, ()) == ([("a", 8), ("a", 9)], list(range(len(repeated))))


def test_other_series() -> None:
    """A series that the history does not have begins with its first live event, however old."""
    overlap = HistoryOverlap(10)
    taken(overlap, [("a", 5)], HISTORY_BEGIN, ())
    overlap.end(accepted(-1))
    assert taken(overlap, [("b", 1), ("a", 5), ("a", 6), ("a", 2)], 0, ()) == ([("b", 1), ("a", 6), ("a", 2)], [1])
    assert len(overlap) == 0


def test_own_series_of_a_history() -> None:
    """A partition takes in its own series only; the others are no duplicates, and one partition has the rejects."""
    batch = records([("a", 1), ("b", 2), ("a", 3)], HISTORY_BEGIN)
    batch.values[1] = b"no event"  # type: ignore[index]
    for takes_rejects in (True, False):
        found = HistoryOverlap(10, lambda series: series == "a", takes_rejects=takes_rejects).admitted(
            batch, DECODER.decode(batch)
        )
        assert found.series == ["a", "a"]
        assert found.duplicates == []
        assert len(found.rejects) == takes_rejects
    none = HistoryOverlap(10, lambda _: False).admitted(batch, DECODER.decode(batch))
    assert len(none) == 0
    assert none.batch.timestamp_ms.dtype == np.int64
