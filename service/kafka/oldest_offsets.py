"""The oldest offsets that brokers hold, asked for in the background: a slow broker holds up nothing else.

Offsets of a topic only grow, so an answer that is old is a lower bound, and deletes too little.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

import structlog
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka.reader import Reader

_log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 60.0
"""From one question to the next one of the same partition, whether it was answered or not."""


class OldestOffsets:
    """Asks for the oldest offsets with a client and a thread of its own, one question at a time.

    Args:
        settings: of the transport.
        ask: returns the oldest offset of a partition; replaced in tests.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: KafkaConfig,
        ask: Callable[[TopicPartition], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._ask, self._clock = settings, ask or self._ask_brokers, clock
        self._known: dict[TopicPartition, int] = {}
        self._asked: dict[TopicPartition, float] = {}
        self._thread: threading.Thread | None = None

    def of(self, source: TopicPartition) -> int | None:
        """Returns the oldest offset as far as it is known, None before the first answer; never waits."""
        is_due = self._clock() - self._asked.get(source, -_PAUSE_SECONDS) >= _PAUSE_SECONDS
        if is_due and (self._thread is None or not self._thread.is_alive()):
            self._asked[source] = self._clock()
            self._thread = threading.Thread(target=self._find, args=(source,), name="oldest offsets", daemon=True)
            self._thread.start()
        return self._known.get(source)

    def forget(self) -> None:
        """Discards the answers: other partitions are read from now on, or a topic was recreated."""
        self._known, self._asked = {}, {}

    def _find(self, source: TopicPartition) -> None:
        known = self._known  # an answer that comes after `forget` is not for the new ones
        try:
            known[source] = self._ask(source)
        except Exception as error:  # noqa: BLE001 - of any kind in the client; it is asked again
            _log.info("oldest offset not found", topic=source.topic, partition=source.partition, error=str(error))

    def _ask_brokers(self, source: TopicPartition) -> int:
        with closing(Reader(self._settings)) as reader:
            return reader.earliest(source)
