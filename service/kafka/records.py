"""Converts units to Kafka records for any client: forecasts by series, rejects, adoptions. Pure functions.

A reject keeps its value, key and headers and gets the headers of Kafka Connect's dead-letter queues, which tools
recognise, and `forecaster.reason`, a code of `service.messages.decode.REASONS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kafka.partitioner.default import murmur2

from service.ports import Adoption, Encoded, Reject, TimeMark

Headers = list[tuple[str, bytes]]

_CONNECT: Final = "__connect.errors."
REASON_HEADER: Final = "forecaster.reason"
RUN_HEADER: Final = "forecaster.run"
ORIGIN_HEADER: Final = "forecaster.partition"
_MESSAGE_BYTES = 1024  # of a reject's explanation
_CUT_BYTES = 64 << 10  # kept bytes of a value too large to be sent
_CUT_KEY_BYTES = 1024  # kept bytes of its key
# Framing of a record and of its batch; an upper bound, because the client refuses larger records.
_OVERHEAD_BYTES = 512
_HEADER_BYTES = 10  # of each header


class Message(NamedTuple):
    """A record to send."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None  # None: a tombstone
    headers: Headers


class Origin(NamedTuple):
    """A partition of the source for outgoing records; as text it is the partition's name in `service.ports`.

    Attributes:
        topic, partition: of a Kafka partition; of any other source the partition's name, and 0.
        kafka: whether it is a partition of a topic.
    """

    topic: str
    partition: int
    kafka: bool = True

    def __str__(self) -> str:
        """Returns `topic-partition`, the format of Kafka's tools; for any other source its name."""
        return f"{self.topic}-{self.partition}" if self.kafka else self.topic


class Partitioner:
    """Partitions by key like Java's default partitioner, as other programs do; caches keys and hashes."""

    def __init__(self, most: int = 200_000) -> None:
        self._known: dict[str, tuple[bytes, int]] = {}
        self._most = most

    def key(self, series: str) -> tuple[bytes, int]:
        """Returns the key of a series and its hash, whose remainder by the number of partitions is the partition."""
        found = self._known.get(series)
        if found is None:
            if len(self._known) >= self._most:
                self._known.clear()
            key = series.encode()
            found = self._known[series] = key, murmur2(key) & 0x7FFFFFFF
        return found

    def hash(self, series: str) -> int:
        """Returns the hash of the key of a series."""
        return self.key(series)[1]


