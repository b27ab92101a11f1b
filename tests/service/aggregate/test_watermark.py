"""The watermark of a partition: decided by the majority of its series, whatever the clocks of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_columns import Raw, aggregator_of, rows, take

from service.aggregate.watermark import RETURNING, Watermark

LEAP = 400
LENGTH = 100  # of a window
FAR = 1_000_000
MINUTE = 60_000


def watermark_of(target: int = LENGTH) -> Watermark:
    """Returns a watermark at zero whose next windows close at a target."""
    found = Watermark(LEAP, LENGTH, LEAP)
    found.ms, found.target = 0, target
    return found


def passes(found: Watermark, active: int, *events: tuple[str, int]) -> bool:
    """Returns whether the target is reached after these events."""
    for series, time in events:
        found.observe(series, time, active)
    return found.is_reached(active)


class TestMajority:
    """More than half of the series decide."""

    def test_more_than_half(self) -> None:
        """Half of the series are not enough, however many events they send."""
        found = watermark_of()
        assert not passes(found, 4, ("a", 100), ("b", 120), ("a", 130), ("b", 140))
        assert passes(found, 4, ("c", 100))

    def test_resting_series_are_voters(self) -> None:
        """A series whose window has just closed counts, until the longest interval is over."""
        found = watermark_of()
        found.resting = {"x": 0, "y": 0}
        assert not passes(found, 2, ("a", 100), ("b", 100))
        found.ms = LENGTH
        found.rest(0)
        assert not found.resting

    def test_a_series_that_returns(self) -> None:
        """A series whose next event is before the target has not passed it."""
        found = watermark_of()
        assert not passes(found, 3, ("a", 100), ("a", 99), ("b", 100))
        assert passes(found, 3, ("c", 150))

    def test_what_is_left_for_the_next_target(self) -> None:
        """Series that are beyond the next target too have passed it already."""
        found = watermark_of()
        passes(found, 3, ("a", 250), ("b", 150))
        found.aim(200)
        assert found.passed == {"a": 250}
        assert not passes(found, 3, ("b", 199))
        assert passes(found, 3, ("b", 200))


class TestFarEvents:
    """Events that are more than a leap ahead."""

    def test_one_wrong_event(self) -> None:
        """In a partition with one series, one wrong time and two in a row close nothing; three do."""
        found = watermark_of()
        assert not passes(found, 1, ("a", FAR), ("a", 50))
        assert not passes(found, 1, ("a", FAR), ("a", FAR))
        assert passes(found, 1, ("a", FAR))

    def test_the_first_watermark(self) -> None:
        """Without a watermark, the first windows say what is far."""
        found = watermark_of(FAR)
        found.ms = None
        assert not passes(found, 1, ("a", FAR - 1), ("a", FAR + LEAP + 1))
        assert passes(found, 1, ("a", FAR - 1), ("a", FAR + LEAP))

    def test_a_pause_of_all(self) -> None:
        """After a pause it goes on once more than half of the series are back."""
        events = [(name, FAR + at) for at, name in enumerate("abcdef")]
        assert not passes(watermark_of(), 10, *events[:5])
        assert passes(watermark_of(), 10, *events)

    def test_sparse_streams(self) -> None:
        """Where all events are far apart, each window closes with the third event behind it, not groups of windows."""
        closed = take(aggregator_of(functions=["mean"]), [Raw("a", at * 3600_000) for at in range(8)])
        assert [(start // 3600_000, at) for start, at in zip(closed.start_ms, closed.index, strict=True)] == [
            (at, at + 3) for at in range(5)
        ]


class TestSilentMajority:
    """The other series are silent."""

    def test_it_goes_on_without_them(self) -> None:
        """A series that goes on for more than a leap, without an event before the target, is enough."""
        times = range(100, 100 + LEAP, 10)
        found = watermark_of()
        assert not passes(found, 10, *[("a", time) for time in times])
        assert not passes(found, 10, ("b", 99), *[("a", time) for time in range(500, 900, 10)])
        assert passes(found, 10, *[("a", time) for time in range(901, 906)])

    def test_jumps_count_in_part(self) -> None:
        """One wrong time is not the time that a series has gone on."""
        assert not passes(watermark_of(), 10, ("a", 100), ("a", FAR), ("a", FAR + 1), ("a", 2 * FAR))
        assert not passes(watermark_of(), 10, *[("a", FAR * at) for at in range(1, 30)])
        assert passes(watermark_of(), 10, *[("a", FAR * at) for at in range(1, 31)])

    def test_late_events_do_not_stop_it(self) -> None:
        """Events that are behind the watermark say nothing of the time."""
        assert passes(watermark_of(), 10, *[("ab"[at % 2], (100 + 10 * at) * (1 - at % 2) - 1) for at in range(90)])


def test_it_returns() -> None:
    """A watermark that was wrong goes back after many events in a row that are far behind it."""
    wrong = watermark_of(FAR + LENGTH)
    wrong.ms = FAR
    for at in range(RETURNING - 1):
        wrong.observe("a", at % 50, 1)
    assert wrong.ms == FAR
    wrong.observe("a", 60, 1)
    assert wrong.ms == 60


def test_bounded() -> None:
    """Series without windows, of which there may be any number, do not fill the memory."""
    found = watermark_of()
    for at in range(1000):
        passes(found, 4, (f"s{at}", FAR), (f"s{at}", FAR), ("near", 50))
    assert len(found.passed) <= 3


class Clocks(NamedTuple):
    """Events of right and wrong senders in the order of their arrival, and the number of right ones."""

    events: list[Raw]
    right: int


@st.composite
def clocks(draw: st.DrawFn) -> Clocks:
    """Returns a stream in which less than half of the senders have clocks that are fast, by any amount.

    Every right sender sends in each minute, with up to 9 s of delay; the wrong ones send at any rate. The right ones
    are known first: where only wrong ones have sent so far, they are the majority.
    """
    right = draw(st.integers(2, 6))
    wrong = draw(st.integers(1, right - 1))
    ahead = st.one_of(st.integers(1, 5 * MINUTE), st.integers(1, 10**11))
    offsets = [draw(ahead) for _ in range(wrong)]
    arrivals: list[tuple[int, Raw]] = []
    for minute in range(draw(st.integers(3, 9))):
        for sender in range(right):
            for second in draw(st.lists(st.integers(0, 59), min_size=1, max_size=3)):
                time, delay = minute * MINUTE + second * 1000, draw(st.integers(0, 9000))
                arrivals.append((time + delay, Raw(f"right{sender}", time)))
    for sender, offset in enumerate(offsets):
        times = draw(st.lists(st.integers(0, 9 * MINUTE), max_size=60))
        arrivals += [(now, Raw(f"wrong{sender}", now + offset)) for now in times]
    arrivals.sort(key=lambda pair: pair[0])
    first = [Raw(f"right{sender}", 0) for sender in range(right)]
    return Clocks([*first, *[event for _, event in arrivals]], right)


@given(clocks())
def test_a_minority_of_fast_clocks(stream: Clocks) -> None:
    """No event of the others is late, however far ahead the clocks of the minority are."""
    closed = take(aggregator_of(functions=["count"], grace="10s"), stream.events)
    late = {stream.events[at].series for at, problem in closed.refused if problem.reason == "late"}

    assert not [name for name in late if name.startswith("right")]


def test_series_whose_window_has_just_closed() -> None:
    """Two of five series with fast clocks are the minority also right after a closing, before the others send again."""
    order = [("right0", 11, 0), ("wrong0", 12, 2), ("wrong1", 13, 2), ("right1", 40, 0), ("right2", 41, 0)]
    events = [Raw(f"right{at}", at) for at in range(3)]
    events += [
        Raw(name, (minute + ahead) * MINUTE + second * 1000) for minute in range(9) for name, second, ahead in order
    ]
    closed = take(aggregator_of(functions=["count"], grace="10s"), events)

    assert not closed.refused
    assert max(closed.start_ms) == 7 * MINUTE


@given(clocks())
def test_fast_clocks_do_not_hold_windows_open(stream: Clocks) -> None:
    """The windows of the others close as soon as the minority allows: with the last of the right senders at the latest.

    A window is closed once every right sender has been heard again after its end and the grace.
    """
    events = stream.events
    closed = take(aggregator_of(functions=["count"], grace="10s"), events)
    found = {(name, start): at for (name, start, *_), at in zip(rows(closed), closed.index, strict=True)}
    for at, event in enumerate(events):
        if event.series.startswith("right"):
            start = event.time_ms // MINUTE * MINUTE
            known = latest(events, start + MINUTE + 10_000, stream.right)
            if known is not None and at <= known:
                assert found.get((event.series, start), len(events)) <= known


def latest(events: Sequence[Raw], target: int, right: int) -> int | None:
    """Returns the index of the third event with which all right senders have passed a target, None without one."""
    last, times = dict[str, int](), 0
    for at, one in enumerate(events):
        if one.series.startswith("right"):
            last[one.series] = one.time_ms
            if one.time_ms >= target and len(last) == right and min(last.values()) >= target:
                times += 1
                if times == 3:
                    return at
    return None


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_the_majority_closes(count: int) -> None:
    """Of series that send in turn, a window closes with the event by which more than half of them are behind it."""
    events = [Raw(f"s{at % count}", at * MINUTE // 20) for at in range(400)]
    closed = take(aggregator_of(functions=["count"], grace="0s"), events)
    for start, at in list(zip(closed.start_ms, closed.index, strict=True))[3 * count :]:
        first = (start + MINUTE) // 3000
        assert at == first + count // 2


def test_windows_of_wrong_times_are_dropped() -> None:
    """A window of a time that was wrong does not stay open for ever, and its series is forecast as before."""
    events = [Raw("abc"[at % 3], at * 1000) for at in range(600)]
    events[310] = events[310]._replace(time_ms=10**12)
    aggregator = aggregator_of(functions=["count"])
    closed = take(aggregator, events)

    assert closed.dropped == 1
    assert max(closed.start_ms) < 10 * MINUTE
    assert len(aggregator) == 3


def test_windows_behind_a_pause_are_kept() -> None:
    """Windows that are opened after a long pause, while others wait to close, are no wrong times."""
    events = [Raw("abc"[at % 3], at * 1000) for at in range(300)]
    events += [Raw("abc"[at % 3], 10**10 + at * 1000) for at in range(300)]
    closed = take(aggregator_of(functions=["count"]), events)

    assert not closed.dropped
    assert not closed.refused
