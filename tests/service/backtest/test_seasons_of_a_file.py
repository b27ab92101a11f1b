"""Seasons that a backtest detects in a file."""

from __future__ import annotations

import numpy as np
import pytest

from service.backtest.events import EventTable
from service.backtest.run import model_config
from service.config.input import FieldNames
from service.config.sections import Config

HOUR = 3_600_000


@pytest.mark.parametrize(("weeks", "seasons"), [(12, (24, 168)), (2, (24,))])
def test_seasons_are_those_before_the_first_origin(weeks: int, seasons: tuple[int, ...]) -> None:
    """Seasons of a day or week need two periods before the first origin; later values have no effect."""
    steps = weeks * 168
    t = np.arange(2 * steps) // 2
    value = 3 * np.sin(2 * np.pi * t / 24) + np.random.default_rng(0).normal(size=2 * steps)
    value[-steps // 2 :] = (t % 168 == 0)[-steps // 2 :] * 1e6
    events = EventTable(["a", "b"], np.arange(2 * steps) % 2, t * HOUR, value, None, 0, None, FieldNames())

    found = model_config(Config(), events, 2 * steps - steps // 2)

    assert (found.interval_ms, found.seasons) == (HOUR, seasons)
