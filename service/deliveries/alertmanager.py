"""Sends alerts to an Alertmanager (API v2), and renews those that last.

An alert is firing until its `endsAt`, which lies `expire_after` ahead; every renewal moves it. A repeat with the same
labels and the same `startsAt` is the same alert to an Alertmanager, so that a crash causes no further notification as
long as the daemon is back before `endsAt`. Wall time decides on renewals only, never on what lasts.

An Alertmanager takes the alerts of a request that are valid and answers 400 if any is not, so a refused batch is sent
in parts, to know which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from service.config.alerts import OWN_ALERT_LABELS, AlertsConfig
from service.deliveries.alert_messages import LastingAlerts, Message, NewestStates, summary
from service.deliveries.delivery import BatchLimit, RefusedError, SendResult, Spooled, UnavailableError
from service.deliveries.http_post import HttpEndpoint, HttpPost
from service.deliveries.series_labels import alert_labels
from service.monitoring.metrics import Metrics
from service.ports import Clock

SPOOL_BYTES: Final = 16 << 20
_BATCH: Final = BatchLimit(256, 1 << 20)
_ANNOUNCE_SECONDS: Final = 5.0  # between two attempts to announce the alerts of a restored partition
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AlertmanagerTarget:
    """`Target` of one Alertmanager, which `Renews`.

    Args:
        name: of the target. url: of the Alertmanager.
        settings: of alerts.
        lasting: what is renewed.
        metrics: counts failed renewals.
        clock: the wall clock for `endsAt` and ages.
    """

    def __init__(
        self, name: str, url: str, settings: AlertsConfig, lasting: LastingAlerts, metrics: Metrics, clock: Clock
    ) -> None:
        self.name, self.kind, self.spool_bytes, self.limit = name, "alertmanager", SPOOL_BYTES, _BATCH
        self.divides = True
        self._settings, self._lasting, self._clock = settings, lasting, clock
        endpoint = HttpEndpoint(
            f"{url.rstrip('/')}/api/v2/alerts", settings.timeout, settings.username, settings.password_file,
            settings.token_file, settings.ca_file,
        )  # fmt: skip
        self._post = HttpPost(endpoint, {"Content-Type": "application/json"})
        self._failures = metrics.delivery_failures.labels(self.kind)
        self._renew_at = clock.monotonic() + settings.renew_every
        self._announced, self._announce_at = 0, -math.inf

    def send(self, batch: Sequence[Spooled]) -> SendResult:
        """See `Target`: posts the last state of each alert of the batch, as far as it still holds."""
        found = NewestStates([one.body for one in batch], self._oldest_ms())
        messages = self._lasting.holding(found.messages)
        self._send(messages)
        return SendResult(expired=found.deliveries_without(messages))

    def _oldest_ms(self) -> int:
        return self._clock.wall_ms() - round(self._settings.max_age * 1000)

    def _send(self, messages: Sequence[Message]) -> None:
        if messages:
            now, lasts = self._clock.wall_ms(), round(self._settings.expire_after * 1000)
            alerts = [posted(one, self._settings.labels, now, now + lasts) for one in messages]
            self._post.post(orjson.dumps(alerts))

    @property
    def has_news(self) -> bool:
        """See `Renews`: whether alerts of a restored partition are not announced."""
        return self._lasting.restored != self._announced

    def renew(self) -> None:
        """See `Renews`: posts the alerts that last, every `renew_every`, and at once those of a restored partition.

        It raises the errors of `http_post`. An alert that is over is not among them before its end is spooled, so that
        no renewal follows its end.
        """
        now, restored = self._clock.monotonic(), self._lasting.restored
        if now < self._renew_at and (restored == self._announced or now < self._announce_at):
            return
        self._renew_at, self._announce_at = now + self._settings.renew_every, now + _ANNOUNCE_SECONDS
        messages = self._lasting.since(self._oldest_ms())
        try:
            for first in range(0, len(messages), _BATCH.deliveries):
                self._send(messages[first : first + _BATCH.deliveries])
        except RefusedError:  # of some; the others were taken
            self._announced = restored
            self._failures.inc()
            raise
        except (UnavailableError, OSError):
            self._failures.inc()
            raise
        self._announced = restored

    def close(self) -> None:
        """Nothing is held."""


def posted(message: Message, labels: Mapping[str, str], now_ms: int, expires_ms: int) -> dict[str, Any]:
    """Returns an alert as an Alertmanager takes it.

    Event times ahead of the clock become the present: for an Alertmanager an alert that ends later is not over.

    Args:
        message: the alert.
        labels: further labels of all alerts.
        now_ms: wall time. expires_ms: wall time after which it is over unless it is renewed.
    """
    ends = min(message["ends_ms"], now_ms)
    starts = min(message["starts_ms"], ends or now_ms)
    named = {
        "alertname": message["name"], "kind": message["kind"], "severity": message["severity"],
        "series": message["series"], "group": message["group"], "partition": message["partition"],
    }  # fmt: skip
    expected = message["expected_ms"]
    details = {
        "summary": summary(message, "" if expected is None else time_text(expected)),
        "value": "" if message["value"] is None else f"{message['value']:g}",
        "expected": "" if expected is None else time_text(expected),
        "position": str(message["position"]),
        "id": message["id"],
    }
    return {
        "labels": {
            **labels,
            **alert_labels(message["series"], labels, OWN_ALERT_LABELS),
            **{name: value for name, value in named.items() if value},
        },
        "annotations": {name: value for name, value in details.items() if value},
        "startsAt": time_text(starts),
        "endsAt": time_text(ends or expires_ms),
    }


def time_text(ms: int) -> str:
    """Returns epoch milliseconds in RFC 3339."""
    try:
        found = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:  # beyond the year 9999
        found = datetime.max.replace(tzinfo=UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
