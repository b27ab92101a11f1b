"""The demo's board: scores of forecasts against actuals and naive."""

from __future__ import annotations

import math

import pytest

from service.demo.board import TREND, Board, BoardForecast, Incident

LEVELS = (0.05, 0.5, 0.95)


def forecast(origin_ms: int, medians: list[float], width: float = 1.0, interval_ms: int = 1000) -> BoardForecast:
    """Returns a forecast whose interval extends `width` to both sides of its medians."""
    return BoardForecast(origin_ms, interval_ms, LEVELS, [[m - width, m, m + width] for m in medians])


class TestBoard:
    """Scores from events."""

    def test_scored_when_its_target_arrives(self) -> None:
        """A forecast is scored once per horizon, against the actual, when its target arrives."""
        board = Board()
        board.observe("a", 0, 10.0, forecast(0, [12.0, 15.0]))
        assert board.against_naive() is None

        board.observe("a", 1000, 14.0, None)
        assert board.rows["a"].score.ours == pytest.approx(abs(12 - 14))
        assert board.rows["a"].score.naive == pytest.approx(abs(10 - 14))

        board.observe("a", 2000, 15.0, None)
        board.observe("a", 3000, 99.0, None)  # beyond the horizon: verifies nothing
        assert board.rows["a"].score.ours == pytest.approx(2 + 0)
        assert board.rows["a"].score.naive == pytest.approx(4 + 5)
        assert board.rows["a"].score.count == 2

    def test_coverage(self) -> None:
        """Coverage is the share of values inside the outermost interval."""
        board = Board()
        board.observe("a", 0, 0.0, forecast(0, [0.0, 0.0], width=1.0))
        board.observe("a", 1000, 0.5, None)
        board.observe("a", 2000, 5.0, None)

        assert board.coverage() == 0.5

    def test_gap(self) -> None:
        """After a missing second the forecast for the next second is verified, not the one for the gap."""
        board = Board()
        board.observe("a", 0, 0.0, forecast(0, [1.0, 2.0, 3.0]))
        board.observe("a", 2000, 2.0, None)

        assert board.rows["a"].score.ours == 0.0
        assert board.rows["a"].score.naive == 2.0

    def test_missing_value(self) -> None:
        """A missing value counts as an event, keeps the value shown and scores nothing."""
        board = Board()
        board.observe("a", 0, 3.0, forecast(0, [3.0]))
        board.observe("a", 1000, math.nan, forecast(1000, [3.0]))

        assert board.events == 2
        assert board.rows["a"].value == 3.0
        assert board.rows["a"].score.count == 0

    def test_interval_not_known_yet(self) -> None:
        """The first forecast of a series, whose interval is unknown, is shown and not scored."""
        board = Board()
        board.observe("a", 0, 3.0, forecast(0, [3.0], interval_ms=0))
        board.observe("a", 1000, 4.0, None)

        assert board.rows["a"].forecast is not None
        assert board.coverage() is None

    def test_constant_series(self) -> None:
        """A series without naive error has no ratio, rather than an infinite one."""
        board = Board()
        board.observe("a", 0, 3.0, forecast(0, [4.0]))
        board.observe("a", 1000, 3.0, None)

        assert board.against_naive() is None

    def test_bounded(self) -> None:
        """Pending forecasts and recent values do not grow with the stream."""
        board = Board()
        for second in range(500):
            board.observe("a", 1000 * second, 1.0, forecast(1000 * second, [1.0] * 12))

        assert len(board.rows["a"].pending) == 13  # the one whose last target is now is verified first
        assert len(board.rows["a"].recent) == TREND


class TestSeasonalNaive:
    """Scores of series with seasons."""

    def test_the_better_season(self) -> None:
        """The naive error is that of the better season, over the targets for which all seasons are known."""
        board = Board(lambda _: (2000, 3000))
        for second, value in enumerate([1.0, 5.0, 2.0, 1.5, 5.0, 9.0]):
            board.observe("a", 1000 * second, value, forecast(1000 * second, [4.0]))
        score = board.rows["a"].score
        assert score.count == 3  # from the first target that is three seconds after a value
        assert score.naives == pytest.approx([3.5 + 3.0 + 7.5, 0.5 + 0.0 + 7.0])
        assert score.naive == pytest.approx(7.5)
        assert score.ours == pytest.approx(2.5 + 1.0 + 5.0)

    def test_the_past_is_bounded(self) -> None:
        """A row keeps the values of its longest season only."""
        board = Board(lambda _: (2000, 3000))
        for second in range(100):
            board.observe("a", 1000 * second, 1.0, None)
        assert list(board.rows["a"].past) == [96_000, 97_000, 98_000, 99_000]

    def test_since_a_change(self) -> None:
        """Forecasts made after a change are scored by themselves, too, and those made before it are not."""
        board = Board()
        board.observe("a", 0, 1.0, forecast(0, [1.0, 1.0, 1.0]))
        board.begin_change("new level", "a", 1000)
        board.observe("a", 1000, 5.0, forecast(1000, [5.0]))
        board.observe("a", 2000, 6.0, None)
        row = board.rows["a"]
        assert row.since_change is not None
        assert (row.since_change.count, row.since_change.ours, row.since_change.naive) == (1, 1.0, 1.0)
        assert row.score.count == 3


def test_an_incident_is_flagged_once() -> None:
    """The first flagged value of one of its series within its time flags an incident."""
    board = Board()
    board.incidents.append(Incident("outage", ("a", "b"), 1000, 3000))
    for second, series in [(0, "a"), (2, "c"), (4, "b")]:
        board.observe(series, 1000 * second, 1.0, None, flagged=True)
    assert board.incidents[0].flagged_ms is None
    for second in (2, 3):
        board.observe("b", 1000 * second, 1.0, None, flagged=True)
    assert board.incidents[0].flagged_ms == 2000
