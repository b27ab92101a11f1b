"""The past values that a forecast has read: those one and two seasons before each target, and the newest steps."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from forecaster.explanation.situation import Situation
from forecaster.features.calendar_steps import step_times

NEWEST: Final = 12
"""Newest steps that are inputs of the head, see features/head_inputs.py."""


class ReadValue(NamedTuple):
    """A value that a forecast has read.

    Attributes:
        season: the season in steps; 0: one of the newest steps.
        horizon: of the target for which it was read; 0: of every one.
        seasons_back: how many seasons before the target it lies, the horizon included; 0 for the newest steps.
        steps_back: steps before the newest one.
        time_ms: event time of the observation, or of its step where the observation is no longer held.
        value: as it was read: outliers are replaced; nan where it is missing.
        mean_of: number of steps of which it is the mean; 1: it is one observation.
    """

    season: int
    horizon: int
    seasons_back: int
    steps_back: int
    time_ms: int
    value: float
    mean_of: int


def read_values(situation: Situation) -> list[ReadValue]:
    """Returns the values that the forecast of a situation has read, the newest steps first, then season by season.

    Args:
        situation: of a series.
    """
    config = situation.model.config
    places = [(0, 0, 0, back) for back in range(min(NEWEST, situation.steps))]
    for season in config.seasons:
        for horizon in range(1, config.horizon + 1):
            first = -(-horizon // season)
            places += [(season, horizon, first + more, (first + more) * season - horizon) for more in (0, 1)]
    backs = np.array([place[3] for place in places])
    times = step_times(situation.origin_ms, situation.interval_ms, situation.calendar, -backs, config.timezone)
    observed = _observed_times(situation)
    found = list[ReadValue]()
    for (season, horizon, seasons_back, back), time in zip(places, times.tolist(), strict=True):
        value, mean_of = situation.value_back(back)
        found.append(ReadValue(season, horizon, seasons_back, back, observed.get(back, time), value, mean_of))
    return found


def _observed_times(situation: Situation) -> dict[int, int]:
    """Returns the event time of the newest event of every step that the history holds, by steps back."""
    if situation.calendar:  # months differ in length
        return {}
    steps = np.rint((situation.origin_ms - situation.times_ms) / situation.interval_ms).astype(np.int64)
    return dict(zip(steps.tolist(), situation.times_ms.tolist(), strict=True))
