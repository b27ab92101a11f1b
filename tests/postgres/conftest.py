"""One real PostgreSQL server for the tests of a process, started on first use; every test has a schema of its own."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _folder in ("service", "service/sinks", "e2e"):  # the contract of all transports, outputs, launchers of daemons
    sys.path.insert(0, str(Path(__file__).parents[1] / _folder))

from postgres_outputs import SINKS
from postgres_server import Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server."""
    found = Server()
    found.start()
    yield found
    found.close()


@pytest.fixture
def schema() -> str:
    """A name that no other test uses."""
    return f"test_{next(_numbers)}"


@pytest.fixture(autouse=True)
def _closed_sinks() -> Iterator[None]:
    """Closes the sinks of a test, also where it failed."""
    yield
    while SINKS:
        SINKS.pop().close()
