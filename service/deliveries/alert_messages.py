"""Turns alerts that begin and end into deliveries, and keeps those that last for the renewals of Alertmanagers."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from service.alerts.alert import Alert
from service.config.groups import shown_group
from service.config.sections import Config
from service.deliveries.delivery import CommittedEvents, Delivery, Target
from service.ports import name_of_run

if TYPE_CHECKING:
    from service.publication import Publication, ServedAlerts

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
    """The alerts that last in the partitions that this process serves, for an Alertmanager.

    What an Alertmanager shows is a state, not a list of events: of an alert that is over, or that another process reads
    meanwhile, no begin may follow, or it would be notified again. So a begin is sent only while the alert lasts here,
    and what lasts in a partition is announced when the partition is restored, whoever has sent it before.

    `note`, `restore` and `keep` are called in the engine's thread.

    Args:
        messages: makes their messages.

    Attributes:
        restored: how often alerts have become known other than by a unit that began them.
    """

    def __init__(self, messages: AlertMessages) -> None:
        self._messages, self._lock = messages, threading.Lock()
        self._found: dict[tuple[str, str], tuple[int, list[Message]]] = {}
        self._served: frozenset[str] = frozenset()
        self.restored = 0

    def restore(self, served: ServedAlerts) -> None:
        """Notes what lasts in a partition that is served from now on."""
        if not served.lasting or served.of_history:
            return
        found = self._of(name_of_run(served.partition, served.run), served.group, served.lasting.values())
        with self._lock:
            self._found[served.partition, served.group] = served.newest_ms, found
            self.restored += 1

    def _of(self, partition: str, group: str, lasting: Iterable[Alert]) -> list[Message]:
        return [self._messages.message(one, partition, group) for one in lasting]

    def note(self, publication: Publication) -> None:
        """Notes what lasts after a committed unit, and the newest of its event times.

        Not in a replay: what lasted meanwhile may be over, and its end was sent.
        """
        changes, lasting = publication.alerts
        key, times = (publication.partition, publication.group), publication.decoded.timestamp_ms
        if publication.partition not in self._served or not (lasting or key in self._found):
            return
        before = self._found.get(key)
        newest = int(times.max()) if len(times) else before[0] if before else 0
        if changes or before is None:
            partition = name_of_run(publication.partition, publication.unit.run)
            messages = self._of(partition, publication.group, lasting.values())
        else:
            messages = before[1]
        with self._lock:
            self._found[key] = newest, messages

    def keep(self, served: Collection[str]) -> None:
        """Drops the alerts of partitions that this process does not serve any more, or is restoring."""
        self._served = frozenset(served)
        with self._lock:
            self._found = {key: found for key, found in self._found.items() if key[0] in self._served}

    def since(self, ms: int) -> list[Message]:
        """Returns the alerts that last in partitions whose last events are not older than an event time."""
        with self._lock:
            return [one for newest, messages in self._found.values() if newest >= ms for one in messages]

    def holding(self, messages: Iterable[Message]) -> list[Message]:
        """Returns the messages that still hold.

        A begin does while its alert lasts here; an end does unless the same has begun again here: to an Alertmanager it
        would be over.
        """
        with self._lock:
            lasting = {_subject(one): one["id"] for _, found in self._found.values() for one in found}
        return [
            one for one in messages
            if lasting.get(_subject(one), None if one["status"] == "firing" else one["id"]) == one["id"]
        ]  # fmt: skip


def _subject(message: Message) -> tuple[str, ...]:
    """Returns what an alert is of; the next one of the same has it, too."""
    return tuple(message[part] for part in ("partition", "group", "kind", "name", "series"))


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

    def on_partitions(self, served: Collection[str]) -> None:
        """Drops the lasting alerts of other partitions."""
        self._lasting.keep(served)

    def on_served(self, served: ServedAlerts) -> None:
        """Notes the lasting alerts of a partition."""
        self._lasting.restore(served)


class NewestStates:
    """The messages of a batch of deliveries: of each alert the last one, without those that are too old.

    Args:
        bodies: of the deliveries, in their order.
        since_ms: messages whose alert began or ended before this event time are left out.

    Attributes:
        messages: in the order of the deliveries.
    """

    def __init__(self, bodies: Sequence[bytes], since_ms: int) -> None:
        found: dict[str, Message] = {}
        self._counts = Counter[str]()
        for body in bodies:
            message: Message = orjson.loads(body)
            found.pop(message["id"], None)
            found[message["id"]] = message
            self._counts[message["id"]] += 1
        self.messages = [one for one in found.values() if (one["ends_ms"] or one["starts_ms"]) >= since_ms]

    def deliveries_of(self, messages: Iterable[Message]) -> int:
        """Returns how many deliveries of the batch are of the alerts of messages."""
        return sum(self._counts[one["id"]] for one in messages)

    def deliveries_without(self, messages: Iterable[Message]) -> int:
        """Returns how many deliveries of the batch are of other alerts."""
        return self._counts.total() - self.deliveries_of(messages)


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
