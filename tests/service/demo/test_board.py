"""The demo's board: scores of forecasts against actuals and naive."""

from __future__ import annotations

import math

import pytest

from service.demo.board import TREND, Board, Forecast

LEVELS = (0.05, 0.5, 0.95)


def forecast(origin_ms: int, medians: list[float], width: float = 1.0, interval_ms: int = 1000) -> Forecast:
    """Returns a forecast whose interval extends `width` to both sides of its medians."""
    return Forecast(origin_ms, interval_ms, LEVELS, [[m - width, m, m + width] for m in medians])


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
