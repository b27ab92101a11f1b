"""The Kafka part of the soak: two daemons of one group on a real broker; one runs throughout, one starts and ends.

Every time the second daemon is killed, stopped or started again, Kafka reassigns the partitions. The memory and the
descriptors of the first daemon, which takes over partitions each time, are measured.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from daemon import DaemonProcess
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition
from load import lines
from report import Life

sys.path.insert(0, str(Path(__file__).parents[1] / "broker"))
from kafka_broker import Cluster, make_archive
from kafka_jars import BrokerMissingError, installation

PARTITIONS: Final = 4
__all__ = ["PARTITIONS", "BrokerMissingError", "KafkaSoak", "soak_kafka"]
APP, QUIET, TOPIC = "soaked", "quiet", "soak.in"
ENDS: Final = (signal.SIGKILL, signal.SIGTERM)
_PULSE: Final = 0.05  # seconds between two writes
CONFIG: Final = """
[input]
late = "dead-letter"
max_ahead = 0
[kafka]
bootstrap = ["{bootstrap}"]
topics = ["{topic}"]
app = "{app}"
instance = "{name}"
client = "{client}"
stop_at_end = {stop}
session_timeout = 6
request_timeout = 3
delivery_timeout = 5
transaction_timeout = 8
[model]
hidden_size = 16
head_size = 16
horizon = 2
quantiles = [0.1, 0.5, 0.9]
seasons = [12]
interval = "1m"
[state]
max_series = 64
history_events = 5000
snapshot_every = "5s"
[retrain]
every_events = 0
[http]
port = 0
recent_series = 20
recent_events = 50
[log]
level = "info"
"""


@dataclass(slots=True)
class KafkaSoak:
    """Measurements of the soak on Kafka.

    Attributes:
        steady: the daemon that runs throughout.
        ends: signals that ended the second daemon.
        moves: number of times that the steady daemon's number of partitions changed between two samples.
        records: written records. compared: result of the comparison.
    """

    steady: Life = field(default_factory=Life)
    ends: list[str] = field(default_factory=list)
    moves: int = 0
    records: int = 0
    compared: dict[str, int] = field(default_factory=dict)


class Broker:
    """One node and the topics of both applications."""

    def __init__(self, folder: Path) -> None:
        jars = installation("4")
        make_archive(jars, folder / "archive")
        self._cluster = Cluster(jars, folder / "cluster")
        self.bootstrap = self._cluster.bootstrap

    def __enter__(self) -> Broker:
        """Makes the topics."""
        one = {"replication_factor": 1}
        names = [f"{app}.{name}" for app in (APP, QUIET) for name in ("forecasts", "rejects", "adoptions")]
        topics = {name: {"num_partitions": PARTITIONS, **one} for name in (TOPIC, *names)}
        topics |= {f"{app}.models": {"num_partitions": 1, **one} for app in (APP, QUIET)}
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.create_topics(topics)
            admin.wait_for_topics(list(topics))
        finally:
            admin.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Ends the node and removes its data."""
        self._cluster.close()

    def daemon(self, folder: Path, name: str, client: str, *, app: str = APP, stop: bool = False) -> DaemonProcess:
        """Starts a daemon in a folder of its name, which continues where the folder's last daemon ended."""
        place = folder / name
        place.mkdir(exist_ok=True)
        stop_at_end = str(stop).lower()
        (place / "config.toml").write_text(
            CONFIG.format(bootstrap=self.bootstrap, topic=TOPIC, app=app, name=name, client=client, stop=stop_at_end)
        )
        return DaemonProcess(place, "data", follow=False)

    def read(self, topic: str) -> Iterator[Any]:
        """Yields every record of a topic as a reader with read_committed sees it, partition by partition.

        Transaction markers may follow the end of a transaction with a delay: the method waits for them as long as a
        transaction may be open.
        """
        highest = self._ends(topic)
        deadline = time.monotonic() + 60.0
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        try:
            for number in range(PARTITIONS):
                source = TopicPartition(topic, number)
                consumer.assign([source])
                consumer.seek_to_beginning(source)
                while (end := consumer.end_offsets([source])[source]) < highest[number] and time.monotonic() < deadline:
                    time.sleep(0.1)
                while consumer.position(source) < end:
                    yield from consumer.poll(500).get(source, [])
        finally:
            consumer.close(autocommit=False)

    def _ends(self, topic: str) -> dict[int, int]:
        """Returns the end offsets of a topic's partitions, open transactions included."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        try:
            found = consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
            return {source.partition: int(end) for source, end in found.items()}
        finally:
            consumer.close(autocommit=False)


class TopicFeeder(threading.Thread):
    """Produces the load of the soak at `rate` steps per second, each series to one partition."""

    def __init__(self, bootstrap: str, rate: float) -> None:
        super().__init__()
        self._address, self._rate = bootstrap, rate
        self._ended = threading.Event()
        self.records = 0

    def run(self) -> None:
        """Produces until `end`."""
        producer = KafkaProducer(bootstrap_servers=self._address, linger_ms=20, acks="all")
        began, steps = time.monotonic(), 0
        try:
            while not self._ended.wait(_PULSE):
                due = int((time.monotonic() - began) * self._rate)
                for step in range(steps, due):
                    for line in lines(step):
                        producer.send(TOPIC, line.encode(), partition=step % PARTITIONS)
                        self.records += 1
                steps = max(steps, due)
            producer.flush(60)
        finally:
            producer.close(10)

    def end(self) -> None:
        """Stops producing and waits."""
        self._ended.set()
        self.join()


def identities(broker: Broker, app: str) -> tuple[dict[tuple[str, int], int], int]:
    """Returns forecasts by source partition and position, with a checksum of each, and the number of duplicates."""
    found: dict[tuple[str, int], int] = {}
    again = 0
    for record in broker.read(f"{app}.forecasts"):
        source = json.loads(record.value)["source"]
        key = source["partition"], source["position"]
        again += key in found
        found[key] = zlib.crc32(record.value)
    return found, again


def compare_topics(broker: Broker) -> dict[str, int]:
    """Counts lost, duplicated and different forecasts against an undisturbed daemon's; compares rejects likewise."""
    soaked, doubled = identities(broker, APP)
    quiet, _ = identities(broker, QUIET)
    for key in sorted((quiet.keys() - soaked.keys()) | (soaked.keys() - quiet.keys()))[:20]:
        sys.stderr.write(f"Kafka: {key} is in one of the outputs only\n")
    rejects = [
        sorted(
            (dict(record.headers)["__connect.errors.partition"], int(dict(record.headers)["__connect.errors.offset"]))
            for record in broker.read(f"{app}.rejects")
        )
        for app in (APP, QUIET)
    ]
    return {
        "forecasts": len(soaked),
        "lost": len(quiet.keys() - soaked.keys()),
        "doubled": doubled + len(soaked.keys() - quiet.keys()),
        "different": sum(soaked[key] != quiet[key] for key in soaked.keys() & quiet.keys())
        + (rejects[0] != rejects[1]),
        "rejects": len(rejects[0]),
    }


