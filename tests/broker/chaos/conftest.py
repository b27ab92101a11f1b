"""Daemons that share one input, and the outcome of an undisturbed run.

The short form is the default; `make chaos` runs the long form and prints a table.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from chronicle import EVENTS, LONG, ROWS, Outcome, outcome, table
from daemons import Daemons, events
from kafka import KafkaAdminClient
from kafka_tools import make_topics, produce


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of this folder as slow; `make chaos` runs them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")
            item.add_marker("chaos")
            item.add_marker(pytest.mark.timeout(7200 if LONG else 900))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table in the long form."""
    if LONG and ROWS:
        terminalreporter.section("chaos")
        for line in table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def quiet(bootstrap: str, admin: KafkaAdminClient, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Outcome]:
    """Returns the input topic and the outcome of an undisturbed run."""
    app = f"quiet{random.randrange(1 << 40):x}"
    admin.create_topics({f"{app}.in": {"num_partitions": 2, "replication_factor": 1}})
    make_topics(admin, app)
    for partition in (0, 1):
        produce(bootstrap, f"{app}.in", events(EVENTS), partition=partition)
    with Daemons(tmp_path_factory.mktemp("quiet"), bootstrap, app, f"{app}.in") as daemons:
        assert daemons.run() == 0, daemons.log()
    found = outcome(bootstrap, app)
    assert sum(map(len, found[0].values())) > 2.7 * EVENTS / 2 * 1.3
    return f"{app}.in", found


@pytest.fixture
def crowd(
    request: pytest.FixtureRequest,
    bootstrap: str,
    admin: KafkaAdminClient,
    app: str,
    quiet: tuple[str, Outcome],
    tmp_path: Path,
) -> Iterator[Daemons]:
    """Daemons on the shared input with topics of their own."""
    make_topics(admin, app)
    client = getattr(request, "param", "kafka-python")
    with Daemons(tmp_path, bootstrap, app, quiet[0], client=client) as daemons:
        yield daemons
