"""The seam between history and live stream, against a naive twin; its bound and its state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.ports import HISTORY_BEGIN, Records
from service.seam import Seam

Event = tuple[str, int]
DECODER = Decoder(InputConfig.model_validate({}))
EVENTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=30)


def records(events: Sequence[Event], position: int) -> Records:
    """Returns events as records from a position on."""
    values = [orjson.dumps({"series": series, "timestamp": at, "value": 1.0}) for series, at in events]
    return Records("p", range(position, position + len(events)), position + len(events), values)


def taken(seam: Seam, events: Sequence[Event], position: int, cuts: Sequence[int]) -> tuple[list[Event], list[int]]:
    """Passes events through a seam in batches; returns the admitted ones, and the positions of duplicates."""
    found, gone = list[Event](), list[int]()
    bounds = sorted({0, len(events), *(cut for cut in cuts if cut <= len(events))})
    for start, end in pairwise(bounds):
        batch = records(events[start:end], position + start)
        admitted = seam.admitted(batch, DECODER.decode(batch))
        seam.pass_by(batch, admitted.series, admitted.timestamp_ms)
        found += zip(admitted.series, admitted.timestamp_ms.tolist(), strict=True)
        gone += admitted.duplicates
    return found, gone


def twin(history: Sequence[Event], live: Sequence[Event], most: int) -> list[int]:
    """Returns the indices of live events that are dropped."""
    last: dict[str, int] = {}
    for series, at in history:
        last[series] = at
        if len(last) > most:
            del last[next(iter(last))]
    gone = []
    for index, (series, at) in enumerate(live):
        if series in last and at <= last[series]:
            gone.append(index)
        else:
            last.pop(series, None)
    return gone


@given(EVENTS, EVENTS, st.integers(1, 8), st.lists(st.integers(1, 30)), st.lists(st.integers(1, 30)))
def test_any_batches(history: list[Event], live: list[Event], most: int, cuts: list[int], restarts: list[int]) -> None:
    """Whatever the batches and the restarts between them, exactly the repeated events are dropped."""
    seam = Seam(most)
    assert taken(seam, history, HISTORY_BEGIN, cuts) == (history, [])
    expected = twin(history, live, most)
    found, gone = list[Event](), list[int]()
    for start, end in pairwise(sorted({0, *(cut for cut in restarts if cut < len(live)), len(live)})):
        again = Seam(most)
        again.restore(seam.arrays())
        seam = again
        more, dropped = taken(seam, live[start:end], start, cuts)
        found, gone = found + more, gone + dropped
    assert gone == expected
    assert found == [one for index, one in enumerate(live) if index not in expected]


def test_other_series() -> None:
    """A series that the history does not have begins with its first live event, however old."""
    seam = Seam(10)
    taken(seam, [("a", 5)], HISTORY_BEGIN, ())
    assert taken(seam, [("b", 1), ("a", 5), ("a", 6), ("a", 2)], 0, ()) == ([("b", 1), ("a", 6), ("a", 2)], [1])
    assert len(seam) == 0


def test_own_series_of_a_history() -> None:
    """A partition takes in its own series only; the others are no duplicates, and one partition has the rejects."""
    batch = records([("a", 1), ("b", 2), ("a", 3)], HISTORY_BEGIN)
    batch.values[1] = b"no event"  # type: ignore[index]
    for takes_rejects in (True, False):
        found = Seam(10, lambda series: series == "a", takes_rejects=takes_rejects).admitted(
            batch, DECODER.decode(batch)
        )
        assert found.series == ["a", "a"]
        assert found.duplicates == []
        assert len(found.rejects) == takes_rejects
    none = Seam(10, lambda _: False).admitted(batch, DECODER.decode(batch))
    assert len(none) == 0
    assert none.batch.timestamp_ms.dtype == np.int64
