"""The demo's screen: size and contents."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from service.demo.board import Board, Forecast
from service.demo.screen import WIDTH, Status, line, screen

STATUS = Status(
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
                Forecast(1000 * second, 1000, (0.05, 0.5, 0.95), rows),
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
        "in 12 s",
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

    assert text.startswith(" 0:42  20 events (14/s)  error/naive ")
    assert text.endswith("net.out.0 110M, forecast 110M [88.0M, 143M]")
    assert "one running" not in text
    assert "  trainings 1, one running  net" in line(filled(1), replace(STATUS, training=True))
