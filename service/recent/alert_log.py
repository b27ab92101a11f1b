"""The alerts that last and those that were over lately, for API and page. Bounded; starts with what lasts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from service.alerts.alert import Alert, AlertKey
from service.publication import Listener, Publication, ServedAlerts

if TYPE_CHECKING:
    from forecaster import Forecaster

MOST_ENDED: Final = 1000
"""Newest alerts that are over."""

_RANGES: Final = 10  # begins of a unit whose expected range is looked up

Range = tuple[float, float]


class LoggedAlert(NamedTuple):
    """An alert of the log.

    Attributes:
        partition, run, group: of the alert.
        alert: it.
        expected: lowest and highest quantile of the 1-step-ahead forecast of the event that began it; None: unknown.
        ends_ms: event time at which it was over; 0: it lasts.
        end: position of the event that ended it; -1: it lasts.
    """

    partition: str
    run: int
    group: str
    alert: Alert
    expected: Range | None = None
    ends_ms: int = 0
    end: int = -1


class AlertLog(Listener):
    """The log. The methods of `Listener` are called in the engine's thread, `alerts` in any.

    Args:
        expected: returns the expected range of the event of a partition and series at a position.
    """

    def __init__(self, expected: Callable[[str, str, int], Range | None] = lambda *_: None) -> None:
        self._expected, self._lock = expected, threading.Lock()
        self._lasting: dict[tuple[str, str], dict[AlertKey, LoggedAlert]] = {}
        self._ended: deque[LoggedAlert] = deque(maxlen=MOST_ENDED)

    def on_publication(self, publication: Publication) -> None:
        """Notes what begins and what is over; of a history only what lasts."""
        unit, group = publication.unit, publication.group
        if not publication.alerts.changes:
            return
        ranges = _RANGES
        with self._lock:
            lasting = self._lasting.setdefault((unit.partition, group), {})
            for change in publication.alerts.changes:
                alert = change.alert
                if not change.ends_ms:
                    ranges -= alert.kind == "anomaly"
                    known = alert.kind == "anomaly" and ranges >= 0
                    found = self._expected(unit.partition, alert.series, alert.position) if known else None
                    lasting[alert.key] = LoggedAlert(unit.partition, unit.run, group, alert, found)
                elif (entry := lasting.pop(alert.key, None)) is not None and not unit.of_history:
                    positions = publication.decoded.positions
                    end = positions[change.event] if change.event < len(positions) else unit.next_position
                    self._ended.append(entry._replace(ends_ms=change.ends_ms, end=end))

    def on_served(self, served: ServedAlerts) -> None:
        """Notes what lasts in a partition."""
        with self._lock:
            self._lasting[served.partition, served.group] = {
                key: LoggedAlert(served.partition, served.run, served.group, alert)
                for key, alert in served.lasting.items()
            }

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:  # noqa: ARG002 - those being restored are noted by `on_served`
        """Drops what lasts in partitions that are not served here."""
        with self._lock:
            self._lasting = {key: found for key, found in self._lasting.items() if key[0] in restored}

    def alerts(self, partition: str = "") -> tuple[list[LoggedAlert], list[LoggedAlert]]:
        """Returns those that last, the newest first, and those that are over, the last one first; of one partition."""
        with self._lock:
            lasting = [one for found in self._lasting.values() for one in found.values()]
            ended = [*reversed(self._ended)]
        lasting.sort(key=lambda one: (-one.alert.starts_ms, one.alert.key))
        return tuple([one for one in part if partition in ("", one.partition)] for part in (lasting, ended))  # type: ignore[return-value]
