"""The watermark of a partition, and times that it does not follow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.aggregate.watermark import RETURNING, Watermark

LEAP = 100
FAR = 1_000_000


def observed(*events: tuple[str, int], active: int = 1, begun: bool = True) -> Watermark:
    """Returns a watermark after events, which has begun at zero before them."""
    found = Watermark(LEAP)
    if begun:
        found.ms = 0
    for series, time in events:
        found.observe(series, time, active)
    return found


def test_it_begins_with_three_events() -> None:
    """One wrong first time does not begin the watermark; the greatest of three that is near the least one does."""
    assert observed(("a", FAR), ("a", 5), begun=False).ms is None
    assert observed(("a", FAR), ("a", 5), ("a", 50), begun=False).ms == 50


@given(st.lists(st.integers(0, LEAP), max_size=50))
def test_it_follows_steps(steps: list[int]) -> None:
    """It is the greatest time of a stream without leaps."""
    time, events = 0, []
    for step in steps:
        time += step
        events += [("a", time), ("b", max(0, time - 30))]
    assert observed(*events).ms == time


def test_one_event_does_not_move_it_far() -> None:
    """Events of one sender with a fast clock do not move it, as long as others are near it."""
    events = [event for at in range(50) for event in (("a", at), ("fast", FAR + at), ("fast", FAR + at))]
    assert observed(*events, active=2).ms == 49


def test_a_burst_of_a_fast_sender() -> None:
    """A burst of one series among many does not move it, unless time passes for this series alone."""
    assert observed(*[("fast", FAR)] * 200, active=10).ms == 0
    assert observed(*[("fast", FAR * at) for at in range(1, 30)], active=10).ms == 0
    assert observed(*[("fast", FAR + 4 * at) for at in range(30)], active=10).ms == FAR + 25 * 4


def test_a_pause_of_all() -> None:
    """After a pause it follows once more than half of the series have events beyond it."""
    events = [(name, FAR + at) for at, name in enumerate("abcdef")]
    assert observed(*events[:5], active=10).ms == 0
    assert observed(*events, active=10).ms == FAR + 5


def test_it_returns() -> None:
    """A watermark that was wrong begins anew after many events in a row that are far behind it."""
    wrong = Watermark(LEAP)
    wrong.ms = FAR
    for at in range(RETURNING - 1):
        wrong.observe("a", at % 50, 1)
    assert wrong.ms == FAR
    for at in (60, 61, 62, 63):
        wrong.observe("a", at, 1)
    assert wrong.ms == 63
