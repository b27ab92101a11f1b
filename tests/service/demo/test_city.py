"""The generated city: repeatable values with seasons, incidents and a lasting change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from forecaster import detect_seasons
from service.demo.city import (
    DAY,
    HISTORY_STEPS,
    STEP_MS,
    UNITS,
    WEEK,
    City,
    drift_begins,
    first_monday,
    incident_at,
)


def generated(steps: int, seed: int = 7) -> dict[str, np.ndarray]:
    """Returns the first values of each series."""
    city = City(0, seed)
    samples = [city.take()[1] for _ in range(steps)]
    return {series: np.array([values[series] for values in samples]) for series in UNITS}


def test_repeats_and_goes_on() -> None:
    """Equal seeds give equal samples; a city that skips to a time goes on with the sample after it."""
    city, again = City(1_000_000), City(1_000_000)
    first = [city.take() for _ in range(100)]
    again.skip(first[59][0])
    assert [again.take() for _ in range(40)] == first[60:]
    assert [time for time, _ in first] == [1_000_000 + step * STEP_MS for step in range(100)]
    assert [city.step_of(time) for time, _ in first] == list(range(100))
    assert City(0, seed=8).take()[1] != City(0).take()[1]


def test_the_history_comes_once() -> None:
    """The history ends where the live part begins, and is empty in a city that is already live."""
    city = City(0)
    city.skip(9 * STEP_MS)
    assert len(city.history()) == HISTORY_STEPS - 10
    assert city.history() == []
    assert city.take()[0] == HISTORY_STEPS * STEP_MS


@pytest.mark.parametrize("seed", [7, 8])
def test_seasons_are_those_of_the_demo(seed: int) -> None:
    """The history shows the seasons that the demo sets, no other, and only finite values of at least 0."""
    series = generated(HISTORY_STEPS, seed)
    assert detect_seasons(list(series.values()), STEP_MS) == (DAY, WEEK)
    assert all(np.isfinite(values).all() and (values >= 0).all() for values in series.values())


def test_incidents() -> None:
    """The history has no incident; live, each kind comes within a minute and a half, and lasts as long as it says."""
    assert not any(incident_at(step) for step in range(HISTORY_STEPS))
    live = [incident_at(step) for step in range(HISTORY_STEPS, HISTORY_STEPS + 480)]
    begins = sorted({found for found in live if found is not None}, key=lambda found: found[0])
    assert [kind.text for _, kind in begins] == ["payment outage", "flash crowd", "power cut"]
    assert sum(found is not None for found in live) == sum(kind.steps for _, kind in begins)
    city = City(0)
    city.skip((begins[0][0] - 2) * STEP_MS)
    before, during = city.take()[1], city.take()[1]
    assert during["city.orders"] < 0.2 * before["city.orders"]


def test_the_second_shift_lasts() -> None:
    """The industry takes more in the evenings of working days from the change on."""
    steps = range(HISTORY_STEPS, HISTORY_STEPS + 20 * DAY)
    begin = next(step for step in steps if drift_begins(step))
    values = generated(begin + 2 * WEEK)["city.industry"]
    evening = [values[at + 39] for at in range(0, len(values) - DAY, DAY) if at // DAY % 7 < 5]
    assert np.mean(evening[-5:]) > 1.3 * np.mean(evening[:30])


def test_starts_with_this_week() -> None:
    """The live part begins on the Monday of the present week, whatever the day."""
    for days in range(7):
        now = datetime(2026, 11, 30, 15, 42, 7, 99, tzinfo=UTC) + timedelta(days=days)
        live = first_monday(now) + HISTORY_STEPS * STEP_MS
        assert datetime.fromtimestamp(live / 1000, tz=UTC) == datetime(2026, 11, 30, tzinfo=UTC)
