"""Connects daemon and board: pairs every published forecast with the value of its event."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from datetime import datetime

import msgspec

from service.demo.board import Board, BoardForecast, Incident
from service.demo.city import STEP_MS, City, drift_begins, incident_at
from service.demo.feed import Sample
from service.ports import Unit


class _Message(msgspec.Struct):
    """The fields of a published forecast that the board uses."""

    series: str
    origin: str
    interval_ms: int
    levels: list[float]
    quantiles: list[list[float]] | None
    model: str
    flagged: bool = False


# Values kept until their forecasts are published; the history of the city is the most that waits.
_MOST_VALUES = 100_000
_decode = msgspec.json.Decoder(_Message).decode


class Observer:
    """Receives units in the daemon's thread; the screen's thread reads the board, under `lock`.

    Args:
        board: the board to fill.

    Attributes:
        board: the board.
        lock: held while the board changes.
        model: prefix of the sha256 of the model in use, "" before the first forecast.
    """

    def __init__(self, board: Board) -> None:
        self.lock = threading.Lock()
        self.model = ""
        self.board = board
        self._values: dict[tuple[str, int], float] = {}

    def record_sample(self, sample: Sample) -> None:
        """Keeps a sample until its forecast is published. Called before the daemon can read it."""
        timestamp_ms, values = sample
        with self.lock:
            self._values |= {(series, timestamp_ms): value for series, value in values.items()}
            while len(self._values) > _MOST_VALUES:
                del self._values[next(iter(self._values))]

    def record_city(self, city: City, sample: Sample) -> None:
        """Records a sample of the city, and what begins with it."""
        timestamp_ms, _ = sample
        step = city.step_of(timestamp_ms)
        found = incident_at(step)
        with self.lock:
            if found is not None and found[0] == step:
                kind, end_ms = found[1], timestamp_ms + (found[1].steps - 1) * STEP_MS
                self.board.incidents.append(Incident(kind.text, kind.series, timestamp_ms, end_ms))
            if drift_begins(step):
                self.board.begin_change("a second shift", "city.industry", timestamp_ms)
        self.record_sample(sample)

    def record_unit(self, unit: Unit) -> None:
        """Records all forecasts of a published unit, in order."""
        messages = [_decode(forecast) for forecast in unit.forecasts if b'"kind":"silence"' not in forecast]
        with self.lock:
            self._fill(messages)

    def _fill(self, messages: Iterable[_Message]) -> None:
        for message in messages:
            origin_ms = _epoch_ms(message.origin)
            value = self._values.pop((message.series, origin_ms), math.nan)
            forecast = None
            if message.quantiles is not None:
                forecast = BoardForecast(origin_ms, message.interval_ms, message.levels, message.quantiles)
            self.board.observe(message.series, origin_ms, value, forecast, flagged=message.flagged)
            self.model = message.model


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
