"""Draws the demo: a live screen of 80 columns on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.demo.board import TREND, Board, Incident, Row
from service.demo.city import UNITS
from service.demo.format import bars, clock, moment, number, ratio
from service.demo.sampler import unit_of

WIDTH = 80
# Lines of title, status, table head, foot and blank lines, which are not available for rows.
_FRAME_LINES = 11
# Incidents that the screen shows, the newest ones.
_SHOWN_INCIDENTS = 2
# Seconds after which a printed line shows the next series.
_NEXT_SERIES_SECONDS = 5


@dataclass(frozen=True, slots=True)
class ScreenStatus:
    """The status shown in addition to the board.

    Attributes:
        seconds: since the start.
        remaining: seconds until the demo ends by itself, None without a limit.
        phase: one sentence about the present activity.
        rate: recent events per second.
        trainings: number of finished trainings.
        promotions: number of them that promoted a model.
        model: prefix of the model's sha256, "" before the first.
        url: of the live page.
        news: recent messages, newest last.
        training: whether a training is running.
    """

    seconds: float
    remaining: float | None
    phase: str
    rate: float
    trainings: int
    promotions: int
    model: str
    url: str
    news: Sequence[str] = ()
    training: bool = False


def screen(board: Board, status: ScreenStatus, height: int) -> RenderableType:
    """Draws the screen for `height` lines; series that do not fit are only counted."""
    news = [*happenings(board), *status.news]
    room = max(3, height - _FRAME_LINES - len(news))
    title = Table.grid(expand=True)
    title.add_column()
    title.add_column(justify="right")
    left = f" of {clock(round(status.seconds + status.remaining))}" if status.remaining is not None else ""
    title.add_row(Text("forecaster demo", style="bold"), Text(f"{clock(status.seconds)}{left}", style="dim"))
    phase = Text(status.phase, style="yellow", overflow="ellipsis", no_wrap=True)
    parts: list[RenderableType] = [title, phase, Text(), _table(board, room)]
    hidden = len(board.rows) - room
    if hidden > 0:
        parts.append(Text(f"and {hidden} more series that do not fit into this window", style="dim"))
    parts += [Text(), _foot(board, status)]
    parts += [Text(f"  {item}", style="dim", overflow="ellipsis", no_wrap=True) for item in news]
    return Group(*parts)


def _table(board: Board, room: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=WIDTH, header_style="bold")
    table.add_column("series", no_wrap=True)
    table.add_column("trend", no_wrap=True, width=TREND)
    table.add_column("now", justify="right", no_wrap=True, width=7)
    steps = max((row.forecast.horizon for row in board.rows.values() if row.forecast), default=0)
    table.add_column(f"+{steps} steps" if steps else "forecast", justify="right", no_wrap=True, width=9)
    table.add_column("90 % interval", justify="right", no_wrap=True)
    table.add_column("vs naive", justify="right", no_wrap=True)
    for series, row in sorted(board.rows.items(), key=lambda item: item[0] not in UNITS)[:room]:
        unit = _unit(series)
        name = Text.assemble(series, (f" {unit}", "dim") if unit != "%" else "")
        table.add_row(name, *_cells(series, row))
    return table


def _cells(series: str, row: Row) -> tuple[RenderableType, ...]:
    unit = _unit(series)
    trend = Text(bars(row.recent, TREND), style="cyan")
    if row.forecast is None:
        return trend, number(row.value, unit), "-", "-", "-"
    low, median, high = row.forecast.at(row.forecast.horizon)
    against = row.score.against_naive
    style = "" if against is None else "green" if against < 0.995 else "red" if against > 1.005 else ""
    return (
        trend,
        number(row.value, unit),
        Text(number(median, unit), style="bold"),
        f"{number(low, unit)} .. {number(high, unit)}",
        Text(ratio(against), style=style),
    )


def _foot(board: Board, status: ScreenStatus) -> RenderableType:
    foot = Table.grid(padding=(0, 2, 0, 0))
    foot.add_column(style="dim")
    foot.add_column()
    foot.add_column(style="dim")
    foot.add_column()
    coverage = board.coverage()
    foot.add_row(
        "events",
        f"{board.events:,} ({status.rate:.0f}/s)",
        "city: error / seasonal naive",
        Text(ratio(city_skill(board)), style="bold"),
    )
    foot.add_row(
        "trainings",
        f"{status.trainings} ({status.promotions} promoted)",
        "machine: error / last value",
        ratio(board.against_naive(name for name in board.rows if name not in UNITS)),
    )
    inside = "-" if coverage is None else f"{100 * coverage:.0f} %"
    foot.add_row("model", status.model or "-", "inside 90 % interval", inside)
    foot.add_row("page", Text(status.url, style="underline"), "", "")
    return foot


def city_skill(board: Board) -> float | None:
    """Returns the mean over the city's series of the error relative to seasonal naive; None without scores."""
    return board.against_naive(name for name in board.rows if name in UNITS)


def happenings(board: Board) -> list[str]:
    """Returns a sentence for each of the newest incidents of the city, and for its newest change."""
    texts = [_describe(incident) for incident in board.incidents[-_SHOWN_INCIDENTS:]]
    if board.change is not None:
        text, series = board.change
        row = board.rows[series]
        error = ratio(None if row.since_change is None else row.since_change.against_naive)
        texts.append(f"{moment(row.changed_ms)}  {text} in {series}; error / seasonal naive since: {error}")
    return texts


def _describe(incident: Incident) -> str:
    text = f"{moment(incident.begin_ms)}  {incident.text} in {', '.join(incident.series)}"
    if incident.flagged_ms is None:
        return f"{text}: not flagged"
    late = (incident.flagged_ms - incident.begin_ms) // 60_000
    return f"{text}: flagged " + (f"after {late} minutes" if late else "at its first value")


def _unit(series: str) -> str:
    return UNITS.get(series) or unit_of(series)


def line(board: Board, status: ScreenStatus) -> str:
    """Formats the state in one line, for a log or a pipe: counts, score and one series, a different one each time."""
    shown = f"{clock(status.seconds):>5}  {board.events} events ({status.rate:.0f}/s)"
    if not board.forecasts:
        return f"{shown}  {status.phase}"
    shown += f"  city: error/seasonal naive {ratio(city_skill(board))}  trainings {status.trainings}"
    shown += ", one running" * status.training
    flagged = sum(incident.flagged_ms is not None for incident in board.incidents)
    shown += f"  incidents {len(board.incidents)}, flagged {flagged}"
    known = [(series, row, row.forecast) for series, row in board.rows.items() if row.forecast is not None]
    series, row, forecast = known[round(status.seconds) // _NEXT_SERIES_SECONDS % len(known)]
    unit = _unit(series)
    low, median, high = forecast.at(forecast.horizon)
    return (
        f"{shown}  {series} {number(row.value, unit)}, forecast {number(median, unit)} "
        f"[{number(low, unit)}, {number(high, unit)}]"
    )