def headers_limit(most: int) -> int:
    """Returns the maximal bytes of headers in a forecast or a cut record, for records of at most `most` bytes."""
    return min(16 << 10, most // 8)


def within(headers: Headers, limit: int) -> Headers:
    """Returns the first headers with at most `limit` bytes together; those after one that does not fit are dropped."""
    for count, (name, value) in enumerate(headers):
        limit -= _header_bytes(name, value)
        if limit < 0:
            return headers[:count]
    return headers


def forecast_messages(
    forecasts: Encoded,
    topic: str,
    partitions: int,
    partitioner: Partitioner,
    together: int = 1,
    headers: Sequence[Headers] = (),
    most: int = 1 << 30,
) -> list[Message]:
    """Converts forecasts to records, each with its series as the key.

    Args:
        forecasts: with their series.
        topic: the destination.
        partitions: number of partitions of the topic.
        partitioner: selects the partition.
        together: if greater than 1, forecasts of a series are joined to JSON arrays of at most this length; the order
            within a series is kept.
        headers: of every forecast, or empty.
        most: maximal bytes of a joined record; fewer forecasts are joined where it would be larger.
    """
    if together == 1:
        extra = headers or [[]] * len(forecasts.forecasts)
        return [
            Message(topic, number % partitions, key, value, more)
            for (key, number), value, more in zip(
                map(partitioner.key, forecasts.series), forecasts.forecasts, extra, strict=True
            )
        ]
    by_series: dict[str, list[bytes]] = {}
    for series, value in zip(forecasts.series, forecasts.forecasts, strict=True):
        by_series.setdefault(series, []).append(value)
    messages = []
    for series, values in by_series.items():
        key, number = partitioner.key(series)
        groups = _groups(values, together, most - len(key) - _OVERHEAD_BYTES)
        messages += [Message(topic, number % partitions, key, b"[" + b",".join(group) + b"]", []) for group in groups]
    return messages


def _groups(values: Sequence[bytes], together: int, most: int) -> Iterator[list[bytes]]:
    """Yields the values in groups of at most `together` values and `most` bytes; a larger value is a group alone."""
    group: list[bytes] = []
    size = 0
    for value in values:
        if group and (len(group) == together or size + len(value) + 2 > most):
            yield group
            group, size = [], 0
        group.append(value)
        size += len(value) + 1
    if group:
        yield group


def reject_message(reject: Reject, source: Origin, app: str, topic: str, partitions: int, run: int = 1) -> Message:
    """Converts a reject to a record with its origin and reason; the same partition number if the topic has as many."""
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
    headers = [(name, value or b"") for name, value in reject.headers]  # brokers return None, clients refuse it
    headers += [(_CONNECT + name, text.encode("utf-8", "replace")[:_MESSAGE_BYTES]) for name, text in connect.items()]
    headers.append((REASON_HEADER, reject.reason.encode()))
    if not source.kafka:
        headers.append((ORIGIN_HEADER, str(source).encode()))
    if run > 1:
        headers.append((RUN_HEADER, b"%d" % run))
    return Message(topic, source.partition % partitions, reject.key, reject.value, headers)


def reject_source(headers: Sequence[tuple[str, bytes]]) -> tuple[str, int, int] | None:
    """Returns partition, offset and run of the event of a rejected record; None where it has other headers."""
    found = dict(headers)
    topic, partition, offset = (found.get(_CONNECT + name, b"") for name in ("topic", "partition", "offset"))
    try:
        source = Origin(topic.decode(), int(partition))
        return str(source), int(offset), int(found.get(RUN_HEADER, b"1"))
    except ValueError:
        return None


def _header_bytes(name: str, value: bytes) -> int:
    return len(name.encode()) + len(value) + _HEADER_BYTES


def size(message: Message) -> int:
    """Returns an upper bound of the record's bytes, as the client counts them: key, value, headers and framing."""
    headers = sum(_header_bytes(name, value) for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers + _OVERHEAD_BYTES


def cut(message: Message, topic: str, partition: int, most: int, reason: str, own: int = 0) -> Message:
    """Cuts a record that is too large to be sent to a dead letter whose headers describe what was removed.

    It is never larger than `most`, whatever the record contains.

    Args:
        message: the record.
        topic: of dead letters.
        partition: of that topic.
        most: maximal bytes of the result; at least 10,000.
        reason: added unless the record has one.
        own: number of its last headers that the daemon added; the others are the event's.
    """
    split = len(message.headers) - own
    theirs, ours = message.headers[:split], message.headers[split:]
    kept, notes = within(theirs, headers_limit(most)), [("forecaster.truncated", b"true")]
    if not own:
        notes.insert(0, (REASON_HEADER, reason.encode()))
    key = message.key
    if key is not None and len(key) > _CUT_KEY_BYTES:
        notes += _original("key", key)
        key = key[:_CUT_KEY_BYTES]
    if len(kept) < len(theirs):
        left_out = theirs[len(kept) :]
        notes.append(("forecaster.headers.left_out", b"%d" % len(left_out)))
        notes.append(("forecaster.headers.left_out_bytes", b"%d" % sum(len(value) for _, value in left_out)))
    value = message.value or b""
    headers = [*kept, *ours, *notes, *_original("value", value)]
    room = most - size(Message(topic, partition, key, b"", headers))
    return Message(topic, partition, key, value[: max(0, min(_CUT_BYTES, room))], headers)


def _original(part: str, data: bytes) -> Headers:
    """Returns headers with length and checksum of the original part."""
    digest = hashlib.sha256(data).hexdigest().encode()
    return [(f"forecaster.{part}.bytes", b"%d" % len(data)), (f"forecaster.{part}.sha256", digest)]


def adoption_message(adoption: Adoption, source: Origin, topic: str, partitions: int, run: int = 1) -> Message:
    """Converts an adoption to a record; its key is unique, so that compaction keeps all adoptions."""
    facts: dict[str, object] = {"position": adoption.position, "model": adoption.model_sha256}
    key = f"{source}@{adoption.position}"
    if adoption.group:
        facts["group"], key = adoption.group, f"{key}+{adoption.group}"
    return _past_message(facts, key, source, topic, partitions, run)


def mark_message(mark: TimeMark, source: Origin, topic: str, partitions: int, run: int = 1) -> Message:
    """Converts a time mark to a record, for the topic of adoptions; its key is unique."""
    facts = {"position": mark.position, "mark": mark.time_ms}
    return _past_message(facts, _mark_key(mark, source), source, topic, partitions, run)


def deletion_messages(
    marks: Sequence[TimeMark], source: Origin, topic: str, partitions: int, run: int = 1
) -> list[Message]:
    """Returns the records that delete the oldest time marks of a partition, and the one that says so."""
    if not marks:
        return []
    facts = {"marks_deleted_before": max(mark.position for mark in marks) + 1}
    deletion = _past_message(facts, f"{source}@marks", source, topic, partitions, run)
    keys = [_key_of_run(_mark_key(mark, source), run).encode() for mark in marks]
    return [deletion, *(Message(topic, deletion.partition, key, None, []) for key in keys)]


def _mark_key(mark: TimeMark, source: Origin) -> str:
    return f"{source}@{mark.position}:{mark.time_ms}"


def _key_of_run(key: str, run: int) -> str:
    return key if run == 1 else f"{key}/{run}"


def _past_message(
    facts: Mapping[str, object], key: str, source: Origin, topic: str, partitions: int, run: int
) -> Message:
    """Returns a record of the topic of adoptions, which `PastRecords` reads; the first run is not named."""
    value = {"partition": str(source), **facts} | ({"run": run} if run > 1 else {})
    key = _key_of_run(key, run)
    return Message(topic, source.partition % partitions, key.encode(), json.dumps(value).encode(), [])


def run_message(run: int, source: Origin, position: int, topic: str, partitions: int) -> Message:
    """Returns the record of the begin of a run, for the topic of adoptions; its key is unique."""
    value = {"partition": str(source), "run": run, "begins": position}
    return Message(topic, source.partition % partitions, f"{source}/{run}".encode(), json.dumps(value).encode(), [])


@dataclass(slots=True)
class Past:
    """The contents of the topic of adoptions for a partition.

    Attributes:
        runs: start position of each run.
        adopted: of each run, the adoptions by position and group.
        marked: of each run, the time marks.
        deleted: of each run whose oldest time marks were deleted, the position behind the last of these.
    """

    runs: dict[int, int] = field(default_factory=dict)
    adopted: dict[int, dict[tuple[int, str], Adoption]] = field(default_factory=dict)
    marked: dict[int, set[TimeMark]] = field(default_factory=dict)
    deleted: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether any event was ever forecast or rejected."""
        return bool(self.runs or self.adopted)

    @property
    def newest_run(self) -> int:
        """Number of the newest run; 1 without any."""
        return max([1, *self.runs, *self.adopted])

    @property
    def reach(self) -> int:
        """The greatest offset that the newest run is known to have processed, -1 for none."""
        run = self.newest_run
        return max(self.runs.get(run, -1), *(position for position, _ in self.adopted.get(run, {})), -1)

    def adoptions(self, run: int) -> list[Adoption]:
        """Returns the adoptions of a run, by rising position."""
        return [adoption for _, adoption in sorted(self.adopted.get(run, {}).items())]

    def marks(self, run: int) -> list[TimeMark]:
        """Returns the time marks of a run, in order."""
        return sorted(self.marked.get(run, ()))


class PastRecords:
    """The records of a partition of the topic of adoptions, of which the last one of a key applies.

    Attributes:
        topic_id: identity of the topic, "" where it is not known; a topic that is created again has another one.
        end: the offset up to which they were read.
    """

    def __init__(self, topic_id: str = "") -> None:
        self.topic_id, self.end = topic_id, -1
        self._contents: dict[bytes, Mapping[str, object]] = {}

    def add(self, key: bytes, value: bytes | None) -> None:
        """Adds the next record; without a value it removes the one with its key."""
        if value is None:
            self._contents.pop(key, None)
        else:
            self._contents[key] = json.loads(value)

    def __len__(self) -> int:
        """The number of keys."""
        return len(self._contents)

    def of(self, source: Origin) -> Past:
        """Returns those of one partition of the source."""
        return _past_of(self._contents.values(), source)


def _past_of(contents: Iterable[Mapping[str, object]], source: Origin) -> Past:
    past = Past()
    for content in contents:
        if content["partition"] != str(source):
            continue
        run = int(str(content.get("run", 1)))
        if "begins" in content:
            past.runs[run] = int(str(content["begins"]))
        elif "marks_deleted_before" in content:
            past.deleted[run] = int(str(content["marks_deleted_before"]))
        elif "mark" in content:
            mark = TimeMark(int(str(content["position"])), int(str(content["mark"])))
            past.marked.setdefault(run, set()).add(mark)
        else:
            position, group = int(str(content["position"])), str(content.get("group", ""))
            adoption = Adoption(position, str(content["model"]), group)
            past.adopted.setdefault(run, {})[position, group] = adoption
    return past
