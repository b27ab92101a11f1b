"""The parts shared by source and sink on one cluster: client, guard around its calls, and reader for queries."""

from __future__ import annotations

from collections.abc import Callable

from service.config.kafka import KafkaConfig
from service.kafka.client import client_of
from service.kafka.fencing import FencedBefore
from service.kafka.guard import ClientGuard
from service.kafka.history import TopicHistory, quietly
from service.kafka.watchdog import Watchdog
from service.schemas.forecast_reader import ForecastReader


def _nothing() -> None:
    """The default of `stay_alive`: there is no membership to keep."""


class KafkaSession:
    """One start on one cluster: `service.transport.pair.Shared`. Unusable after any error of the client.

    Args:
        settings: brokers, names, limits.
        fenced: shared with the sessions before and after this one.
        watchdog: ends the process when a call does not return.
        forecasts: reads the records of the topic of forecasts.

    Attributes:
        client: the library.
        guarded: wraps every call of the library.
        history: reads outside of the group.
        counts: number of partitions of each output topic, once the sink is open.
        stay_alive: called during long reads of `history`; the source sets it.
    """

    def __init__(
        self,
        settings: KafkaConfig,
        fenced: FencedBefore | None = None,
        watchdog: Watchdog | None = None,
        forecasts: ForecastReader | None = None,
    ) -> None:
        self.settings, self.forecasts = settings, forecasts or ForecastReader()
        self.client = client_of(settings)
        self.watchdog = watchdog or Watchdog(settings.watchdog)
        self.guarded = ClientGuard(
            settings.transactional_id,
            self.watchdog,
            fenced or FencedBefore(),
            self.client.is_fenced,
            self.client.is_unreachable,
        )
        self.stay_alive: Callable[[], None] = _nothing
        self.counts: dict[str, int] = {}
        self.history = TopicHistory(settings, self.guarded, self._waiting)

    def _waiting(self) -> None:
        self.stay_alive()

    def open(self) -> None:
        """Starts the watchdog, and connects the reader."""
        self.watchdog.start()
        self.history.open()

    def closing(self, close: Callable[[], object]) -> None:
        """Closes a client under the watchdog and logs its exceptions."""
        with self.watchdog.watching("close"):
            quietly(close)

    def close(self) -> None:
        """Closes the reader and the watchdog."""
        with self.watchdog.watching("close"):
            self.history.close()
            self.forecasts.close()
        self.watchdog.close()
