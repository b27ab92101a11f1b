"""The fetch of a history before the daemon: probes are answered, and the port is free for the daemon afterwards."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from parts import config_of

from service.cli._http import probes
from service.http import HttpServer


def asked(url: str, body: bytes | None = None) -> tuple[int, str]:
    """Returns status and body of an answer; with a body it is posted."""
    try:
        with urllib.request.urlopen(url, body, timeout=20) as answer:  # noqa: S310 - of this test
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_while_fetching(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is healthy and not ready, and says what it does; the port is closed at the end.

    Events are put off: a sender drops what gets the status 404.
    """
    started: list[str] = []
    start = HttpServer.start

    def noted(self: HttpServer) -> str:
        started.append(start(self))
        return started[-1]

    monkeypatch.setattr(HttpServer, "start", noted)
    with probes(config_of(tmp_path, http={"port": 0}), "fetching the history") as health:
        health.beat()
        assert asked(f"{started[0]}/-/healthy") == (200, "healthy\n")
        status, text = asked(f"{started[0]}/-/ready")
        assert (status, "fetching the history" in text) == (503, True)
        assert asked(f"{started[0]}/-/started")[0] == 503
        for path in ("/api/v1/write", "/api/v1/events", "/v1/metrics"):
            status, text = asked(f"{started[0]}{path}", b"{}")
            assert (status, "try again" in text) == (503, True)
        assert asked(f"{started[0]}/api/v1/status")[0] == 200
        assert "forecaster_" in asked(f"{started[0]}/metrics")[1]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(started[0].rpartition(":")[2])), 5)
