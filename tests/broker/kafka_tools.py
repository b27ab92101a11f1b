"""Shared tools of broker tests: producing input, reading whole topics, a shelf of models, transports in parts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from contract import unit_of
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.folder_lock import FolderLock
from service.kafka.fencing import FencedBefore
from service.kafka.watchdog import Watchdog
from service.ports import Records, Unit
from service.sinks import Sink
from service.sources.file_source import FileSource
from service.sources.local import LocalSource
from service.transport.kafka_pairs import kafka_to_kafka, kafka_to_local, local_to_kafka
from service.transport.pair import Pair


class Shelf:
    """A model shelf in memory."""

    groups = ("",)

    def __init__(self, models: dict[str, bytes] | None = None, champion: str | None = None) -> None:
        self.models, self._champion, self._seen = dict(models or {}), champion, ""

    def read(self, sha256: str) -> bytes | None:
        """Returns a model's bytes, or None."""
        return self.models.get(sha256)

    def add(self, sha256: str, data: bytes) -> None:
        """Stores a model."""
        self.models[sha256] = data

    def champion(self, group: str) -> str | None:
        """Returns the champion."""
        return self._champion

    def promote(self, sha256: str, group: str) -> None:
        """Sets the champion."""
        self._champion = sha256

    def seen(self, group: str) -> str:
        """Returns the last value given to `set_seen`."""
        return self._seen

    def set_seen(self, sha256: str, group: str) -> None:
        """Stores the value that `seen` returns."""
        self._seen = sha256


class PatientPair(Pair):
    """A pair that waits for records even if the contract polls without a timeout, because a network adds latency.

    A killed member may hold its partitions for a whole session, which is 6 s here.
    """

    patience = 30.0

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records; waits up to `patience` seconds whatever the timeout is."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline and not self.finished():
            records = super().poll(limit, 0.3)
            if records is not None:
                return records
        return None


def settings(bootstrap: str, app: str, **more: Any) -> KafkaConfig:
    """Returns settings with short timeouts, one input topic, and a stop at the end."""
    quick = {
        "bootstrap": (bootstrap,),
        "app": app,
        "topics": (f"{app}.in",),
        "instance": "one",
        "stop_at_end": True,
        "session_timeout": 6,
        "request_timeout": 3,
        "delivery_timeout": 5,
        "transaction_timeout": 8,
        "watchdog": 60,
    }
    return KafkaConfig.model_validate(quick | more)


def transport(
    config: KafkaConfig, folder: Path, shelf: Shelf | None = None, fenced: FencedBefore | None = None
) -> PatientPair:
    """Makes a transport from topics to topics, not started."""
    return patient(kafka_to_kafka(config, shelf or Shelf(), lock_of(folder), fenced, Watchdog(config.watchdog)))


def lock_of(folder: Path) -> FolderLock:
    """Returns the lock of a data folder."""
    return FolderLock(folder / "data.lock", folder, "give each its own state.data_dir")


def patient(pair: Pair) -> PatientPair:
    """Wraps source and sink of a pair in a PatientPair."""
    return PatientPair(pair.source, pair.sink, lock=pair._lock, shared=pair.shared)


def crash(one: Pair) -> None:
    """Simulates a killed process: nothing is flushed, no group is left, the lock is released."""
    guarded = one.shared.guarded
    guarded.broken = guarded.broken or "killed by the test"
    one.close()


def drain(
    make: Callable[[], Pair],
    before: Callable[[int], object] = lambda _: None,
    limit: int = 3,
    starts: int = 8,
    unit: Callable[[Records], Unit] = unit_of,
) -> int:
    """Does what the engine does, with a made-up forecast per record; restarts the transport after every failure.

    Args:
        make: makes a transport.
        before: called before every publish with the number of units published by this start.
        limit: records per poll.
        starts: number of starts after which a failure is raised.
        unit: makes what is published.

    Returns:
        The number of starts.
    """
    for start in range(1, starts + 1):
        one, published = make(), 0
        try:
            one.start()
            while not one.finished():
                if (records := one.poll(limit, 0.5)) is not None:
                    before(published)
                    one.publish(unit(records))
                    published += 1
        except TransportError:
            if start == starts:
                raise
        else:
            return start
        finally:
            one.close()
    return starts


