"""Answers of a server that are errors: which are final, which ask for a shorter time, and which are asked again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from service.config.bootstrap import BootstrapConfig
from service.errors import ConfigurationError, UnreachableError
from service.sources.prometheus_client import PrometheusClient, TooManySamplesError
from service.sources.prometheus_pages import PrometheusPages

EMPTY = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'


@contextmanager
def serving(statuses: list[int]) -> Iterator[BootstrapConfig]:
    """Yields the settings of a server that answers with these statuses first, and then with no samples."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = statuses.pop(0) if statuses else 200
            body = EMPTY if status == 200 else b"no"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield BootstrapConfig.model_validate({"url": url, "query": "up", "range": "1h"})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, ConfigurationError), (401, ConfigurationError), (403, ConfigurationError), (404, ConfigurationError),
        (422, TooManySamplesError), (408, UnreachableError), (425, UnreachableError), (429, UnreachableError),
        (500, UnreachableError), (502, UnreachableError), (503, UnreachableError), (504, UnreachableError),
    ],
)  # fmt: skip
def test_statuses(status: int, expected: type[Exception]) -> None:
    """A refusal of the query or of the credentials is final; a server that is busy or away may answer later."""
    with serving([status]) as settings, pytest.raises(expected):
        PrometheusClient(settings).samples(0, 60_000)


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    """Requests that a server or a proxy limits are repeated until it answers; the history is complete then."""
    statuses = [429, 408, 503, 429]
    with serving(statuses) as settings:
        pages = PrometheusPages(settings, tmp_path, PrometheusClient(settings))
        assert pages.fetch(1_700_000_000_000, threading.Event())
    assert statuses == []
    assert pages.is_complete()
