"""All faults combined: daemons and brokers are killed at random, members join and leave, zombies wake up.

Three brokers with three replicas, four partitions, up to three daemons under a supervisor that restarts with delays;
events arrive continuously. An observer reads with read_committed. `make chaos` kills 1,000 times, half per client.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from chronicle import KILLS, SECONDS, aborted_reads, note, outcome
from daemons import Daemons, events
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import TopicPartition
from kafka_broker import Cluster, Node
from kafka_tools import make_topics
from observer import Observer

PARTITIONS = 4
SESSION_SECONDS = 3.0  # of the daemons of these tests
PER_SECOND = 6.0  # events per partition
PATIENCE_SECONDS = 3.0  # after which the next fault follows although nothing was committed since the last one
NAMES = ("one", "two", "three")
KILLED = -9


class Feeder:
    """Writes events into every partition until closed.

    Attributes:
        count: events per partition.
    """

    def __init__(self, bootstrap, topic):
        self.count, self._topic = 0, topic
        self._producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=5)
        self._futures, self._stop = [], threading.Event()
        self._source = self._events()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _events() -> Iterator[bytes]:
        yield from events(200_000)

    def _run(self):
        began = time.monotonic()
        while not self._stop.wait(0.1):
            while self.count < (time.monotonic() - began) * PER_SECOND:
                value = next(self._source)
                self._futures += [self._producer.send(self._topic, value, partition=p) for p in range(PARTITIONS)]
                self.count += 1

    def close(self):
        """Stops writing; asserts that every event was acknowledged."""
        self._stop.set()
        self._thread.join(30)
        self._producer.flush(120)
        assert all(future.succeeded() for future in self._futures)
        self._producer.close(5)


class Storm:
    """Random faults of daemons and brokers, reproducible by a seed.

    Attributes:
        kills: of daemons and brokers together.
        counts: faults by kind, for the report.
    """

    def __init__(self, cluster, crowd, observer, seed):
        self.kills = 0
        self.counts = dict.fromkeys(("daemon", "broker", "zombie", "rebalance", "ended"), 0)
        self._cluster, self._crowd, self._observer, self._rng = cluster, crowd, observer, random.Random(seed)
        self._running: dict[str, int] = {}
        self._asleep: dict[str, float] = {}  # monotonic time at which each suspended daemon resumes
        self._broker: threading.Thread | None = None

    def begin(self):
        """Starts all daemons and waits for their first output."""
        for name in NAMES:
            self._start(name, joins=True)
        self._observer.wait_for_more(240)

    def turn(self):
        """Injects one more fault."""
        self._wake()
        rng, running = self._rng, sorted(set(self._running) - set(self._asleep))
        away = sorted(set(NAMES) - set(self._running))
        what = rng.random()
        if away and (len(running) < 2 or what < 0.15):
            self._start(rng.choice(away), joins=True)
        elif what < 0.25 and running and not self._asleep:
            name = rng.choice(running)
            os.kill(self._running[name], signal.SIGSTOP)
            self._asleep[name] = time.monotonic() + 2 * SESSION_SECONDS
            self.counts["zombie"] += 1
        elif what < 0.33 and not self._broker_is_away():
            node = rng.choice(self._cluster.nodes)
            node.kill()
            self.kills += 1
            self.counts["broker"] += 1
            self._broker = threading.Thread(target=Node.start, args=(node,), daemon=True)
            self._broker.start()
        elif what < 0.45:
            for name in running:  # simulates a power loss of a machine
                self._kill(name)
        elif running:
            self._kill(rng.choice(running))
        self._observer.wait_for_more(PATIENCE_SECONDS)
        time.sleep(rng.uniform(0.0, 0.3))  # so that faults occur at any moment; waits for nothing

    def _kill(self, name):
        status = self._crowd.wait(name, 0.0)
        del self._running[name]
        if status == KILLED:
            self.kills += 1
            self.counts["daemon"] += 1
        else:  # it had ended itself, as a daemon that is fenced twice does; its supervisor restarts it
            self.counts["ended"] += 1
        if self._rng.random() < 0.7:
            self._start(name, joins=False)

    def _start(self, name, *, joins):
        self._running[name] = self._crowd.start(name)
        self.counts["rebalance"] += joins

    def _wake(self):
        for name, until in list(self._asleep.items()):
            if time.monotonic() > until:
                os.kill(self._running[name], signal.SIGCONT)
                del self._asleep[name]

    def _broker_is_away(self):
        return self._broker is not None and self._broker.is_alive()

    def close(self):
        """Starts all brokers again and ends all daemons."""
        if self._broker is not None:
            self._broker.join(120)
        self._cluster.start()
        for name in sorted(self._running):
            self._crowd.wait(name, 0.0)


@pytest.fixture(scope="module")
def three(jars, tmp_path_factory):
    """Three brokers for this module alone."""
    cluster = Cluster(jars, tmp_path_factory.mktemp("storm") / "cluster", 3)
    yield cluster
    cluster.close()


def finish(bootstrap, folder, app, topic, client, ends):
    """Runs daemons to their end, one after the other, until all is committed; larger batches keep this short."""
    with Daemons(folder, bootstrap, app, topic, {"input": {"max_poll_records": 1000}}, client=client) as daemons:
        for _ in range(10):
            assert daemons.finish() == 0, daemons.log()[-5000:]
            if committed(bootstrap, app) == ends:
                return
    assert committed(bootstrap, app) == ends


def committed(bootstrap, group):
    """Returns the committed offsets of a group."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        return {place: found.offset for place, found in admin.list_group_offsets(group)[group].items()}
    finally:
        admin.close()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_storm(three, app, tmp_path, client):
    """No answer is lost, duplicated, torn, from an aborted transaction or out of order; the bytes are unchanged."""
    bootstrap, topic, seed = three.bootstrap, f"{app}.in", random.randrange(1 << 30)
    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 3}})
    for name in (app, f"{app}quiet"):
        make_topics(admin, name, PARTITIONS, replicas=3)
    admin.close()
    wanted = KILLS // 2
    feeder = Feeder(bootstrap, topic)
    with Observer(bootstrap, app) as observer:
        with Daemons(tmp_path / "storm", bootstrap, app, topic, client=client, stop_at_end=False) as crowd:
            storm = Storm(three, crowd, observer, seed)
            try:
                storm.begin()
                ends_at = time.monotonic() + SECONDS
                while storm.kills < wanted and time.monotonic() < ends_at:
                    storm.turn()
            finally:
                storm.close()
        feeder.close()
        fault = time.monotonic()
        ends = {TopicPartition(topic, partition): feeder.count for partition in range(PARTITIONS)}
        finish(bootstrap, tmp_path / "storm", app, topic, client, ends)
        took = time.monotonic() - fault
    finish(bootstrap, tmp_path / "quiet", f"{app}quiet", topic, client, ends)
    done = storm.counts
    assert observer.checks
    note(
        f"{storm.kills} random SIGKILLs, {done['daemon']} of daemons and {done['broker']} of one of three brokers; "
        f"{done['zombie']} zombies, {done['rebalance']} joins ({client}, seed {seed})",
        outcome(bootstrap, app),
        outcome(bootstrap, f"{app}quiet"),
        time.monotonic() - took,
        observer.torn,
        aborted_reads(bootstrap, app, observer),
    )
