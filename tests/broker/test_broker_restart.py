"""A broker that is started again: the next forecast is committed soon after, whatever the client was waiting for."""

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

SECONDS = 30.0  # some 3 on a machine with nothing else to do; a watchdog that fires takes 120


@pytest.fixture(scope="module")
def own(jars, tmp_path_factory):
    """A broker of this module's own, as clients of the session's would not outlive its restarts."""
    cluster = Cluster(jars, tmp_path_factory.mktemp("restart") / "cluster")
    yield cluster
    cluster.close()


def forecast(make, name, count, seconds):
    """Does what the engine does until so much is committed, or for so long: after a failure it starts again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        one = make()
        try:
            one.start()
            while time.monotonic() < deadline:
                if (one.committed(name) or 0) >= count:
                    return
                if (records := one.poll(5, 0.2)) is not None:
                    one.publish(unit_of(records))
        except TransportError:
            time.sleep(0.1)
        finally:
            one.close()


@pytest.mark.slow
@pytest.mark.parametrize("client", ["kafka-python"])  # confluent: its watchdog would end this process
def test_broker_restart(own, app, tmp_path, client):
    """With the default limits, and without a loss."""
    (node,), bootstrap, topic = own.nodes, own.bootstrap, f"{app}.in"
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        make_topics(admin, app, 1)
    usual = {"request_timeout": 10, "delivery_timeout": 20, "transaction_timeout": 30, "session_timeout": 30}
    config = settings(bootstrap, app, client=client, stop_at_end=False, **usual)
    produce(bootstrap, topic, [b"a"] * 10)
    back = []

    def make():
        one = transport(config, tmp_path)
        one.patience = 0.2
        return one

    def restart():
        time.sleep(3)
        node.terminate()
        node.start()
        produce(bootstrap, topic, [b"b"] * 10)
        back.append(time.monotonic())

    thread = threading.Thread(target=restart)
    thread.start()
    forecast(make, f"{topic}-0", 20, 200)
    ended = time.monotonic()
    thread.join()
    assert ended - back[0] < SECONDS
    assert positions(bootstrap, app) == list(range(20))
