"""Asks the engine for the situation of a series: what its newest published forecast was computed from.

Only the engine's thread may read a state, and between two batches it is the state that was published. A question waits
until then; the answer is a copy of one row, so that whoever asked computes with it while the engine goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, NamedTuple

from forecaster import ForecasterError, Situation
from service.errors import ServiceError

MOST_WAITING: Final = 8
"""Questions that wait at a time; more are refused, so that they do not hold all threads of the server."""
_ANSWERED: Final = 4  # between two batches


class NoAnswerError(ServiceError):
    """The engine does not answer at present."""


class BoundedSituation(NamedTuple):
    """A situation, and the bounds that forecasts of its series are clipped to when they are published."""

    situation: Situation
    bounds: tuple[float, float]


Take = Callable[[str, str], BoundedSituation]
"""Copies the situation of a series of a partition; raises a NoAnswerError or a ForecasterError."""


class Situations:
    """Questions that wait for the engine. `answer` belongs to its thread, `ask` may be called from any other one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = deque[tuple[str, str, Future[BoundedSituation]]]()

    def ask(self, partition: str, series: str, seconds: float) -> BoundedSituation:
        """Returns the situation of a series at its newest published event.

        Args:
            partition, series: as the engine serves them.
            seconds: longest wait.

        Raises:
            NoAnswerError: the engine did not answer in time, or does not serve the partition; or too many wait.
            ForecasterError: the series has no forecast.
        """
        asked: Future[BoundedSituation] = Future()
        question = partition, series, asked
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                msg = f"{MOST_WAITING} questions wait for the engine already; ask again later"
                raise NoAnswerError(msg)
            self._waiting.append(question)
        try:
            return asked.result(seconds)
        except TimeoutError as error:
            with self._lock:
                if question in self._waiting:
                    self._waiting.remove(question)
            msg = f"the engine did not answer within {seconds:g} s: it is starting, or its sink is not available"
            raise NoAnswerError(msg) from error

    def answer(self, take: Take) -> None:
        """Answers some of the questions that wait; called between two batches."""
        for _ in range(_ANSWERED):
            if not self._waiting:
                return
            with self._lock:
                if not self._waiting:
                    return
                partition, series, asked = self._waiting.popleft()
            try:
                asked.set_result(take(partition, series))
            except (ServiceError, ForecasterError) as error:
                asked.set_exception(error)
