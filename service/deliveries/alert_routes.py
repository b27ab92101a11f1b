"""The route of alerts: from the configuration to its targets."""

from __future__ import annotations

import hashlib

from service.config.sections import Config
from service.deliveries.alert_messages import AlertDeliveries, AlertMessages, LastingAlerts
from service.deliveries.alertmanager import AlertmanagerTarget
from service.deliveries.deliveries import Route
from service.deliveries.delivery import Target
from service.deliveries.webhook import WebhookTarget
from service.monitoring.metrics import Metrics
from service.ports import Clock


def alert_routes(config: Config, metrics: Metrics, clock: Clock) -> list[Route]:
    """Returns the route of alerts, none without a target.

    A target is named after its address, so that another address gets a spool of its own.
    """
    settings, messages = config.alerts, AlertMessages(config)
    lasting = LastingAlerts(messages)
    targets: list[Target] = [
        AlertmanagerTarget(_name("alertmanager", url), url, settings, lasting, metrics, clock)
        for url in settings.alertmanagers
    ]
    if webhook := settings.webhook.get_secret_value():
        targets.append(WebhookTarget(_name("webhook", webhook), settings, clock))
    return [Route(AlertDeliveries(messages, lasting, targets), targets)] if targets else []


def _name(kind: str, url: str) -> str:
    return f"{kind}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
