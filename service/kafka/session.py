"""What source and sink on one cluster share: the client, the guard around its calls, and the reader for questions."""

from __future__ import annotations

from collections.abc import Callable

from service.config.kafka import KafkaConfig
from service.kafka.client import client_of
from service.kafka.fencing import FencedBefore
from service.kafka.guard import Guard
from service.kafka.history import History, quietly
from service.kafka.watchdog import Watchdog


def _nothing() -> None:
    """Nobody has to be kept alive."""


class KafkaSession:
    """One start on one cluster: `service.transport.pair.Shared`. After any error of the client it is of no use.

    Args:
        settings: brokers, names, limits.
        fenced: shared with the sessions before and after this one.
        watchdog: ends the process when a call does not come back.

    Attributes:
        client: the library.
        guarded: goes around every call of it.
        history: reads beside the group.
        counts: partitions of each topic of outputs, once the sink is open.
        stay_alive: called while a read of `history` takes its time; the source sets it.
    """

    def __init__(
        self, settings: KafkaConfig, fenced: FencedBefore | None = None, watchdog: Watchdog | None = None
    ) -> None:
        self.settings = settings
        self.client = client_of(settings)
        self.watchdog = watchdog or Watchdog(settings.watchdog)
        self.guarded = Guard(
            settings.transactional_id,
            self.watchdog,
            fenced or FencedBefore(),
            self.client.is_fenced,
            self.client.is_unreachable,
        )
        self.stay_alive: Callable[[], None] = _nothing
        self.counts: dict[str, int] = {}
        self.history = History(settings, self.guarded, self._waiting)

    def _waiting(self) -> None:
        self.stay_alive()

    def open(self) -> None:
        """Begins to watch, and connects the reader."""
        self.watchdog.start()
        self.history.open()

    def closing(self, close: Callable[[], object]) -> None:
        """Closes a client under the watchdog, whatever it says."""
        with self.watchdog.watching("close"):
            quietly(close)

    def close(self) -> None:
        """Lets go of the reader and ends the watch."""
        with self.watchdog.watching("close"):
            self.history.close()
        self.watchdog.close()
