"""A generated city: electricity, solar power and web traffic in half hours, with holidays, incidents and a drift.

Pure and deterministic: equal seeds give equal values. The first weeks are history without incidents; then an incident
begins every few days, and the industry starts a second shift, which does not end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from service.demo.feed import Sample

STEP_MS: Final = 1_800_000
DAY: Final = 48
WEEK: Final = 7 * DAY
HISTORY_STEPS: Final = 8 * WEEK
"""Steps before the live part: eight weeks."""

# A holiday after some weeks of the history, the Friday of the first live week, and so on.
_FIRST_HOLIDAY, _BETWEEN_HOLIDAYS = 21, 39
UNITS: Final = {
    "city.homes": "MW",
    "city.industry": "MW",
    "city.solar": "MW",
    "city.web": "/s",
    "city.orders": "/min",
}
"""The series, and the unit of each."""
LAGS_MS: Final = (DAY * STEP_MS, WEEK * STEP_MS)
"""The seasons, in milliseconds."""
# Seconds between two live steps: a day takes twelve seconds, 7,200 times its real speed.
STEP_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class IncidentKind:
    """Steps in which some series are multiplied by a factor.

    Attributes:
        text: one phrase.
        series: the series that it changes.
        factor: of their values.
        steps: its length.
    """

    text: str
    series: tuple[str, ...]
    factor: float
    steps: int


_KINDS: Final = (
    IncidentKind("payment outage", ("city.orders",), 0.05, 4),
    IncidentKind("flash crowd", ("city.web",), 2.6, 4),
    IncidentKind("power cut", ("city.homes",), 0.35, 4),
)
# The first incident, counted from the live step, is in the early afternoon; the next ones follow at other times of day.
_FIRST_INCIDENT, _BETWEEN_INCIDENTS = 75, 4 * DAY + 7
# A second shift of the industry begins after some live days and is complete two days later.
_DRIFT_STEP, _DRIFT_STEPS, _DRIFT_GAIN = HISTORY_STEPS + 4 * DAY, 2 * DAY, 0.45


def incident_at(step: int) -> tuple[int, IncidentKind] | None:
    """Returns the first step of the incident at a step, and the incident; None where nothing is wrong."""
    since = step - HISTORY_STEPS - _FIRST_INCIDENT
    if since < 0:
        return None
    number, offset = divmod(since, _BETWEEN_INCIDENTS)
    kind = _KINDS[number % len(_KINDS)]
    return (step - offset, kind) if offset < kind.steps else None


def drift_begins(step: int) -> bool:
    """Returns whether the second shift of the industry begins at a step."""
    return step == _DRIFT_STEP


class City:
    """Generates the values of one step after the other.

    Args:
        start_ms: time of the first step in epoch milliseconds: midnight before a Monday.
        seed: of the weather and of the noise.
    """

    def __init__(self, start_ms: int, seed: int = 7) -> None:
        self.start_ms = start_ms
        self._random = np.random.default_rng(seed)
        self._clouds = 0.4
        self._warmth = 0.0
        self._crowd = 0.0
        self._trade = 0.0
        self.step = 0
        """The next step."""

    def seconds_to_next(self) -> float:
        """Returns the seconds until the next live step."""
        return STEP_SECONDS

    def history(self) -> list[Sample]:
        """Returns all samples before the live part that were not taken yet."""
        return [self.take() for _ in range(self.step, HISTORY_STEPS)]

    def skip(self, timestamp_ms: int) -> None:
        """Goes on behind a time, such as that of the newest sample of an earlier run."""
        while self.time_of(self.step) <= timestamp_ms:
            self.take()

    def time_of(self, step: int) -> int:
        """Returns the epoch milliseconds of a step, from 0."""
        return self.start_ms + step * STEP_MS

    def step_of(self, timestamp_ms: int) -> int:
        """Returns the step at a time."""
        return (timestamp_ms - self.start_ms) // STEP_MS

    def take(self) -> Sample:
        """Returns the next sample."""
        step, self.step = self.step, self.step + 1
        self._move_weather()
        values = dict(zip(UNITS, self._typical(step), strict=True))
        found = incident_at(step)
        if found is not None:
            for series in found[1].series:
                values[series] *= found[1].factor
        return self.time_of(step), {series: round(max(float(value), 0.0), 2) for series, value in values.items()}

    def _move_weather(self) -> None:
        draws = self._random.standard_normal(4)
        self._clouds = min(1.0, max(0.0, 0.4 + 0.97 * (self._clouds - 0.4) + 0.05 * draws[0]))
        self._warmth = 0.997 * self._warmth + 0.2 * draws[1]
        self._crowd = 0.995 * self._crowd + 0.015 * draws[2]
        self._trade = 0.995 * self._trade + 0.01 * draws[3]

    def _typical(self, step: int) -> tuple[float, float, float, float, float]:
        hour = (step % DAY) / 2
        day = step // DAY
        free = day % 7 >= 5 or day % _BETWEEN_HOLIDAYS == _FIRST_HOLIDAY
        noise = self._random.standard_normal(5)
        warmth = 8.0 + 0.03 * step / DAY + self._warmth
        homes = (
            310.0
            + 90.0 * _bump(hour, 19.0, 2.6)
            + (70.0 * _bump(hour, 11.5, 3.5) if free else 60.0 * _bump(hour, 7.5, 1.4))
            - 120.0 * _bump(hour, 3.0, 3.0)
            + 9.0 * max(0.0, 15.0 - warmth)
        )
        shift = 0.15 if free else _plateau(hour, 6.0, 17.0)
        late_shift = _DRIFT_GAIN * min(1.0, max(0.0, (step - _DRIFT_STEP) / _DRIFT_STEPS))
        industry = 180.0 + 240.0 * shift + 240.0 * late_shift * (0.0 if free else _plateau(hour, 15.0, 22.5))
        industry *= 1.0 + self._trade
        sun = max(0.0, math.sin(math.pi * (hour - 6.0) / 13.0)) if 6.0 < hour < 19.0 else 0.0
        solar = 160.0 * sun**1.3 * (1.0 - 0.8 * self._clouds)
        crowd = math.exp(self._crowd)
        requests = 120.0 + (520.0 if free else 420.0) * _bump(hour, 20.5, 2.8) + 260.0 * _plateau(hour, 8.5, 18.0)
        orders = 4.0 + (26.0 if free else 18.0) * _bump(hour, 20.0, 2.5) + 9.0 * _plateau(hour, 10.0, 17.0)
        return (
            homes * (1.0 + 0.012 * noise[0]),
            industry * (1.0 + 0.012 * noise[1]),
            solar * (1.0 + 0.04 * noise[2]),
            requests * crowd * (1.0 + 0.025 * noise[3]),
            orders * crowd + math.sqrt(orders) * 0.5 * noise[4],
        )


def first_monday(now: datetime) -> int:
    """Returns the start of a city whose live part begins with this week, in epoch milliseconds."""
    monday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=now.weekday())
    return round(monday.timestamp() * 1000) - HISTORY_STEPS * STEP_MS


def _bump(hour: float, centre: float, width: float) -> float:
    """A peak of height 1 at an hour of the day, repeated every day."""
    distance = (hour - centre + 12.0) % 24.0 - 12.0
    return math.exp(-0.5 * (distance / width) ** 2)


def _plateau(hour: float, begin: float, end: float) -> float:
    """Near 1 between two hours of the day and near 0 outside, with edges of about an hour."""
    return 1.0 / (1.0 + math.exp(-2.0 * (hour - begin))) / (1.0 + math.exp(2.0 * (hour - end)))
