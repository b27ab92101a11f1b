"""Restart of a single broker under load: the daemon's loop continues soon after the broker's return."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from contract import unit_of
from kafka import KafkaAdminClient
from kafka_broker import Cluster
from kafka_tools import make_topics, positions, produce, settings, transport

from service.errors import TransportError

GOES_ON_SECONDS = 10.0  # about 3 on an idle machine
EVENTS, BATCH = 60_000, 20
# The defaults, apart from a watchdog that would end the test run.
USUAL = {"request_timeout": 10, "delivery_timeout": 20, "transaction_timeout": 30, "session_timeout": 30}


@pytest.fixture(scope="module")
def own(jars, tmp_path_factory):
    """A broker for this module alone, because clients of the session's broker would not survive restarts."""
    cluster = Cluster(jars, tmp_path_factory.mktemp("restart") / "cluster")
    yield cluster
    cluster.close()


class Forecasting:
    """Runs the engine's loop in a thread without a pause between units; restarts the transport after a failure."""

    def __init__(self, make):
        self._make, self._moved = make, threading.Condition()
        self.stop, self.committed = threading.Event(), 0
        self.said: list[str] = []  # times and reasons of restarts, shown if the test fails
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self.stop.is_set():
            one = self._make()
            self._say("start")
            try:
                one.start()
                self._say("started")
                while not self.stop.is_set():
                    if (records := one.poll(BATCH, 0.2)) is not None:
                        one.publish(unit_of(records))
                        with self._moved:
                            self.committed = records.next_position
                            self._moved.notify_all()
            except TransportError as error:
                self._say(str(error))
                self.stop.wait(0.1)
            finally:
                one.close()

    def _say(self, text):
        self.said.append(f"{time.monotonic():.1f} {text}")

    def commits_more(self, count, seconds):
        """Waits until `count` more events are committed; returns the seconds that passed, or None on a timeout."""
        began = time.monotonic()
        with self._moved:
            wanted = self.committed + count
            if self._moved.wait_for(lambda: self.committed >= wanted, seconds):
                return time.monotonic() - began
        return None

    def close(self):
        """Ends the loop if possible."""
        self.stop.set()
        self._thread.join(60)


@pytest.mark.slow
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
@pytest.mark.parametrize(
    ("times", "away"), [(4, 0.0), pytest.param(1, 60.0, marks=pytest.mark.long)], ids=["seconds", "minute"]
)
def test_broker_restart(own, app, tmp_path, client, times, away):
    """A daemon with the default limits continues after broker restarts, without a loss."""
    (node,), bootstrap, topic = own.nodes, own.bootstrap, f"{app}.in"
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        make_topics(admin, app, 1)
    config = settings(bootstrap, app, client=client, stop_at_end=False, watchdog=3600, **USUAL)
    produce(bootstrap, topic, [b"a"] * EVENTS)

    def make():
        one = transport(config, tmp_path)
        one.patience = 0.2
        return one

    loop, took = Forecasting(make), []
    try:
        for _ in range(times):
            assert loop.commits_more(20 * BATCH, 60) is not None, "the loop does not run"
            node.terminate()
            time.sleep(away)  # the time that the broker is down; waits for nothing
            node.start()
            loop.said.append(f"{time.monotonic():.1f} the broker is back")
            took.append(loop.commits_more(BATCH, 3 * GOES_ON_SECONDS))
    finally:
        loop.close()
    said = "\n".join(loop.said)
    assert all(seconds is not None and seconds < GOES_ON_SECONDS for seconds in took), f"{took}\n{said}"
    assert positions(bootstrap, app) == list(range(loop.committed))
