"""Turns alerts that begin and end into deliveries, and keeps those that last for the renewals of Alertmanagers."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from service.alerts.alert import Alert
from service.config.groups import shown_group
from service.config.sections import Config
from service.deliveries.delivery import CommittedEvents, Delivery, Target
from service.ports import name_of_run

if TYPE_CHECKING:
    from service.publication import Publication

Message = dict[str, Any]
"""An alert that begins or is over, or lasts, as a delivery has it.

    id                 the same for begin and end, and after any crash
    status             firing or resolved
    kind, rule, severity, name       name is that of the `[[alert]]`, or of the kind
    series, group, partition, position
    starts_ms, ends_ms               event times; ends_ms is 0 while it lasts
    value, score, expected_ms        as in `service.alerts.alert.Alert`; null where there is none
    threshold                        of a breach: its text, such as "above 90"
"""

NAMES: Final = {"anomaly": "SeriesAnomalous", "silence": "SeriesSilent", "drift": "ForecastDrift"}
"""Names of the alerts without an `[[alert]]`."""


class AlertMessages:
    """Makes messages of alerts.

    Args:
        config: has the `[[alert]]`.
    """

    def __init__(self, config: Config) -> None:
        self._rules = {rule.name: rule for rule in config.alert}
        self._has_groups = bool(config.group)

    def message(self, alert: Alert, partition: str, group: str, ends_ms: int = 0) -> Message:
        """Returns the message of an alert; `partition`: with its run. It is a function of the events."""
        rule = self._rules.get(alert.rule)
        return {
            "id": alert.identity(partition),
            "status": "resolved" if ends_ms else "firing",
            "kind": alert.kind,
            "name": NAMES.get(alert.kind, alert.rule),
            "severity": "warning" if rule is None else rule.severity,
            "series": alert.series,
            "group": shown_group(group) if self._has_groups else "",
            "partition": partition,
            "position": alert.position,
            "starts_ms": alert.starts_ms,
            "ends_ms": ends_ms,
            "value": None if math.isnan(alert.value) else alert.value,
            "score": None if math.isnan(alert.score) else round(alert.score, 7),
            "expected_ms": alert.expected_ms or None,
            "threshold": None if rule is None else f"{'above' if rule.sign > 0 else 'below'} {rule.limit:g}",
        }


class LastingAlerts:
    """The alerts that last in all partitions, for renewals. `note` and `keep` are called in the engine's thread.

    Args:
        messages: makes their messages.
    """

    def __init__(self, messages: AlertMessages) -> None:
        self._messages, self._lock = messages, threading.Lock()
        self._found: dict[tuple[str, str], tuple[int, list[Message]]] = {}

    def note(self, publication: Publication) -> None:
        """Notes what lasts after a committed unit, and the newest of its event times."""
        changes, lasting = publication.alerts
        key, times = (publication.partition, publication.group), publication.decoded.timestamp_ms
        if not (lasting or key in self._found):
            return
        before = self._found.get(key)
        newest = int(times.max()) if len(times) else before[0] if before else 0
        if changes or before is None:
            partition = name_of_run(publication.partition, publication.unit.run)
            messages = [self._messages.message(one, partition, publication.group) for one in lasting.values()]
        else:
            messages = before[1]
        with self._lock:
            self._found[key] = newest, messages

    def keep(self, partitions: Collection[str]) -> None:
        """Drops the alerts of partitions that this process does not read any more."""
        with self._lock:
            self._found = {key: found for key, found in self._found.items() if key[0] in partitions}

    def since(self, ms: int) -> list[Message]:
        """Returns the alerts that last in partitions whose last events are not older than an event time."""
        with self._lock:
            return [one for newest, messages in self._found.values() if newest >= ms for one in messages]


class AlertDeliveries:
    """`DeliveryProducer` of alerts.

    Args:
        messages: makes their messages.
        lasting: learns what lasts.
        targets: each gets every message.
    """

    def __init__(self, messages: AlertMessages, lasting: LastingAlerts, targets: Sequence[Target]) -> None:
        self._messages, self._lasting, self._targets = messages, lasting, tuple(one.name for one in targets)

    def deliveries(self, events: CommittedEvents) -> Iterator[Delivery]:
        """See `DeliveryProducer`: one delivery per target for every alert that begins or ends, none of a history."""
        publication = events.publication
        unit = publication.unit
        if unit.of_history:
            return
        self._lasting.note(publication)
        for change in publication.alerts.changes:
            partition = name_of_run(unit.partition, unit.run)
            message = self._messages.message(change.alert, partition, publication.group, change.ends_ms)
            body, identity = orjson.dumps(message), f"{message['id']}/{message['status']}"
            for target in self._targets:
                yield Delivery(target, change.event, identity, body)

    def on_partitions(self, assigned: Collection[str]) -> None:
        """Drops the lasting alerts of other partitions."""
        self._lasting.keep(assigned)


def newest_states(bodies: Sequence[bytes], since_ms: int) -> list[Message]:
    """Returns the messages of deliveries: of each alert the last one, without those that are too old.

    Args:
        bodies: of the deliveries, in their order.
        since_ms: messages whose alert began or ended before this event time are left out.
    """
    found: dict[str, Message] = {}
    for body in bodies:
        message: Message = orjson.loads(body)
        found.pop(message["id"], None)
        found[message["id"]] = message
    return [one for one in found.values() if (one["ends_ms"] or one["starts_ms"]) >= since_ms]


def summary(message: Mapping[str, Any], time: str) -> str:
    """Returns one sentence on an alert for people; `time`: `expected_ms` as text, "" without it."""
    series, value = message["series"], message["value"]
    match message["kind"]:
        case "anomaly":
            return (
                f"{series}: the value {'?' if value is None else f'{value:g}'} has the anomaly score {message['score']}"
            )
        case "silence":
            return f"{series}: no event arrives; one was expected at {time}"
        case "breach":
            return f"{series}: the forecast is {message['threshold']} from {time} on"
        case _:
            return "The errors of the forecasts have risen: a training is due"
