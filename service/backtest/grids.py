"""Series on regular grids: the actuals after every origin, and the scale of the errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster import grid_code, step_times, steps_between
from service.backtest.events import EventTable
from service.backtest.origins import WARM_SHARE

MOST_STEPS = 50_000_000  # of one grid; series with more steps are skipped


@dataclass(frozen=True)
class Grid:
    """One series and the kept forecasts of it.

    Attributes:
        name: of the series.
        y: (steps,) float64 values on the grid, nan where missing.
        start_ms, interval_ms: time of the first step, and between two.
        calendar: of the steps where they are calendar months, see `forecaster.Forecasts`.
        timezone: of the network: of these months, and of hours and weekdays.
        origin: (n,) int64, step of each forecast.
        at: (n,) int64, index of each forecast among all kept ones.
        scale: mean absolute seasonal difference within the first 30 %; nan where there is none.
    """

    name: str
    y: NDArray[np.float64]
    start_ms: int
    interval_ms: int
    origin: NDArray[np.int64]
    at: NDArray[np.int64]
    scale: float
    calendar: int = 0
    timezone: str = "UTC"

    def targets(self, horizon: int) -> NDArray[np.float64]:
        """Returns (n, horizon) actuals after each origin, nan where missing or after the end of the series."""
        steps = self.origin[:, None] + np.arange(1, horizon + 1)
        found = self.y[np.minimum(steps, len(self.y) - 1)]
        return np.where(steps < len(self.y), found, np.nan)

    def target_times(self, horizon: int) -> NDArray[np.int64]:
        """Returns the times (n, horizon) of the targets of each origin, epoch milliseconds."""
        steps = self.origin[:, None] + np.arange(1, horizon + 1)
        return step_times(self.start_ms, self.interval_ms, self.calendar, steps, self.timezone)


def grids(
    events: EventTable,
    kept: NDArray[np.int64],
    interval_ms: NDArray[np.int64],
    seasons: tuple[int, ...],
    months: int = 0,
    timezone: str = "UTC",
) -> list[Grid]:
    """Returns the series with kept forecasts.

    Args:
        events: the events of the file.
        kept: (n,) index of the event of each forecast.
        interval_ms: (n,) of each forecast.
        seasons: of the network; the scale uses the first one.
        months: of a calendar step, else 0. timezone: of the network.
    """
    found = []
    order = np.argsort(events.series, kind="stable")
    bounds = np.searchsorted(events.series[order], np.arange(len(events.names) + 1))
    kept_series = events.series[kept]
    for number in np.unique(kept_series).tolist():
        at = np.flatnonzero(kept_series == number)
        interval = int(np.median(interval_ms[at]))
        rows = order[bounds[number] : bounds[number + 1]]
        times = events.timestamp_ms[rows]
        start = int(times.min())
        code = grid_code(np.sort(times), months, timezone)
        step = steps_between(start, times, interval, code, timezone) if interval else np.zeros(0, np.int64)
        if not len(step) or step.max() >= MOST_STEPS:
            continue
        y = np.full(int(step.max()) + 1, np.nan)
        y[step] = events.value[rows]
        origin = steps_between(start, events.timestamp_ms[kept[at]], interval, code, timezone)
        scale = _scale(y, seasons[:1])
        found.append(Grid(events.names[number], y, start, interval, origin, at, scale, code, timezone))
    return found


def _scale(y: NDArray[np.float64], seasons: tuple[int, ...]) -> float:
    warm = y[: int(WARM_SHARE * len(y))]
    for season in (*seasons, 1):
        differences = np.abs(warm[season:] - warm[:-season])
        differences = differences[np.isfinite(differences)]
        if len(differences) and differences.mean() > 0:
            return float(differences.mean())
    return float("nan")
