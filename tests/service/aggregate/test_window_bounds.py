"""Bounds of the open windows, and windows of wrong times."""

from __future__ import annotations

import pytest
from raw_columns import Raw, aggregator_of, bytes_of, take

from service.aggregate import aggregator as module
from service.aggregate import window_table
from service.aggregate.watermark import RETURNING

BEGIN = 1_774_744_200_000  # 2026-03-29T00:30 UTC, an hour in which the clock of Berlin changes
MINUTE = 60_000


class TestBounds:
    """Bounds of memory and of the values of one record."""

    def test_values_of_one_record(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Windows beyond the bound of one record close with the following records; events for them are late."""
        monkeypatch.setattr(module, "MOST_CLOSED", 3)
        aggregator = aggregator_of(functions=["count"], grace="0s")
        events = [Raw(f"s{at}", 0) for at in range(8)]
        closed = take(
            aggregator,
            [
                *events,
                *[Raw(f"s{at}", 60_000 + at) for at in (0, 1, 2, 3, 4, 0)],
                Raw("s7", 30_000),
                Raw("s0", 61_000),
            ],
        )

        assert closed.index == [12, 12, 12, 13, 13, 13, 14, 14]
        assert [problem.reason for _, problem in closed.refused] == ["late"]
        assert sorted(closed.series) == [f"s{at}" for at in range(8)]

    def test_windows_of_one_series(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A series whose times are far apart has a bounded number of windows; others are not affected."""
        monkeypatch.setattr(window_table, "MOST_OF_SERIES", 5)
        aggregator = aggregator_of()
        take(aggregator, [Raw(name, 0) for name in "abcdefgh"])
        closed = take(aggregator, [Raw("a", 10**9 * at) for at in range(1, 9)])
        others = take(aggregator, [Raw(name, 1) for name in "abcdefgh"])

        assert [problem.reason for _, problem in closed.refused] == ["too_many_windows"] * 4
        assert not others.refused

    def test_windows_of_a_partition(self) -> None:
        """The windows of all series are bounded."""
        aggregator = aggregator_of(3)
        closed = take(
            aggregator, [Raw(name, 0) for name in "abc"] + [Raw("abc"[at % 3], at * MINUTE) for at in range(30)]
        )

        assert len(aggregator) <= 12
        assert {problem.reason for _, problem in closed.refused} <= {"too_many_windows"}

    def test_silent_series_are_removed(self) -> None:
        """Of more series than allowed, those that have been silent for the longest time are removed."""
        aggregator = aggregator_of(9, functions=["count"])
        closed = take(aggregator, [Raw(f"s{at:02}", at * MINUTE) for at in range(50)])

        assert not closed.refused
        assert len(aggregator.arrays()["series"]) <= 9
        assert closed.series == [f"s{at:02}" for at in range(len(closed))]
        assert len(closed) >= 44

    def test_more_series_at_the_same_time(self) -> None:
        """Series beyond the bound are rejected while all others have open windows."""
        closed = take(aggregator_of(3), [Raw(f"s{at}", 0) for at in range(5)])

        assert [(at, problem.reason) for at, problem in closed.refused] == [
            (3, "too_many_windows"),
            (4, "too_many_windows"),
        ]


class TestWrongTimes:
    """A watermark that was wrong, and the series that come after it."""

    FAR = 10**13

    def test_a_partition_that_begins_with_wrong_times(self) -> None:
        """Series that appear after a wrong begin are not late: the windows of a wrong time do not close."""
        aggregator = aggregator_of(functions=["count"])
        take(aggregator, [Raw("wrong", self.FAR)] * 3)
        closed = take(aggregator, [Raw("abc"[at % 3], at * 1000) for at in range(3000)])

        assert not closed.refused
        assert len(closed) > 90

    def test_windows_that_closed_at_wrong_times(self) -> None:
        """A series whose windows closed in the far future continues in the present."""
        aggregator = aggregator_of(functions=["count"], empty="zero")
        take(aggregator, [Raw("a", 0)] * 3 + [Raw("a", self.FAR + at * MINUTE) for at in range(9)])
        closed = take(aggregator, [Raw("a", MINUTE + at * 1000) for at in range(3000)])

        assert RETURNING <= len(closed.refused) <= RETURNING + 3
        assert closed.start_ms[:2] == [17 * MINUTE, 18 * MINUTE]
        assert all(time < self.FAR for time in closed.start_ms)

    @pytest.mark.parametrize(("hours", "forgotten"), [(2, False), (24, True)])
    def test_events_that_are_sent_again(self, hours: int, forgotten: bool) -> None:
        """Many events of a past of fewer than a thousand intervals do not remove the state of their series."""
        aggregator = aggregator_of(functions=["count"], empty="zero")
        now = hours * 60 * MINUTE
        take(aggregator, [Raw("a", now + at * 1000) for at in range(300)])
        closed = take(aggregator, [Raw("a", at * 1000) for at in range(3000)])

        assert closed.forget == [(0, "a")] * forgotten
        assert len(closed) > 20

    def test_a_full_table_behind_a_pause(self) -> None:
        """After a pause other series take the place of those that fill the table."""
        aggregator = aggregator_of(3)
        take(aggregator, [Raw(name, 0) for name in "abc"])
        closed = take(aggregator, [Raw("def"[at % 3], 10**9 + at * 1000) for at in range(100)])

        assert len(closed.refused) <= 9
        assert {problem.reason for _, problem in closed.refused} == {"too_many_windows"}

    def test_refused_events_that_are_ahead(self) -> None:
        """The state has the series of refused events, which have no windows."""
        aggregator = aggregator_of(3)
        take(aggregator, [Raw(name, 0) for name in "abc"])
        take(aggregator, [Raw("refused", 10**9)])
        other = aggregator_of(3)
        other.restore(aggregator.arrays())

        assert bytes_of(other.arrays()) == bytes_of(aggregator.arrays())
        assert other.arrays()["voters"].tobytes() == b"refused"
