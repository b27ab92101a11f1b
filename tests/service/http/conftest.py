"""Servers with TLS and passwords."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from secured_server import Served

from service.http import HttpServer, ReloadableTls


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A server that is not started."""
    return Served(tmp_path)


@pytest.fixture
def start(served: Served) -> Iterator[Callable[[Path | None], tuple[HttpServer, ReloadableTls]]]:
    """Starts servers that are closed at the end of the test."""
    running: list[HttpServer] = []

    def starting(path: Path | None) -> tuple[HttpServer, ReloadableTls]:
        server, web = served.serve(path)
        running.append(server)
        return server, web

    yield starting
    for server in running:
        server.close()
