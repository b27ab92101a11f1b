"""Posts alerts to a webhook as JSON, one body for each group of series, signed with HMAC-SHA256.

    X-Forecaster-Id           of the body: the same for a repeat
    X-Forecaster-Timestamp    seconds since 1970 at which it was sent
    X-Forecaster-Signature    sha256=HEX of HMAC-SHA256(secret, TIMESTAMP "." BODY)

A body may be repeated after a crash, perhaps with other alerts in it: each alert has an id, the same for its begin and
its end and for all repeats.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import orjson

from service.config.alerts import AlertsConfig
from service.deliveries.alert_messages import Message, NewestStates, summary
from service.deliveries.alertmanager import SPOOL_BYTES, time_text
from service.deliveries.delivery import BatchLimit, RefusedError, SendResult, Spooled, UnavailableError
from service.deliveries.http_post import HttpEndpoint, HttpPost
from service.deliveries.series_labels import alert_labels
from service.http_credentials import SecretError, secret_in
from service.ports import Clock

VERSION: Final = "1"


class WebhookTarget:
    """`Target` of a webhook.

    Args:
        name: of the target.
        settings: of alerts, with the address and the secret.
        clock: the wall clock for timestamps and ages.
    """

    def __init__(self, name: str, settings: AlertsConfig, clock: Clock) -> None:
        self.name, self.kind, self.spool_bytes = name, "webhook", SPOOL_BYTES
        self._settings, self._clock = settings, clock
        self.limit, self.divides = BatchLimit(256, 1 << 20, settings.webhook_wait), False
        url = settings.webhook.get_secret_value()
        endpoint = HttpEndpoint(url, settings.timeout, ca_file=settings.ca_file, place=f"webhook at {host_of(url)}")
        self._post = HttpPost(endpoint, {"Content-Type": "application/json"})
        self._accepted: set[str] = set()  # bodies of the batch that is being sent

    def send(self, batch: Sequence[Spooled]) -> SendResult:
        """See `Target`: posts one body per group of series; a repeat leaves out the bodies that were accepted."""
        groups: dict[str, list[Message]] = {}
        oldest_ms = self._clock.wall_ms() - round(self._settings.max_age * 1000)
        found = NewestStates([one.body for one in batch], oldest_ms)
        for message in found.messages:
            groups.setdefault(message["group"], []).append(message)
        refused = 0
        for group, messages in groups.items():
            identity, body = body_of(group, messages)
            if identity in self._accepted:
                continue
            try:
                self._post.post(body, self._signed(identity, body))
            except RefusedError:
                if len(groups) == 1:
                    raise
                refused += found.deliveries_of(messages)
            self._accepted.add(identity)
        self._accepted.clear()
        return SendResult(refused, found.deliveries_without(found.messages))

    def _signed(self, identity: str, body: bytes) -> dict[str, str]:
        now = str(self._clock.wall_ms() // 1000)
        headers = {"X-Forecaster-Id": identity, "X-Forecaster-Timestamp": now}
        if secret := self._secret():
            headers["X-Forecaster-Signature"] = f"sha256={signature(secret, now, body)}"
        return headers

    def _secret(self) -> bytes:
        if (path := self._settings.webhook_secret_file) is None:
            return self._settings.webhook_secret.get_secret_value().encode()
        try:
            return secret_in(path).strip()
        except SecretError as error:
            raise UnavailableError(str(error)) from None

    def close(self) -> None:
        """Nothing is held."""


def host_of(url: str) -> str:
    """Returns the host of an address, whose path and query may have a secret, for messages."""
    return urlsplit(url).netloc


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Returns the signature of a body as hexadecimal digits."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def body_of(group: str, messages: Sequence[Message]) -> tuple[str, bytes]:
    """Returns the id and the JSON of the body with the alerts of a group of series."""
    identity = hashlib.sha256("\n".join(f"{one['id']}/{one['status']}" for one in messages).encode()).hexdigest()[:24]
    alerts = []
    for one in messages:
        times = {name: one[f"{name}_ms"] and time_text(one[f"{name}_ms"]) for name in ("starts", "ends", "expected")}
        shown = {name: value for name, value in one.items() if not name.endswith("_ms") and name != "group"}
        labels = alert_labels(one["series"], {}, ())
        texts = {name: text or None for name, text in times.items()}
        alerts.append(
            {
                **shown,
                **({"labels": labels} if labels else {}),
                **texts,
                "summary": summary(one, times["expected"] or ""),
            }
        )
    return identity, orjson.dumps({"version": VERSION, "id": identity, "group": group or None, "alerts": alerts})