def look(daemon: DaemonProcess, life: Life, began: float) -> int:
    """Takes a sample of the daemon's metrics and resources; returns the number of its partitions."""
    assert daemon.alive(), "the daemon on Kafka ended by itself"
    if not (found := daemon.metrics()):
        return 0
    life.counted, now = found, time.monotonic()
    if found.get("forecaster_ready") and math.isnan(life.ready_after):
        life.ready_after = now - daemon.began
    if not math.isnan(life.ready_after):
        daemon.browse()
        life.samples.append((now - began, now - daemon.began, daemon.memory(), found.get("forecaster_lag", 0.0)))
        life.descriptors.append(daemon.descriptors())
    return daemon.partitions()


def soak_kafka(folder: Path, minutes: float, rate: float, turn: float, client: str = "confluent") -> KafkaSoak:
    """Runs the soak on Kafka.

    Args:
        folder: an empty folder.
        minutes: duration of the load. rate: steps of the load per second.
        turn: seconds for which the second daemon is ready, and then absent.
        client: client of all daemons; the two clients have no assignment protocol in common.
    """
    seen = KafkaSoak()
    began = time.monotonic()
    ends = began + minutes * 60
    with Broker(folder) as broker:
        feeder = TopicFeeder(broker.bootstrap, rate)
        feeder.start()
        steady = broker.daemon(folder, "steady", client)
        passing: DaemonProcess | None = None
        turns, before, ready = time.monotonic() + turn, 0, False
        try:
            while time.monotonic() < ends or len(seen.ends) < len(ENDS):
                held = look(steady, seen.steady, began)
                seen.moves += held != before
                before = held
                if passing is None and not seen.ends and held < PARTITIONS:  # it compiles: nothing to move yet
                    turns = time.monotonic() + turn
                assert passing is None or passing.alive(), "the second daemon on Kafka ended by itself"
                if passing is not None and not ready:
                    ready = bool(passing.metrics().get("forecaster_ready"))
                    turns = time.monotonic() + turn  # the share of the second daemon is still being restored
                elif time.monotonic() >= turns:
                    turns = time.monotonic() + turn
                    if passing is None:
                        passing, ready = broker.daemon(folder, "passing", client), False
                    else:
                        how = ENDS[len(seen.ends) % 2]
                        passing.end(how)
                        seen.ends.append(how.name)
                        passing = None
                time.sleep(0.5)
            feeder.end()
            if passing is not None:
                passing.end(signal.SIGTERM)
                passing = None
            # A static member that left keeps its partitions until its session ends. The steady daemon takes over the
            # rest of these partitions; if it ended at the end of its own partitions, the rest would stay unanswered.
            deadline = time.monotonic() + 120.0
            while (held := steady.partitions()) < PARTITIONS and time.monotonic() < deadline:
                time.sleep(0.2)
            seen.moves += held != before
            assert held == PARTITIONS
        finally:
            feeder.end()
            for one in (passing, steady):
                if one is not None:
                    one.end(signal.SIGTERM)
        seen.records = feeder.records
        for name, app in (("steady", APP), ("undisturbed", QUIET)):
            assert broker.daemon(folder, name, client, app=app, stop=True).end(None, 3600.0) == 0
        seen.compared = compare_topics(broker)
    return seen
