"""Step 2 of the loop, before decoding: all schemas of a batch are known. Waits while the registry does not answer.

A record is rejected only for what the registry says about its schema, never because the registry is down: until it
answers, nothing else is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from service.backoff import Backoff
from service.config.sections import Config
from service.errors import SchemaRegistryError
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.ports import Records
from service.schemas.frames import Result, SchemaFrames, frames_of

_log = structlog.get_logger()


class SchemaLookups:
    """Looks up schemas for batches from topics. Used in the loop's thread.

    Args:
        config: uses `schema_registry` and `input.format`, which do not change at run time.
        metrics, health: report lookups, and a registry that does not answer.

    Attributes:
        frames: for the decoder; None where no registry is configured, or the input is not a topic.
        stop: ends a wait.
    """

    def __init__(self, config: Config, metrics: Metrics, health: Health) -> None:
        self._metrics, self._health, self.stop = metrics, health, threading.Event()
        self.frames: SchemaFrames | None = None
        if config.kafka.topics:
            self.frames = frames_of(config.schema_registry, self._count, config.input.format)

    def _count(self, result: Result) -> None:
        self._metrics.schema_lookups.labels(result).inc()
        self._health.beat()  # a batch may need many lookups

    def known(self, records: Records) -> bool:
        """Returns whether the batch can be decoded without waiting."""
        return self.frames is None or records.of_history or self.frames.holds(records.values)

    def wait(self, records: Records) -> bool:
        """Looks up the schemas of a batch, and retries while the registry does not answer.

        Returns:
            False if a stop was requested before all of them were known.
        """
        if self.frames is None or records.of_history:
            return True
        frames = self.frames
        return answered(lambda: frames.prepare(records.values), self._health, self.stop)

    def close(self) -> None:
        """Closes the connections to the registry."""
        if self.frames is not None:
            self.frames.close()


def answered(ask: Callable[[], object], health: Health, stop: threading.Event) -> bool:
    """Asks the registry, and retries while it does not answer.

    Args:
        ask: raises SchemaRegistryError while there is no answer.
        health: shows that the daemon waits.
        stop: ends the wait.

    Returns:
        False if a stop was requested before there was an answer.
    """
    backoff, blocked, before = Backoff(), False, health.report()
    while True:
        try:
            ask()
        except SchemaRegistryError as error:
            health.enter("blocked", str(error), condition="schema_registry_down")
            if not blocked:
                _log.warning("schema registry unavailable, retrying", error=str(error))
            blocked = True
            if stop.wait(backoff.next()):
                return False
        else:
            if blocked:
                _log.info("schema registry available again")
                health.enter(before.phase, restored=before.restored)  # starting, restoring or running
            return True
