"""Connects daemon and board: pairs every published forecast with the value of its event."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from service.demo.board import Board, Forecast
from service.ports import Unit


class _Message(msgspec.Struct):
    """The fields of a published forecast that the board uses."""

    series: str
    origin: str
    interval_ms: int
    levels: list[float]
    quantiles: list[list[float]] | None
    model: str


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
        self._samples: dict[int, Mapping[str, float]] = {}

    def record_sample(self, timestamp_ms: int, values: Mapping[str, float]) -> None:
        """Records a sample in the sampler's thread, before the daemon can read it; samples are kept for ten minutes."""
        with self.lock:
            self._samples[timestamp_ms] = values
            self._samples.pop(timestamp_ms - 600_000, None)

    def record_unit(self, unit: Unit) -> None:
        """Records all forecasts of a published unit, in order."""
        messages = [_decode(forecast) for forecast in unit.forecasts if b'"kind":"silence"' not in forecast]
        with self.lock:
            self._fill(messages)

    def _fill(self, messages: Iterable[_Message]) -> None:
        for message in messages:
            origin_ms = _epoch_ms(message.origin)
            value = self._samples.get(origin_ms, {}).get(message.series, math.nan)
            forecast = None
            if message.quantiles is not None:
                forecast = Forecast(origin_ms, message.interval_ms, message.levels, message.quantiles)
            self.board.observe(message.series, origin_ms, value, forecast)
            self.model = message.model


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
