"""The values of the demo's screen: per series the newest value and forecast, and a score.

Pure: no clock, no terminal, no daemon. Events arrive in the order in which the daemon observed them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

# Number of values in the trend column of the screen.
TREND = 16


@dataclass(frozen=True, slots=True)
class Forecast:
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
    """Absolute errors of the median and of the naive forecast, over all horizons, and interval hits."""

    ours: float = 0.0
    naive: float = 0.0
    count: int = 0
    covered: int = 0

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
        value: the newest value, nan before the first.
        forecast: the newest forecast, None before the first.
        recent: the newest values, the newest last.
        score: over all verified forecasts.
    """

    value: float = math.nan
    forecast: Forecast | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=TREND))
    score: Score = field(default_factory=Score)
    pending: deque[tuple[Forecast, float]] = field(default_factory=deque)


class Board:
    """All series, in order of appearance."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.events = 0
        self.forecasts = 0

    def observe(self, series: str, timestamp_ms: int, value: float, forecast: Forecast | None) -> None:
        """Adds one event and its forecast.

        Forecasts for the time of the value are scored first, so that none is scored early.
        """
        row = self.rows.setdefault(series, Row())
        self.events += 1
        if math.isfinite(value):
            _settle(row, timestamp_ms, value)
            row.value = value
            row.recent.append(value)
        if forecast is not None:
            self.forecasts += 1
            row.forecast = forecast
            if forecast.interval_ms > 0 and math.isfinite(value):
                row.pending.append((forecast, value))

    def against_naive(self) -> float | None:
        """Returns the mean ratio to naive over the series, each with the same weight; None without scores."""
        ratios = [ratio for row in self.rows.values() if (ratio := row.score.against_naive) is not None]
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
        if 1 <= step <= forecast.horizon:
            low, median, high = forecast.at(step)
            row.score.ours += abs(median - value)
            row.score.naive += abs(value_then - value)
            row.score.count += 1
            row.score.covered += low <= value <= high
