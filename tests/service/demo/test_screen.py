"""The demo's screen: size and contents."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from service.demo.board import Board, BoardForecast, Incident
from service.demo.format import ratio
from service.demo.screen import WIDTH, ScreenStatus, city_skill, happenings, line, screen

STATUS = ScreenStatus(
    seconds=42.0,
    remaining=18.0,
    phase="Forecasting; the first training starts after 60 s of samples.",
    rate=14.2,
    trainings=1,
    promotions=1,
    model="3fa2b0c1d2e3",
    url="http://127.0.0.1:9464/",
    news=["0:58 training began", "1:03 promoted: loss 0.213 against 0.251"],
)


def filled(series: int) -> Board:
    """Returns a board with 20 seconds of `series` series."""
    board = Board()
    for second in range(20):
        for index in range(series):
            value = 1e8 + 1e7 * ((second * (index + 3)) % 7)
            rows = [[0.8 * value, value, 1.3 * value]] * 12
            board.observe(
                f"net.out.{index}",
                1000 * second,
                value,
                BoardForecast(1000 * second, 1000, (0.05, 0.5, 0.95), rows),
            )
    return board


def drawn(board: Board, height: int) -> list[str]:
    """Returns the screen as lines of a terminal of 80 columns."""
    out = StringIO()
    Console(file=out, width=WIDTH, height=height, force_terminal=False).print(screen(board, STATUS, height))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("series", [0, 3, 40])
@pytest.mark.parametrize("height", [24, 50])
def test_fits(series: int, height: int) -> None:
    """Whatever the number of series, the screen fits a terminal of 80 columns, and no line is folded."""
    lines = drawn(filled(series), height)

    assert len(lines) < height
    assert all(len(text) <= WIDTH for text in lines)


def test_says_what_is_not_drawn() -> None:
    """Series that do not fit the window are counted."""
    assert any("more series" in text for text in drawn(filled(40), 24))


def test_content() -> None:
    """The screen shows series, interval, phase, score, trainings, news and the live page."""
    text = "\n".join(drawn(filled(3), 24))

    for part in (
        "net.out.2",
        " .. ",
        STATUS.phase,
        "+12 steps",
        "(14/s)",
        "1 (1 promoted)",
        STATUS.url,
        STATUS.news[1],
    ):
        assert part in text


def test_line_before_the_first_forecast() -> None:
    """Before the first forecast the plain line shows the phase."""
    assert line(Board(), STATUS) == f" 0:42  0 events (14/s)  {STATUS.phase}"


def test_line() -> None:
    """The plain line holds the counts, the score and one series with its interval."""
    text = line(filled(1), STATUS)

    assert text.startswith(
        " 0:42  20 events (14/s)  city: error/seasonal naive -  trainings 1  incidents 0, flagged 0  "
    )
    assert text.endswith("net.out.0 110M, forecast 110M [88.0M, 143M]")
    assert "one running" not in text
    assert "  trainings 1, one running  incidents" in line(filled(1), replace(STATUS, training=True))


def test_city_and_machine() -> None:
    """Series of the city are drawn first, with their units; both kinds have a ratio of their own."""
    board = filled(2)
    for second in range(20):
        value = 300.0 + second % 5
        rows = [[200.0, value, 400.0]] * 12
        board.observe("city.homes", 1000 * second, value, BoardForecast(1000 * second, 1000, (0.05, 0.5, 0.95), rows))
    lines = drawn(board, 30)
    assert next(text for text in lines if " .. " in text).startswith("city.homes MW")
    assert city_skill(board) == board.rows["city.homes"].score.against_naive
    text = "\n".join(lines)
    assert f"city: error / seasonal naive  {ratio(city_skill(board))}" in text
    assert "machine: error / last value" in text


def test_happenings() -> None:
    """The newest incidents are shown with the delay of their flag, and the newest change with the error since then."""
    board = filled(1)
    board.incidents += [
        Incident("old", ("a",), 0, 1, 0),
        Incident("outage", ("a", "b"), 1_800_000, 3_600_000),
        Incident("crowd", ("b",), 3_600_000, 9_000_000, 5_400_000),
    ]
    board.begin_change("a second shift", "net.out.0", 7_200_000)
    assert happenings(board) == [
        "Thu 01 Jan 00:30  outage in a, b: not flagged",
        "Thu 01 Jan 01:00  crowd in b: flagged after 30 minutes",
        "Thu 01 Jan 02:00  a second shift in net.out.0; error / seasonal naive since: -",
    ]
    board.incidents[-1].flagged_ms = 3_600_000
    assert happenings(board)[1].endswith("crowd in b: flagged at its first value")
    assert len(drawn(board, 24)) < 24
