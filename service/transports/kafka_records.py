"""What a unit becomes as Kafka records, whatever the client: forecasts by series, rejects, adoptions. Pure.

A reject keeps its value, key and headers and gets the headers of Kafka Connect's dead-letter queues, which tools
know, and `forecaster.reason`, a code of `service.messages.REASONS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kafka.partitioner.default import murmur2

from service.ports import Adoption, Encoded, Reject

Headers = list[tuple[str, bytes]]

_CONNECT: Final = "__connect.errors."
REASON_HEADER: Final = "forecaster.reason"
_MESSAGE_BYTES = 1024  # of a reject's explanation
_CUT_BYTES = 64 << 10  # that are kept of a value too large to be sent
# Framing of a record and of its batch; generous, as the client refuses what is larger.
_OVERHEAD_BYTES = 512


class Message(NamedTuple):
    """A record to send."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers


class Source(NamedTuple):
    """A partition by its Kafka name; as text it is the partition's name in `service.ports`."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """`topic-partition`, as Kafka's own tools write it."""
        return f"{self.topic}-{self.partition}"


class Partitioner:
    """Partition by key as Java's default partitioner does, so that other programs' keys meet ours. Remembers."""

    def __init__(self, most: int = 200_000) -> None:
        self._known: dict[str, int] = {}
        self._most = most

    def hash(self, key: str) -> int:
        """A number whose remainder by the number of partitions is the partition."""
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._most:
                self._known.clear()
            found = self._known[key] = murmur2(key.encode()) & 0x7FFFFFFF
        return found


def forecast_messages(
    forecasts: Encoded,
    topic: str,
    partitions: int,
    partitioner: Partitioner,
    together: int = 1,
    headers: Sequence[Headers] = (),
) -> list[Message]:
    """Forecasts as records, each keyed by its series.

    Args:
        forecasts: with their series.
        topic: where they go.
        partitions: how many the topic has.
        partitioner: chooses among them.
        together: with more than 1, forecasts of a series are joined to JSON arrays of at most so many; the order
            within a series is kept.
        headers: of every forecast, or nothing.
    """
    if together == 1:
        extra = headers or [[]] * len(forecasts.forecasts)
        return [
            Message(topic, partitioner.hash(series) % partitions, series.encode(), value, more)
            for series, value, more in zip(forecasts.series, forecasts.forecasts, extra, strict=True)
        ]
    by_series: dict[str, list[bytes]] = {}
    for series, value in zip(forecasts.series, forecasts.forecasts, strict=True):
        by_series.setdefault(series, []).append(value)
    messages = []
    for series, values in by_series.items():
        where, key = partitioner.hash(series) % partitions, series.encode()
        for start in range(0, len(values), together):
            joined = b"[" + b",".join(values[start : start + together]) + b"]"
            messages.append(Message(topic, where, key, joined, []))
    return messages


def reject_message(reject: Reject, source: Source, app: str, topic: str, partitions: int) -> Message:
    """A rejected record as it came, with where it came from and why; the same partition where there are as many."""
    connect = {
        "topic": source.topic,
        "partition": str(source.partition),
        "offset": str(reject.position),
        "connector.name": app,
        "task.id": "0",
        "stage": "VALUE_CONVERTER",
        "class.name": "service.messages.Decoder",
        "exception.class.name": f"forecaster.{reject.reason}",
        "exception.message": reject.detail,
        "exception.stacktrace": "",
    }
    headers = [(name, value or b"") for name, value in reject.headers]  # brokers hand out None, clients refuse it
    headers += [(_CONNECT + name, text.encode("utf-8", "replace")[:_MESSAGE_BYTES]) for name, text in connect.items()]
    headers.append((REASON_HEADER, reject.reason.encode()))
    return Message(topic, source.partition % partitions, reject.key, reject.value, headers)


def size(message: Message) -> int:
    """Upper bound of the record's size in bytes, as the client counts it."""
    headers = sum(len(name.encode()) + len(value) + 10 for name, value in message.headers)
    return len(message.key or b"") + len(message.value) + headers + _OVERHEAD_BYTES


def cut(message: Message, topic: str, partition: int, most: int, reason: str) -> Message:
    """A record too large to be sent, as a dead letter: the start of its value, with its length and sha256.

    Headers that would not fit either are dropped, all but our own.
    """
    own = [(name, value) for name, value in message.headers if name.startswith((_CONNECT, "forecaster."))]
    if all(name != REASON_HEADER for name, _ in own):
        own.append((REASON_HEADER, reason.encode()))
    own += [
        ("forecaster.truncated", b"true"),
        ("forecaster.value.bytes", b"%d" % len(message.value)),
        ("forecaster.value.sha256", hashlib.sha256(message.value).hexdigest().encode()),
    ]
    key = None if message.key is None else message.key[:1024]
    kept = min(_CUT_BYTES, most // 2)
    return Message(topic, partition, key, message.value[:kept], own)


def adoption_message(adoption: Adoption, source: Source, topic: str, partitions: int) -> Message:
    """An adoption; its key is its own, so that compaction keeps every one."""
    value = {"partition": str(source), "position": adoption.position, "model": adoption.model_sha256}
    key = f"{source}@{adoption.position}".encode()
    return Message(topic, source.partition % partitions, key, json.dumps(value).encode(), [])


def read_adoptions(values: Sequence[bytes], source: Source) -> list[Adoption]:
    """The adoptions of one partition among the records of the topic, by rising position."""
    found: dict[int, Adoption] = {}
    for value in values:
        content: Mapping[str, object] = json.loads(value)
        if content["partition"] == str(source):
            position = int(str(content["position"]))
            found[position] = Adoption(position, str(content["model"]))
    return [found[position] for position in sorted(found)]
