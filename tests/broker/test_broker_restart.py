"""Restart of a single broker under load: the daemon's loop continues soon after the broker's return."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from kafka import KafkaAdminClient
from kafka_broker import Cluster
from kafka_tools import Member, make_topics, positions, produce, settings, transport

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

    loop, took = Member(lambda: transport(config, tmp_path), BATCH), []
    try:
        for _ in range(times):
            assert loop.commits_more(20 * BATCH, 60) is not None, "the loop does not run"
            node.terminate()
            time.sleep(away)  # the time that the broker is down; waits for nothing
            node.start()
            loop.say("the broker is back")
            took.append(loop.commits_more(BATCH, 3 * GOES_ON_SECONDS))
    finally:
        loop.close()
    said = "\n".join(loop.said)
    assert all(seconds is not None and seconds < GOES_ON_SECONDS for seconds in took), f"{took}\n{said}"
    assert positions(bootstrap, app) == list(range(loop.committed))
