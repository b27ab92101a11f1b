"""Stragglers behind the grace give the values of the sorted stream, within the bound, whatever batches and restarts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_columns import TICK, Raw, aggregator_of, bytes_of, columns, rows, take, ticks

from forecaster import CheckpointError
from service.aggregate.aggregator import Aggregator
from service.aggregate.closed_windows import ClosedWindows
from service.aggregate.closing_rows import MOST_REVISED
from service.aggregate.histogram_buckets import MOST_BUCKETS
from service.messages.controls import Tombstone
from service.ports import TimeMark

BEGIN = 1_774_744_200_000
MINUTE = 60_000
WITHIN = 3
# All but first and last, which depend on the order of arrival where two events have the same time, as random ones do.
FUNCTIONS = ["count", "sum", "mean", "min", "max", "median", "p95", "distinct", "increase"]
Values = dict[tuple[str, int], float]


class Straggling(NamedTuple):
    """A stream with disorder within grace and bound, in its order of arrival."""

    events: list[Raw]
    grace: int
    within: int


@st.composite
def stragglers(draw: st.DrawFn) -> Straggling:
    """Returns a random stream of two series, with gaps and repeated times, among others that are in order."""
    grace, within = draw(st.sampled_from([0, 5_000, 2 * MINUTE])), draw(st.sampled_from([1, 4, 8]))
    most = grace + within * MINUTE
    steps = st.tuples(
        st.sampled_from("aab"),
        st.sampled_from([0, 9_000, 40_000, MINUTE, 3 * MINUTE]),
        st.integers(-5, 5).map(float),
        st.sampled_from([0, 0, most // 2, most]),
    )
    time, arrivals = BEGIN, []
    for series, step, value, delay in draw(st.lists(steps, max_size=40)):
        time += step
        arrivals.append((time + delay, Raw(series, time, value)))
    arrivals += [(one.time_ms, one) for one in ticks(BEGIN, time + most + 3 * MINUTE, MINUTE)]
    arrivals.sort(key=lambda pair: pair[0])
    return Straggling([event for _, event in arrivals], grace, within)


def of(stream: Straggling, **more: Any) -> Aggregator:
    """Returns an aggregator for a stream."""
    fixed = {"functions": FUNCTIONS, "counters": "functions", "empty": "missing"}
    return aggregator_of(100, stream.within, **(fixed | {"grace": stream.grace / 1000} | more))


def observed(found: Sequence[ClosedWindows]) -> Values:
    """Returns the value of every series and time behind all of them: a revision replaces one, a duplicate does not."""
    values: Values = {}
    for closed in found:
        for (series, start, _, value), revises in zip(all_rows(closed), closed.revises, strict=True):
            if revises or (series, start) not in values:
                values[series, start] = value
    return {key: value for key, value in values.items() if not key[0].startswith(TICK)}


def all_rows(closed: ClosedWindows) -> list[tuple[str, int, int, float]]:
    """Returns series, begin, end and value of closed windows."""
    return list(zip(closed.series, closed.start_ms, closed.end_ms, closed.values, strict=True))


def in_order(stream: Straggling) -> list[Raw]:
    """Returns the events by time."""
    return sorted(stream.events, key=lambda one: one.time_ms)


def bits(values: Values) -> dict[tuple[str, int], str]:
    """Returns values whose nan are equal."""
    return {key: value.hex() for key, value in values.items()}


@pytest.mark.parametrize("empty", ["missing", "zero", "last", "auto"])
@settings(max_examples=150, deadline=None)
@given(stream=stragglers())
def test_values_of_the_sorted_stream(empty: str, stream: Straggling) -> None:
    """Every window has the value of the sorted stream behind the last revision, and no event is late."""
    expected = take(of(stream, empty=empty), in_order(stream))
    found = take(of(stream, empty=empty), stream.events)

    assert not found.refused
    assert found.taken == expected.taken
    assert not any(expected.revises)
    assert expected.repaired == 0
    assert bits(observed([found])) == bits(observed([expected]))


@given(stream=stragglers(), data=st.data())
def test_batches_records_and_restarts(stream: Straggling, data: st.DataObject) -> None:
    """Any cut into batches, and a restart at each, gives the same rows; one row of a series and time per record."""
    events = stream.events
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=len(events), max_size=len(events)))
    index = np.repeat(np.arange(len(events)), sizes)[: len(events)].tolist()
    within = data.draw(st.sampled_from([1, stream.within]))
    stream = stream._replace(within=within)
    straight = take(of(stream, empty="last"), events, index=index)
    starts = [0, *(at for at in range(1, len(events)) if index[at] != index[at - 1]), len(events)]
    cuts = sorted({0, len(events), *data.draw(st.lists(st.sampled_from(starts), max_size=8))})
    aggregator, found = of(stream, empty="last"), list[tuple[Any, ...]]()
    for start, end in pairwise(cuts):
        closed, _ = aggregator.take(columns(events[start:end], index[start:end]), 0, deque())
        found += zip(all_rows(closed), closed.revises, closed.index, strict=True)
        arrays = {name: array.copy() for name, array in aggregator.arrays().items()}
        aggregator = of(stream, empty="last")
        aggregator.restore(arrays)
        assert {name: one.tobytes() for name, one in aggregator.arrays().items()} == {
            name: one.tobytes() for name, one in arrays.items()
        }

    assert repr(found) == repr(list(zip(all_rows(straight), straight.revises, straight.index, strict=True)))


def minutes(*at: float, series: str = "a", value: float = 1.0) -> list[Raw]:
    """Returns an event per time in minutes."""
    return [Raw(series, BEGIN + round(one * MINUTE), value) for one in at]


def after(events: Sequence[Raw], within: int = WITHIN, **more: Any) -> tuple[Aggregator, ClosedWindows]:
    """Returns an aggregator of counts behind some events, and what it has closed."""
    aggregator = aggregator_of(100, within, **({"functions": ["count"], "grace": 0, "empty": "missing"} | more))
    return aggregator, take(aggregator, events)


def shown(closed: ClosedWindows) -> list[tuple[float, float, bool]]:
    """Returns minute, value and whether it is a revision, of closed windows."""
    found = zip(closed.start_ms, closed.values, closed.revises, strict=True)
    return [((start - BEGIN) / MINUTE, value, revises) for start, value, revises in found]


class TestBound:
    """How late a straggler may be."""

    @pytest.mark.parametrize("within", [1, 2, 5])
    def test_windows_that_closed_lately(self, within: int) -> None:
        """The newest `late_within` closed windows of a series are revised, earlier ones are not."""
        for behind in range(1, 8):
            aggregator, _ = after(minutes(*range(12)), within)
            closed = take(aggregator, minutes(11.5 - behind))
            if behind <= within:
                assert shown(closed) == [(11.0 - behind, 2.0, True)]
                assert (closed.taken, closed.repaired, closed.refused) == (1, 1, [])
            else:
                assert [problem.reason for _, problem in closed.refused] == ["late"]
                assert (len(closed), closed.taken, closed.repaired) == (0, 0, 0)

    def test_off(self) -> None:
        """Without a bound nothing is kept."""
        aggregator, _ = after(minutes(*range(12)), 0)
        assert not aggregator.arrays()["revisions"][:, 0].any()
        assert len(take(aggregator, minutes(10.5)).refused) == 1

    def test_memory(self) -> None:
        """A series keeps as many closed windows as the bound has intervals, also where some had no events."""
        for within in (1, 4):
            kept = after(minutes(*range(100)), within)[0].arrays()["revisions"]
            assert kept[:, 0].tolist() == [within]
        assert after(minutes(*range(0, 100, 2)), 4)[0].arrays()["revisions"][:, 0].tolist() == [2]

    def test_a_burst_moves_no_watermark_back(self) -> None:
        """Thousands of stragglers in a row, all within the bound, do not show that the watermark is wrong."""
        aggregator, _ = after(minutes(*range(20)), 15)
        closed = take(aggregator, minutes(*[4.5] * 3000))
        assert (closed.repaired, closed.refused) == (3000, [])
        assert shown(closed)[-1] == (4.0, 3001.0, True)
        assert shown(take(aggregator, minutes(20))) == [(19.0, 1.0, False)]


class TestWindows:
    """Which windows a straggler changes."""

    def test_window_without_events(self) -> None:
        """A straggler of an interval without events gives it a value."""
        aggregator, _ = after(minutes(0, 1, 2, 5, 6))
        assert shown(take(aggregator, minutes(4.5))) == [(4.0, 1.0, True)]
        assert shown(take(aggregator, minutes(4.2))) == [(4.0, 2.0, True)]

    def test_before_the_first_window(self) -> None:
        """A straggler before the first window of a series is its new begin; the intervals between are empty."""
        aggregator, _ = after([*minutes(*range(9), series="b"), *minutes(8)], empty="zero")
        closed = take(aggregator, [*minutes(9), *minutes(9, series="b"), *minutes(6.5)])
        assert shown(closed)[2:] == [(6.0, 1.0, False), (7.0, 0.0, False)]

    @pytest.mark.parametrize("empty", ["zero", "last", "missing"])
    def test_long_before_the_first_window(self, empty: str) -> None:
        """One straggler adds a bounded number of windows; where empty ones have no value, it may be as early as any."""
        for between in (MOST_REVISED, MOST_REVISED + 1, 900):
            others = [*minutes(*range(1002), series="b"), *minutes(*range(1002), series="c")]
            mine = sorted([*others, *minutes(1000, 1001)], key=lambda one: one.time_ms)
            aggregator, _ = after(mine, 1000, empty=empty)
            closed = take(aggregator, minutes(999.5 - between, value=7.0))
            if empty == "missing":
                assert shown(closed) == [(999.0 - between, 1.0, False)]
            elif between > MOST_REVISED:
                assert [problem.reason for _, problem in closed.refused] == ["late"]
                assert len(closed) == 0
            else:
                assert len(closed) == 1 + MOST_REVISED
                assert shown(closed)[0] == (999.0 - between, 1.0, False)

    def test_behind_the_last_window(self) -> None:
        """A straggler of a series that has been silent since closes its window at once."""
        others = [*minutes(*range(12), series="b"), *minutes(*range(12), series="c")]
        aggregator, _ = after([*minutes(0, 1), *sorted(others, key=lambda one: one.time_ms)], 3)
        assert shown(take(aggregator, minutes(7.5)))[-1:] == []
        assert shown(take(aggregator, minutes(9.5))) == [(9.0, 1.0, False)]
        assert shown(take(aggregator, minutes(9.6))) == [(9.0, 2.0, True)]

    def test_unchanged_values(self) -> None:
        """A function whose value does not change has no revision."""
        aggregator, _ = after(minutes(0, 1, 2, 3, value=5.0), functions=["max", "count"])
        closed = take(aggregator, minutes(2.5, value=3.0))
        assert closed.series == ["a.count"]

    def test_empty_windows_behind_it(self) -> None:
        """With `empty = "last"` the intervals without events behind a revised window have its new value."""
        aggregator, _ = after(minutes(1, 4, 5), empty="last", functions=["max"])
        closed = take(aggregator, minutes(1.5, value=9.0))
        assert shown(closed) == []
        aggregator, _ = after(minutes(1, 4, 5), 4, empty="last", functions=["max"])
        closed = take(aggregator, minutes(1.5, value=9.0))
        assert shown(closed) == [(1.0, 9.0, True), (2.0, 9.0, True), (3.0, 9.0, True)]

    @pytest.mark.parametrize("gap", [MOST_REVISED - 1, MOST_REVISED, MOST_REVISED + 1, 900])
    def test_many_empty_windows_behind_it(self, gap: int) -> None:
        """Of many intervals without events, those directly behind a revised window have its new value."""
        functions = ["max", "last", "sum", "count"]
        ahead = [1 + at / 2 for at in range(2 * gap)]  # of another series, so that time goes on
        events = [
            *minutes(0, 1),
            *minutes(*ahead, series="b"),
            *minutes(gap + 2, gap + 3),
            *minutes(gap + 3, series="b"),
        ]
        aggregator, before = after(events, 1000, empty="last", functions=functions)
        closed = take(aggregator, minutes(1.5, value=9.0))
        assert len(closed) == len(functions) * (1 + min(gap, 32))
        assert all(closed.revises)
        assert sorted({(start - BEGIN) // MINUTE for start in closed.start_ms}) == list(
            range(1, 2 + min(gap, MOST_REVISED))
        )
        values = observed([before, closed])
        assert [values["a.max", BEGIN + at * MINUTE] for at in range(1, gap + 2)] == [
            9.0 if at <= MOST_REVISED else 1.0 for at in range(gap + 1)
        ]

    def test_unchanged_values_before_empty_windows(self) -> None:
        """Where a value does not change, neither do the intervals without events behind it."""
        aggregator, _ = after(minutes(1, 4, 5, value=5.0), 4, empty="last", functions=["max", "count"])
        closed = take(aggregator, minutes(1.5, value=3.0))
        assert closed.series == ["a.count"] * 3

    def test_several_stragglers_of_a_record(self) -> None:
        """The stragglers of a record revise a window once."""
        aggregator, _ = after(minutes(*range(5)))
        closed = take(aggregator, minutes(3.1, 3.2, 2.5, 3.3), index=[0, 0, 0, 0])
        assert shown(closed) == [(2.0, 2.0, True), (3.0, 4.0, True)]
        assert closed.repaired == 4

    @pytest.mark.parametrize("at", [3.5, 4.5])
    def test_buckets_without_room(self, at: float) -> None:
        """A straggler whose bucket is one too many is added to no window, and not counted as such."""
        functions: dict[str, Any] = {"functions": ["histogram_median"], "counters": "functions"}
        bounds = [*range(MOST_BUCKETS), math.inf]
        events = [one for minute in (0, 1, 2, 3, 5, 6) for one in minutes(minute, series='a{le="1"}')]
        aggregator, _ = after(events, **functions)
        late = [one for bound in bounds for one in minutes(at, series=f'a{{le="{bound}"}}')]
        closed = take(aggregator, late)
        assert [problem.reason for _, problem in closed.refused] == ["no_bucket"]
        assert (closed.taken, closed.repaired) == (MOST_BUCKETS, MOST_BUCKETS)

    def test_new_series_of_a_full_table(self) -> None:
        """Series that the stragglers of a record begin are not removed for others of it: each is known behind it."""
        others = [Raw(name, BEGIN + at * MINUTE) for at in range(6) for name in ("x", "y", "z")]
        aggregator = aggregator_of(5, WITHIN, functions=["count"], grace=0, empty="missing")
        take(aggregator, others)
        late = [*minutes(4.1, series="a"), *minutes(4.2, series="b"), *minutes(4.3, series="c")]
        closed = take(aggregator, late, index=[0, 0, 0])
        assert closed.series == ["a", "b"]
        assert [(at, problem.reason) for at, problem in closed.refused] == [(0, "late")]
        again = take(aggregator, [*minutes(4.4, series="a"), *minutes(4.4, series="b")])
        assert shown(again) == [(4.0, 2.0, True)] * 2
        assert take(aggregator, minutes(4.5, series="c")).series == ["c"]  # with a record of its own there is room

    def test_forgotten_series(self) -> None:
        """A series that was forgotten has no closed windows."""
        aggregator, _ = after(minutes(*range(5)))
        closed = take(aggregator, [*minutes(5), *minutes(3.5)], [Tombstone(0, 1, "a")])
        assert not any(closed.revises)


@pytest.mark.parametrize("later_ms", [[], [BEGIN + 8 * MINUTE]])
@pytest.mark.parametrize("restart", [False, True])
def test_a_straggler_behind_marks(later_ms: list[int], restart: bool) -> None:
    """Windows that a mark closed far ahead of the watermark stay closed, also behind a mark of a smaller time."""
    aggregator, _ = after(minutes(*range(4)), 2, empty="zero")
    take(aggregator, minutes(30))
    for at, time_ms in enumerate([BEGIN + 40 * MINUTE, *later_ms]):
        aggregator.mark(TimeMark(at, time_ms))
    if restart:
        arrays, (aggregator, _) = aggregator.arrays(), after([], 2, empty="zero")
        aggregator.restore(arrays)
    closed = take(aggregator, minutes(10.5))
    assert [problem.reason for _, problem in closed.refused] == ["late"]
    assert shown(take(aggregator, minutes(30.5))) == [(30.0, 2.0, True)]


def test_another_bound() -> None:
    """With another bound no window is revised that closed before; those that close from then on are."""
    for before in (0, 2):
        aggregator, _ = after(minutes(*range(6)), before)
        other = aggregator_of(100, WITHIN, functions=["count"], grace=0, empty="missing")
        other.restore(aggregator.arrays())
        assert len(take(other, minutes(4.5)).refused) == 1
        take(other, minutes(6, 7))
        assert shown(take(other, minutes(5.5))) == [(5.0, 2.0, True)]
        assert len(take(other, minutes(4.5)).refused) == 1


@pytest.mark.parametrize(("name", "damage"), [
    ("revisions", lambda one: one + 1),
    ("revisions", lambda one: one[:, :2]),
    ("kept", lambda one: one[:-3]),
    ("late_within", lambda one: one.astype(np.float64)),
])  # fmt: skip
def test_damaged_states(name: str, damage: Any) -> None:
    """A state that cannot be one is refused."""
    aggregator, _ = after(minutes(*range(6)))
    arrays = aggregator.arrays()
    arrays[name] = damage(arrays[name])
    with pytest.raises(CheckpointError):
        after([])[0].restore(arrays)


def test_captured_windows_stay() -> None:
    """What a snapshot writes later is the state at its time, whatever happens to the windows meanwhile."""
    aggregator, _ = after(minutes(*range(9)), 4)
    expected = {name: array.copy() for name, array in aggregator.arrays().items()}
    arrays, streamed = aggregator.capture()
    take(aggregator, minutes(4.5, 5.5, 9, 10, 11, 12, 13, 14))
    arrays |= {name: np.concatenate([*array.blocks()]) for name, array in streamed.items()}

    assert {name: array.shape for name, array in streamed.items()} == {"kept": expected["kept"].shape}
    assert bytes_of(arrays) == bytes_of(expected)
    assert bytes_of(aggregator.arrays()) != bytes_of(expected)


def test_values_without_a_number() -> None:
    """A straggler with a value revises a window that had events without one."""
    aggregator, closed = after(minutes(*range(3), value=math.nan), functions=["mean"])
    assert all(math.isnan(value) for _, value, _ in shown(closed))
    assert shown(take(aggregator, minutes(1.5, value=2.0))) == [(1.0, 2.0, True)]
    assert rows(take(aggregator, minutes(1.6, value=math.nan))) == []
