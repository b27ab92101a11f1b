"""The values of the demo's screen: per series the newest value and forecast, and a score; incidents and changes.

Pure: no clock, no terminal, no daemon. Events arrive in the order in which the daemon observed them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

# Number of values in the trend column of the screen.
TREND = 16


@dataclass(frozen=True, slots=True)
class BoardForecast:
    """The fields of a forecast that the board uses.

    Attributes:
        origin_ms: event time of the forecast origin.
        interval_ms: length of a step; 0 while unknown.
        levels: the quantile levels, rising, including 0.5.
        quantiles: one value per level, per horizon.
    """

    origin_ms: int
    interval_ms: int
    levels: Sequence[float]
    quantiles: Sequence[Sequence[float]]

    def at(self, step: int) -> tuple[float, float, float]:
        """Returns the outer quantiles and the median `step` (from 1) steps ahead: (low, median, high)."""
        row = self.quantiles[step - 1]
        return row[0], row[self.levels.index(0.5)], row[-1]

    @property
    def horizon(self) -> int:
        """Number of steps ahead."""
        return len(self.quantiles)


@dataclass(slots=True)
class Score:
    """Absolute errors of the median and of naive forecasts, over all horizons, and interval hits.

    Attributes:
        ours: sum of the errors of the median.
        naives: the same of each naive forecast: the value one season before the target, for each season of the series;
            the value at the origin where it has none.
        count: number of verified steps.
        covered: number of them inside the outermost interval.
    """

    ours: float = 0.0
    naives: list[float] = field(default_factory=list)
    count: int = 0
    covered: int = 0

    def add(self, ours: float, naives: Sequence[float], covered: bool) -> None:  # noqa: FBT001 - a value like the others
        """Adds the errors of one verified step."""
        self.naives = [a + b for a, b in zip(self.naives or [0.0] * len(naives), naives, strict=True)]
        self.ours += ours
        self.count += 1
        self.covered += covered

    @property
    def naive(self) -> float:
        """Error of the best of the naive forecasts; 0 without scores."""
        return min(self.naives, default=0.0)

    @property
    def against_naive(self) -> float | None:
        """Ratio of both errors; below 1 is better than naive. None without scores or while naive has no error."""
        return self.ours / self.naive if self.naive > 0 else None

    @property
    def coverage(self) -> float | None:
        """Share of actuals inside the outermost interval; None without scores."""
        return self.covered / self.count if self.count else None


@dataclass(slots=True)
class Row:
    """One series on the board.

    Attributes:
        lags: the seasons of the naive forecasts, in milliseconds; () for the value at the origin.
        value: the newest value, nan before the first.
        forecast: the newest forecast, None before the first.
        recent: the newest values, the newest last.
        score: over all verified forecasts.
        since_change: the same of forecasts made after the newest change of the series; None before one.
        past: the values of the longest season by time, if the series has one.
        pending: forecasts whose targets have not all arrived, each with the value at its origin.
    """

    lags: Sequence[int] = ()
    value: float = math.nan
    forecast: BoardForecast | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=TREND))
    score: Score = field(default_factory=Score)
    since_change: Score | None = None
    changed_ms: int = 0
    past: dict[int, float] = field(default_factory=dict)
    pending: deque[tuple[BoardForecast, float]] = field(default_factory=deque)

    def naive_errors(self, timestamp_ms: int, value: float, value_then: float) -> list[float] | None:
        """Returns the errors of the naive forecasts of a value; None while the longest season is not known."""
        if not self.lags:
            return [abs(value_then - value)]
        before = [self.past.get(timestamp_ms - lag) for lag in self.lags]
        return None if None in before else [abs(known - value) for known in before if known is not None]


@dataclass(slots=True)
class Incident:
    """An incident of the generated city.

    Attributes:
        text: one phrase.
        series: the series that it changes.
        begin_ms, end_ms: first and last time of it.
        flagged_ms: time of its first value that the daemon flagged; None so far.
    """

    text: str
    series: Sequence[str]
    begin_ms: int
    end_ms: int
    flagged_ms: int | None = None


class Board:
    """All series, in order of appearance.

    Args:
        lags_of: the seasons of a series in milliseconds, () for none.
    """

    def __init__(self, lags_of: Callable[[str], Sequence[int]] = lambda _: ()) -> None:
        self._lags_of = lags_of
        self.rows: dict[str, Row] = {}
        self.incidents: list[Incident] = []
        self.change: tuple[str, str] | None = None
        """Text and series of the newest change."""
        self.events = 0
        self.forecasts = 0

    def observe(
        self, series: str, timestamp_ms: int, value: float, forecast: BoardForecast | None, *, flagged: bool = False
    ) -> None:
        """Adds one event and its forecast.

        Forecasts for the time of the value are scored first, so that none is scored early.
        """
        row = self.row(series)
        self.events += 1
        if flagged:
            self._mark_flagged(series, timestamp_ms)
        if math.isfinite(value):
            _settle(row, timestamp_ms, value)
            row.value = value
            row.recent.append(value)
            if row.lags:
                row.past[timestamp_ms] = value
                while next(iter(row.past)) < timestamp_ms - max(row.lags):
                    del row.past[next(iter(row.past))]
        if forecast is not None:
            self.forecasts += 1
            row.forecast = forecast
            if forecast.interval_ms > 0 and math.isfinite(value):
                row.pending.append((forecast, value))

    def row(self, series: str) -> Row:
        """Returns the row of a series; makes it at the first call."""
        if series not in self.rows:
            self.rows[series] = Row(self._lags_of(series))
        return self.rows[series]

    def begin_change(self, text: str, series: str, timestamp_ms: int) -> None:
        """Records a lasting change of a series: forecasts made from its time on are scored by themselves, too."""
        row = self.row(series)
        row.since_change, row.changed_ms = Score(), timestamp_ms
        self.change = text, series

    def _mark_flagged(self, series: str, timestamp_ms: int) -> None:
        for incident in self.incidents:
            if series in incident.series and incident.begin_ms <= timestamp_ms <= incident.end_ms:
                incident.flagged_ms = timestamp_ms if incident.flagged_ms is None else incident.flagged_ms

    def against_naive(self, names: Iterable[str] | None = None) -> float | None:
        """Returns the mean ratio to naive over series (default: all), all of the same weight; None without scores."""
        rows = self.rows.values() if names is None else [self.rows[name] for name in names]
        ratios = [ratio for row in rows if (ratio := row.score.against_naive) is not None]
        return sum(ratios) / len(ratios) if ratios else None

    def coverage(self) -> float | None:
        """Returns the share of all actuals inside their outermost interval; None without scores."""
        count = sum(row.score.count for row in self.rows.values())
        return sum(row.score.covered for row in self.rows.values()) / count if count else None


def _settle(row: Row, timestamp_ms: int, value: float) -> None:
    while row.pending:  # removes forecasts whose last target has passed
        oldest, _ = row.pending[0]
        if oldest.origin_ms + oldest.horizon * oldest.interval_ms >= timestamp_ms:
            break
        row.pending.popleft()
    for forecast, value_then in row.pending:
        step = round((timestamp_ms - forecast.origin_ms) / forecast.interval_ms)
        if not 1 <= step <= forecast.horizon:
            continue
        naives = row.naive_errors(timestamp_ms, value, value_then)
        if naives is None:
            continue
        low, median, high = forecast.at(step)
        row.score.add(abs(median - value), naives, low <= value <= high)
        if row.since_change is not None and forecast.origin_ms >= row.changed_ms:
            row.since_change.add(abs(median - value), naives, low <= value <= high)
