"""One real broker for the whole test run, started on first use.

KAFKA_BOOTSTRAP=host:port uses another broker instead (tests that kill brokers or need TLS are then skipped).
KAFKA_SERIES=3.9 selects the older series of versions.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))  # the contract of all transports
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # the launchers of daemons
sys.path.insert(0, str(Path(__file__).parents[1] / "postgres"))  # the server of that output

from kafka import KafkaAdminClient
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError
from kafka_broker import Cluster, make_archive
from kafka_jars import BrokerMissingError, Jars, installation
from kafka_proxy import Proxy
from kafka_tools import wait_until
from schema_registry import RegistryProcess, program


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything below this folder as needing a broker, unless a test is marked otherwise."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("no_broker"):
            item.add_marker("broker")
            # The library leaves sockets of failed connections to the garbage collector; the tests cannot close them.
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(autouse=True)
def sockets_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collects the sockets of failed handshakes, which the library leaves open, within the test that created them.

    The errors in captured log records reference these sockets; pytest would report them in a later test.
    """
    yield
    for phase in ("setup", "call"):
        caplog.get_records(phase).clear()
    gc.collect()


@pytest.fixture(scope="session")
def jars(tmp_path_factory: pytest.TempPathFactory) -> Jars:
    """The installation; without Java or Maven the tests are skipped, except under CI, where they fail."""
    try:
        found = installation(os.environ.get("KAFKA_SERIES", "4"))
        make_archive(found, tmp_path_factory.mktemp("archive") / "node")
    except BrokerMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="session")
def cluster(jars: Jars, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A single node for the whole run; tests must restore its state."""
    cluster = Cluster(jars, tmp_path_factory.mktemp("kafka") / "cluster")
    try:
        _make_offsets_topic(cluster.bootstrap)
        yield cluster
    finally:
        cluster.close()


def _make_offsets_topic(bootstrap: str) -> None:
    """Asks for offsets until there are any: at the first such request brokers make their topic, which takes seconds."""
    client = KafkaAdminClient(bootstrap_servers=bootstrap)

    def is_there() -> bool:
        with contextlib.suppress(CoordinatorNotAvailableError, NotCoordinatorError, CoordinatorLoadInProgressError):
            client.list_group_offsets("none")
            return True
        return False

    wait_until(is_there)
    client.close()


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Address of the broker of this run."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    return given or str(request.getfixturevalue("cluster").bootstrap)


@pytest.fixture(scope="session")
def admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    """An admin client."""
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


@pytest.fixture(scope="session")
def registry(jars: Jars, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """One schema registry for the whole run; tests must leave it running."""
    program()  # skipped with the broker where Java is missing; a failed download is an error
    registry = RegistryProcess(tmp_path_factory.mktemp("registry") / "one")
    yield registry
    registry.close()


@pytest.fixture
def app() -> str:
    """A name that is unique to this test."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def topics_of(admin: KafkaAdminClient) -> Callable[..., str]:
    """Makes the topics of an application, with the given number of input partitions; returns the name of the input."""

    def make(app: str, partitions: int = 1, rejects: int = 1) -> str:
        one = {"replication_factor": 1}
        admin.create_topics(
            {
                f"{app}.in": {"num_partitions": partitions, **one},
                f"{app}.forecasts": {"num_partitions": partitions, **one},
                f"{app}.rejects": {"num_partitions": rejects, **one},
                f"{app}.adoptions": {"num_partitions": partitions, **one},
                f"{app}.models": {"num_partitions": 1, **one},
            }
        )
        admin.wait_for_topics([f"{app}.{name}" for name in ("in", "forecasts", "rejects", "adoptions", "models")])
        return f"{app}.in"

    return make


@pytest.fixture
def topics(topics_of: Callable[..., str], app: str) -> Callable[..., str]:
    """Makes the topics of this test's application."""
    return functools.partial(topics_of, app)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """A proxy in front of the single node; clients that bootstrap from `proxied` stay behind it."""
    ports = cluster.nodes[0].ports
    proxy = Proxy(ports["PROXY"], ports["PROXIED"])
    yield proxy
    proxy.close()


@pytest.fixture
def proxied(cluster: Cluster, proxy: Proxy) -> str:
    """Address of the proxy."""
    return f"127.0.0.1:{cluster.nodes[0].ports['PROXY']}"
