"""The observer between the daemon and the board."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime

import pytest

from service.demo import observer as demo_observer
from service.demo.board import Board
from service.demo.city import DAY, HISTORY_STEPS, STEP_MS, City, drift_begins
from service.demo.observer import Observer
from service.ports import Unit


def unit(*origins: str) -> Unit:
    """Returns a published unit with one forecast per origin."""
    forecasts = [
        json.dumps(
            {
                "series": "cpu.0",
                "origin": origin,
                "interval_ms": 1000,
                "levels": [0.05, 0.5, 0.95],
                "quantiles": [[1.0, 2.0, 3.0], [1.0, 2.5, 4.0]],
                "anomaly": None,
                "model": "0123456789ab",
                "source": {"partition": "0", "position": 7},
                "status": "ok",
            }
        ).encode()
        for origin in origins
    ]
    return Unit("0", 0, 10, ["cpu.0"] * len(forecasts), forecasts)


def test_pairs_forecasts_with_values() -> None:
    """A forecast is shown with the value sampled at its origin, and scored when its target arrives."""
    observer = Observer(Board())
    observer.record_sample((1000, {"cpu.0": 5.0}))
    observer.record_sample((2000, {"cpu.0": 2.0}))
    observer.record_unit(unit("1970-01-01T00:00:01.000Z"))
    observer.record_unit(unit("1970-01-01T00:00:02.000Z"))

    row = observer.board.rows["cpu.0"]
    assert row.value == 2.0
    assert row.forecast is not None
    assert row.forecast.at(2) == (1.0, 2.5, 4.0)
    assert row.score.ours == 0.0
    assert row.score.naive == 3.0
    assert observer.model == "0123456789ab"


def test_value_unknown() -> None:
    """A forecast of an earlier run, without a sample at its origin, is shown without a value."""
    observer = Observer(Board())
    observer.record_unit(unit("1970-01-01T00:00:01.000Z"))

    assert observer.board.forecasts == 1
    assert math.isnan(observer.board.rows["cpu.0"].value)


def test_nothing_known() -> None:
    """An event with the status unknown is shown with its value and without a forecast."""
    first = unit("1970-01-01T00:00:01.000Z")
    unknown = json.loads(first.forecasts[0]) | {"quantiles": None, "status": "unknown"}
    observer = Observer(Board())
    observer.record_sample((1000, {"cpu.0": 5.0}))
    observer.record_unit(dataclasses.replace(first, forecasts=[json.dumps(unknown).encode()]))

    row = observer.board.rows["cpu.0"]
    assert (row.value, row.forecast, observer.board.events, observer.board.forecasts) == (5.0, None, 1, 0)


def test_values_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is kept until its forecast is published, and the newest ones where none ever is."""
    monkeypatch.setattr(demo_observer, "_MOST_VALUES", 600)
    observer = Observer(Board())
    observer.record_sample((1000, {"cpu.0": 1.0}))
    observer.record_unit(unit("1970-01-01T00:00:01.000Z"))
    assert len(observer._values) == 0
    for second in range(2000):
        observer.record_sample((1000 * second, {"cpu.0": 1.0}))
    assert len(observer._values) == 600


def test_what_begins_in_the_city() -> None:
    """An incident is recorded once, with its end, and is flagged by the first flagged forecast within it."""
    city, observer = City(0), Observer(Board())
    city.skip((HISTORY_STEPS + DAY) * STEP_MS)
    while not observer.board.incidents:
        sample = city.take()
        observer.record_city(city, sample)
    for _ in range(10):
        observer.record_city(city, city.take())
    (incident,) = observer.board.incidents
    assert (incident.begin_ms, incident.end_ms) == (sample[0], sample[0] + 3 * STEP_MS)
    assert incident.flagged_ms is None

    second = sample[0] + STEP_MS
    published = unit(datetime.fromtimestamp(second / 1000, tz=UTC).isoformat())
    flagged = json.loads(published.forecasts[0]) | {"series": incident.series[0], "flagged": True}
    observer.record_unit(dataclasses.replace(published, forecasts=[json.dumps(flagged).encode()]))
    assert incident.flagged_ms == second


def test_a_change_is_scored_by_itself() -> None:
    """The second shift of the industry begins a score of the forecasts made from then on."""
    city, observer = City(0), Observer(Board(lambda _: (DAY * STEP_MS,)))
    while observer.board.change is None:
        observer.record_city(city, city.take())
    assert observer.board.change == ("a second shift", "city.industry")
    assert drift_begins(city.step - 1)
    assert observer.board.rows["city.industry"].since_change is not None