def wait_until(happened: Callable[[], object], seconds: float = 120.0) -> None:
    """Waits until something has happened.

    Raises:
        AssertionError: it did not happen within this time.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Member:
    """A process in a thread, as the engine is one: publishes what it polls, and starts again after a failure.

    Args:
        make: creates a transport.
        limit: records per poll.

    Attributes:
        committed: the position of the last commit. owned: the partitions assigned at the last poll.
        said: when it started anew, and why; for the message of a failed test.
    """

    def __init__(self, make: Callable[[], PatientPair], limit: int = 10) -> None:
        self._make, self._limit = make, limit
        self._moved, self._ended = threading.Condition(), threading.Event()
        self.committed, self.owned, self.said = 0, list[str](), list[str]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            one = self._make()
            one.patience = 0.2
            self.say("start")
            try:
                one.start()
                self.say("started")
                while not self._ended.is_set():
                    records = one.poll(self._limit, 0.2)
                    self.owned = list(one.partitions())
                    if records is not None:
                        one.publish(unit_of(records))
                        with self._moved:
                            self.committed = records.next_position
                            self._moved.notify_all()
            except TransportError as error:
                self.say(str(error))
                self._ended.wait(0.1)
            finally:
                one.close()

    def say(self, text: str) -> None:
        """Notes an event with its time."""
        self.said.append(f"{time.monotonic():.1f} {text}")

    def commits_more(self, count: int, seconds: float) -> float | None:
        """Waits until this number of further events is committed; returns the seconds it took, or None."""
        began = time.monotonic()
        with self._moved:
            wanted = self.committed + count
            if self._moved.wait_for(lambda: self.committed >= wanted, seconds):
                return time.monotonic() - began
        return None

    def close(self) -> None:
        """Ends the loop, if it can be ended."""
        self._ended.set()
        self._thread.join(60)


def positions(bootstrap: str, app: str, partition: int | None = None) -> list[int]:
    """Returns the source positions of all committed forecasts (of one output partition), in the order of the topic."""
    records = read_topic(bootstrap, f"{app}.forecasts")
    return [
        json.loads(record.value)["source"]["position"] for record in records if partition in {None, record.partition}
    ]


def make_topics(admin: KafkaAdminClient, app: str, partitions: int = 2, replicas: int = 1) -> None:
    """Makes the four topics of an application."""
    each = {"num_partitions": partitions, "replication_factor": replicas}
    names = [f"{app}.{name}" for name in ("forecasts", "rejects", "adoptions")]
    admin.create_topics(dict.fromkeys(names, each) | {f"{app}.models": {**each, "num_partitions": 1}})
    admin.wait_for_topics([*names, f"{app}.models"])


def make_positions(admin: KafkaAdminClient, app: str) -> str:
    """Makes the topic of positions of an application that reads files; returns its name."""
    compacted = {"num_partitions": 1, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}}
    admin.create_topics({f"{app}.positions": compacted})
    admin.wait_for_topics([f"{app}.positions"])
    return f"{app}.positions"


def file_to_kafka(config: KafkaConfig, entry: Path, folder: Path, shelf: Shelf | None = None) -> PatientPair:
    """Makes a transport from a file or glob to topics, not started."""
    config = config.model_copy(update={"topics": ()})
    source = LocalSource([FileSource(str(entry))])
    return patient(local_to_kafka(config, source, shelf or Shelf(), lock_of(folder)))


def kafka_to_sink(config: KafkaConfig, sink: Sink, folder: Path) -> PatientPair:
    """Makes a transport from topics to a local sink, not started."""
    config = config.model_copy(update={"membership": "alone"})
    return patient(kafka_to_local(config, sink, lock_of(folder), watchdog=Watchdog(config.watchdog)))


def produce(
    bootstrap: str, topic: str, values: Iterable[bytes], *, partition: int | None = 0, **more: Any
) -> list[int]:
    """Writes records; returns their offsets."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    try:
        futures = [producer.send(topic, value, partition=partition, **more) for value in values]
        producer.flush(20)
        return [future.get(1).offset for future in futures]
    finally:
        producer.close(5)


def read_topic(bootstrap: str, topic: str, *, committed: bool = True) -> list[Any]:
    """Returns every record of a topic, partition by partition, as a reader with read_committed sees it.

    A commit is answered before its markers are in every partition, so the end offset that such a reader sees may lag
    briefly: the function waits for transactions that end within a minute (longer than the tests' own limits), and for
    a broker that the controller of a busy machine takes for dead for some seconds.
    """
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return _read_topic(bootstrap, topic, deadline, committed=committed)
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _read_topic(bootstrap: str, topic: str, deadline: float, *, committed: bool) -> list[Any]:
    level = "read_committed" if committed else "read_uncommitted"
    highest = _ends(bootstrap, topic) if committed else {}
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level=level, enable_auto_commit=False)
    try:
        found: list[Any] = []
        for number in sorted(consumer.partitions_for_topic(topic)):
            source = TopicPartition(topic, number)
            consumer.assign([source])
            consumer.seek_to_beginning(source)
            end = consumer.end_offsets([source])[source]
            while end < highest.get(number, 0) and time.monotonic() < deadline:
                time.sleep(0.05)
                end = consumer.end_offsets([source])[source]
            while consumer.position(source) < end:
                found += consumer.poll(500).get(source, [])
        return found
    finally:
        consumer.close(autocommit=False)


def _ends(bootstrap: str, topic: str) -> dict[int, int]:
    """Returns the end offset of each partition of a topic, open transactions included."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_uncommitted", enable_auto_commit=False)
    try:
        sources = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        return {source.partition: int(end) for source, end in consumer.end_offsets(sources).items()}
    finally:
        consumer.close(autocommit=False)


def values(records: Sequence[Any]) -> list[bytes]:
    """Returns the values alone."""
    return [record.value for record in records]
