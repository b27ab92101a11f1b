"""Counts and logs alerts that begin and end. This is not part of the state: a replay does not report them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from service.config.alerts import KINDS
from service.monitoring.metrics import Metrics
from service.publication import Listener, Publication, ServedAlerts

if TYPE_CHECKING:
    from forecaster import Forecaster

_log = structlog.get_logger()

_LOGGED: Final = 10  # lines of a unit; all are counted


class AlertReports(Listener):
    """The reports. Used in the engine's thread.

    Args:
        metrics: the metrics to update.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lasting: dict[tuple[str, str], Counter[str]] = {}

    def on_publication(self, publication: Publication) -> None:
        """Reports the changes of one unit, those of a history excepted."""
        changes, lasting = publication.alerts
        key = publication.partition, publication.group
        if changes:
            self._lasting[key] = Counter(kind for kind, _, _ in lasting)
            self._show()
        if publication.unit.of_history:
            return
        for change in changes:
            if not change.ends_ms:
                self._metrics.alerts.labels(change.alert.kind).inc()
        for change in changes[:_LOGGED]:
            alert = change.alert
            named = {"kind": alert.kind, "rule": alert.rule, "series": alert.series, "partition": key[0]}
            if change.ends_ms:
                _log.info("alert is over", at_ms=change.ends_ms, **named)
            else:
                _log.info("alert begins", at_ms=alert.starts_ms, **named)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:  # noqa: ARG002 - of the interface
        """Drops the alerts of partitions that other processes read now."""
        self._lasting = {key: found for key, found in self._lasting.items() if key[0] in assigned}
        self._show()

    def on_served(self, served: ServedAlerts) -> None:
        """Counts what lasts in a partition that is served from now on."""
        self._lasting[served.partition, served.group] = Counter(kind for kind, _, _ in served.lasting)
        self._show()

    def _show(self) -> None:
        for kind in KINDS:
            self._metrics.alerts_lasting.labels(kind).set(sum(found[kind] for found in self._lasting.values()))
