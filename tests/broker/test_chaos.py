"""Whatever happens to daemons and brokers: every input is answered exactly once, with the bytes of a quiet run.

Short form by default. CHAOS_ROUNDS=200 makes the long one.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from daemons import Daemons, answers, events, rejected
from kafka import KafkaAdminClient
from kafka_broker import Cluster
from kafka_tools import produce

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "6"))
LONG = ROUNDS > 6
EVENTS = 1500  # per partition: some forty batches, a few seconds of work
KILLED = -9


def make_topics(admin: KafkaAdminClient, app: str, partitions: int = 2, replicas: int = 1) -> None:
    """The four topics of an application."""
    each = {"num_partitions": partitions, "replication_factor": replicas}
    names = [f"{app}.{name}" for name in ("forecasts", "rejects", "adoptions")]
    admin.create_topics(dict.fromkeys(names, each) | {f"{app}.models": {**each, "num_partitions": 1}})
    admin.wait_for_topics([*names, f"{app}.models"])


@pytest.fixture(scope="module")
def quiet(bootstrap, admin, tmp_path_factory):
    """The input topic, and what a run leaves that nobody disturbs."""
    app = f"quiet{random.randrange(1 << 40):x}"
    admin.create_topics({f"{app}.in": {"num_partitions": 2, "replication_factor": 1}})
    make_topics(admin, app)
    for partition in (0, 1):
        produce(bootstrap, f"{app}.in", events(EVENTS), partition=partition)
    with Daemons(tmp_path_factory.mktemp("quiet"), bootstrap, app, f"{app}.in") as daemons:
        assert daemons.run() == 0, daemons.log()
    found = answers(bootstrap, app), rejected(bootstrap, app)
    assert sum(map(len, found[0].values())) > 2.7 * EVENTS / 2 * 1.3
    return f"{app}.in", found


@pytest.fixture
def crowd(request, bootstrap, admin, app, quiet, tmp_path):
    """Daemons on the same input with topics of their own."""
    make_topics(admin, app)
    client = getattr(request, "param", "kafka-python")
    with Daemons(tmp_path, bootstrap, app, quiet[0], client=client) as daemons:
        yield daemons


BOTH = pytest.mark.parametrize("crowd", ["kafka-python", "confluent"], indirect=True)


def assert_as_quiet(bootstrap, app, quiet):
    """Nothing is missing, nothing is there twice, not a byte differs."""
    got, expected = answers(bootstrap, app), quiet[1][0]
    assert {key: len(found) for key, found in got.items()} == {key: len(found) for key, found in expected.items()}
    assert got == expected
    assert rejected(bootstrap, app) == quiet[1][1]


@BOTH
def test_killed_at_every_step(crowd, bootstrap, app, quiet):
    """Killed behind every numbered step, at an early and at a later passage of it."""
    for step in (1, 2, 3, 4, 5):
        assert crowd.run(kill_at=f"step:{step}:{3 * step - 2}") == KILLED
    assert crowd.run() == 0, crowd.log()
    assert_as_quiet(bootstrap, app, quiet)


def test_killed_at_random_moments(crowd, bootstrap, app, quiet):
    """Killed again and again, wherever it happens to be."""
    rng, kills = random.Random(20261123), 0
    for _ in range(ROUNDS):
        if crowd.run(seconds=rng.uniform(0.3, 2.5)) == KILLED:
            kills += 1
    assert crowd.run() == 0, crowd.log()
    assert kills
    assert_as_quiet(bootstrap, app, quiet)


def test_zombie(crowd, bootstrap, app, quiet):
    """Asleep beyond its session, while another takes over; awake again it cannot write, and starts anew."""
    pid = crowd.start("one")
    time.sleep(1.8)
    os.kill(pid, signal.SIGSTOP)
    crowd.start("two")
    time.sleep(6)
    os.kill(pid, signal.SIGCONT)
    assert crowd.supervise("two") == 0, crowd.log("two")
    assert crowd.supervise("one") == 0, crowd.log("one")
    assert crowd.run("two") == 0, crowd.log("two")
    assert_as_quiet(bootstrap, app, quiet)


def test_rebalance_storm(crowd, bootstrap, app, quiet):
    """Three daemons come and are killed every other second, then one does the rest."""
    rng = random.Random(20261124)
    names = ["one", "two", "three"]
    running: set[str] = set()
    for _ in range(max(5, ROUNDS)):
        name = rng.choice(names)
        if name in running:
            crowd.wait(name, 0.0)
            running.discard(name)
        else:
            crowd.start(name)
            running.add(name)
        time.sleep(rng.uniform(0.3, 1.5))
    for name in sorted(running):
        assert crowd.supervise(name) == 0, crowd.log(name)
    assert crowd.run("one") == 0, crowd.log("one")
    assert_as_quiet(bootstrap, app, quiet)


@pytest.fixture(scope="module", params=[1, 3] if LONG else [1])
def fragile(request, jars, tmp_path_factory):
    """A cluster that a test may break, with its admin client."""
    cluster = Cluster(jars, tmp_path_factory.mktemp("fragile") / "cluster", request.param)
    admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap.split(","))
    yield cluster, admin
    admin.close()
    cluster.close()


@pytest.mark.parametrize("how", ["kill", "freeze"] if LONG else ["kill"])
def test_broker_fails(fragile, app, tmp_path, how):
    """Brokers are killed, or frozen for a while, one after the other under a running daemon."""
    cluster, admin = fragile
    nodes = len(cluster.nodes)
    admin.create_topics({f"{app}.in": {"num_partitions": 2, "replication_factor": nodes}})
    for partition in (0, 1):
        produce(cluster.bootstrap.split(","), f"{app}.in", events(EVENTS), partition=partition)
    results = []
    for disturbed in (False, True):
        name = f"{app}{disturbed}"
        make_topics(admin, name, replicas=nodes)
        with Daemons(tmp_path / name, cluster.bootstrap, name, f"{app}.in") as daemons:
            daemons.start()
            if disturbed:
                time.sleep(1.5)
                for node in cluster.nodes:
                    getattr(node, how)()
                    time.sleep(4 if how == "freeze" else 0.5)
                    if how == "kill":
                        node.start()
                    else:
                        node.thaw()
                    time.sleep(1)
            assert daemons.supervise() == 0, daemons.log()
        results.append((answers(cluster.bootstrap.split(","), name), rejected(cluster.bootstrap.split(","), name)))
    assert results[0] == results[1]
