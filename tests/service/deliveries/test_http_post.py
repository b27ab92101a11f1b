"""What is sent again, and what is not, by the answer of a real server in this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from service.config.alerts import AlertsConfig
from service.deliveries import RefusedError, UnavailableError
from service.deliveries.delivery import Spooled
from service.deliveries.forecast_labels import shape_of
from service.deliveries.http_post import HttpEndpoint, HttpPost, retry_after
from service.deliveries.webhook import WebhookTarget
from service.http.remote_write import RemoteWrite
from service.lifecycle import SystemClock


class Receiver:
    """A server that records requests, and answers with statuses.

    Attributes:
        refuses: bodies that get status 400, by the series in them.
    """

    def __init__(self, status: int = 204, after: str = "") -> None:
        self.status, self.after, self.refuses = status, after, set[str]()
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.accepted: list[str] = []

    def handle(self, headers: dict[str, str], body: bytes) -> int:
        """Returns the status for a request."""
        self.requests.append((headers, body))
        if self.status != 204 or not self.refuses:
            return self.status
        found = [one.series for one in RemoteWrite([], 1 << 24).decode(body)[0]]
        if any(name in one for one in found for name in self.refuses):
            return 400
        self.accepted += found
        return 204


@contextmanager
def served(receiver: Receiver) -> Iterator[str]:
    """Runs a receiver; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answers."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.handle(dict(self.headers), body)
            self.send_response(status)
            if receiver.after:
                self.send_header("Retry-After", receiver.after)
            self.send_header("Location", "/other")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"text")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/write"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [400, 405, 409, 413, 415, 422, 301, 307])
def test_refused(status: int) -> None:
    """A request that a repeat does not change; a redirect is not followed, as it would lose the body."""
    receiver = Receiver(status)
    with served(receiver) as url, pytest.raises(RefusedError, match=f"status {status}: 'text'"):
        HttpPost(HttpEndpoint(url), {}).post(b"body")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 408, 425, 429, 500, 502, 503])
def test_sent_again(status: int) -> None:
    """Overload, an error of the server, and what a person mends; with the time that the server asks for."""
    with served(Receiver(status, "7")) as url, pytest.raises(UnavailableError, match=f"status {status}") as error:
        HttpPost(HttpEndpoint(url), {}).post(b"body")
    assert error.value.after == 7.0


def test_no_server(tmp_path: Path) -> None:
    """Nobody listens, or the file of a secret is not there."""
    with served(Receiver()) as url:
        pass
    with pytest.raises(UnavailableError, match="does not answer"):
        HttpPost(HttpEndpoint(url, timeout=5), {}).post(b"body")
    with served(Receiver()) as url, pytest.raises(UnavailableError, match="No such file"):
        HttpPost(HttpEndpoint(url, token_file=tmp_path / "none"), {}).post(b"body")


def test_credentials_are_read_for_every_request(tmp_path: Path) -> None:
    """So that a token can be replaced while the daemon runs."""
    receiver, path = Receiver(), tmp_path / "token"
    with served(receiver) as url:
        post = HttpPost(HttpEndpoint(url, token_file=path), {"X": "y"})
        for token in ("one", "two"):
            path.write_text(f"{token}\n")
            post.post(b"body", {"Z": token})
        path.write_text("secret\n")
        HttpPost(HttpEndpoint(url, username="me", password_file=path), {}).post(b"body")
    found = [headers["Authorization"] for headers, _ in receiver.requests]
    assert found == ["Bearer one", "Bearer two", "Basic bWU6c2VjcmV0"]
    assert [headers.get("Z") for headers, _ in receiver.requests] == ["one", "two", None]


def test_secrets_are_not_in_errors(tmp_path: Path) -> None:
    """Neither a token of several lines, which the client would show, nor an address with a token."""
    path = tmp_path / "token"
    path.write_text("hush\nhush\n")
    with served(Receiver(400)) as url:
        with pytest.raises(UnavailableError, match="expected the token only") as error:
            HttpPost(HttpEndpoint(url, token_file=path), {}).post(b"body")
        assert "hush" not in str(error.value)
        settings = AlertsConfig.model_validate({"webhook": f"{url}/hush?token=hush"})
        message = Spooled("1", orjson.dumps(MESSAGE | {"starts_ms": NOW}))
        with pytest.raises(RefusedError, match=r"webhook at 127") as refused:
            WebhookTarget("w", settings, SystemClock()).send([message])
        assert "hush" not in str(refused.value)


def test_an_answer_that_breaks_off() -> None:
    """The status alone decides, so an overloaded server is not mistaken for a defect."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhal")

    thread = threading.Thread(target=answer)
    thread.start()
    with listener, pytest.raises(UnavailableError, match="status 503"):
        HttpPost(HttpEndpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/"), {}).post(b"body")
    thread.join()


def test_retry_after() -> None:
    """Seconds, or a date; anything else is no request to wait."""
    later = datetime.now(UTC) + timedelta(seconds=100)
    assert retry_after("120") == 120.0
    assert 90 < retry_after(format_datetime(later, usegmt=True)) <= 100
    assert [retry_after(text) for text in (None, "", "soon", "-3", "Mon, 01 Jan 2024 00:00:00 GMT")] == [0.0] * 5


NOW = time.time_ns() // 1_000_000
MESSAGE = {
    "id": "1", "status": "firing", "kind": "drift", "name": "ForecastDrift", "severity": "warning", "series": "",
    "group": "", "partition": "0", "position": 7, "ends_ms": 0, "value": None, "score": None, "expected_ms": None,
    "threshold": None,
}  # fmt: skip


def forecast(series: str, at: int = NOW) -> Spooled:
    """Returns a forecast in the spool."""
    body = shape_of(60_000, 0, [1], [0.5]) + b"\n" + at.to_bytes(8, "little") + bytes(8)
    return Spooled(f'["0",1,0,"{series}"]', body)
