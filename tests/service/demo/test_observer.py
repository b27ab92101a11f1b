"""The observer between the daemon and the board."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from service.demo.board import Board
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
    observer.record_sample(1000, {"cpu.0": 5.0})
    observer.record_sample(2000, {"cpu.0": 2.0})
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
    observer.record_sample(1000, {"cpu.0": 5.0})
    observer.record_unit(dataclasses.replace(first, forecasts=[json.dumps(unknown).encode()]))

    row = observer.board.rows["cpu.0"]
    assert (row.value, row.forecast, observer.board.events, observer.board.forecasts) == (5.0, None, 1, 0)


def test_samples_are_forgotten() -> None:
    """Samples are kept for ten minutes, however long the demo runs."""
    observer = Observer(Board())
    for second in range(2000):
        observer.record_sample(1000 * second, {"cpu.0": 1.0})

    assert len(observer._samples) == pytest.approx(600, abs=1)
