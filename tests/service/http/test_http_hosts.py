"""Requests of other sites, and limits of requests: DNS rebinding, slow headers, slow and large bodies."""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secured_server import HASH, PASSWORD, Served, ask

from service.http import HttpServer
from service.http import connections as connections_module
from service.http.hosts import Hosts, name_of


class TestHosts:
    """Protection against DNS rebinding and pages of other sites."""

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("127.0.0.1:9464", 200),
            ("10.1.2.3", 200),
            ("[::1]:9464", 200),
            ("localhost", 200),
            ("LocalHost.:9464", 200),
            ("x.localhost", 200),
            ("forecaster.example.org", 200),
            ("Forecaster.Example.org.:80", 200),
            ("a.b.cluster.local:9464", 200),
            ("example.org", 403),
            ("forecaster.example.org.evil.net", 403),
            ("localhost.evil.net:9464", 403),
            ("127.0.0.1.evil.net", 403),
            ("evil.net", 403),
            ("127.0.0.1:80@evil.net", 403),
            ("", 403),
            ("[::1]evil.net", 403),
        ],
    )
    def test_host(self, served: Served, start: Callable, host: str, status: int) -> None:
        """Without passwords a host name that another party can own is refused, on every path."""
        server, _ = start(None)
        for path in ("/", "/metrics", "/api/v1/x"):
            answer = raw(server, f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            expected = 404 if path == "/api/v1/x" and status == 200 else status
            assert answer[9:12] == str(expected).encode()

    def test_protected(self, served: Served, start: Callable) -> None:
        """With passwords or TLS any host name is accepted, because a page of another site has neither."""
        server, _ = start(served.write(basic_auth_users={"ann": HASH}))
        assert raw(server, b"GET / HTTP/1.1\r\nhost: evil.net\r\n\r\n")[9:12] == b"401"
        secret = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
        asked = f"GET / HTTP/1.1\r\nhost: any.name\r\nauthorization: Basic {secret}\r\n\r\n"
        assert raw(server, asked.encode())[9:12] == b"200"

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            (None, 200),
            ("http://127.0.0.1:9464", 200),
            ("https://127.0.0.1:9464", 200),
            ("https://forecaster.example.org", 200),
            ("http://127.0.0.1:3000", 403),
            ("http://localhost:9464", 403),
            ("http://evil.net", 403),
            ("null", 403),
            ("file://", 403),
            ("", 403),
        ],
    )
    def test_origin(self, served: Served, start: Callable, origin: str | None, status: int) -> None:
        """A POST from a page of another site is refused, with or without passwords; a GET is not."""
        for path in (None, served.write(basic_auth_users={"ann": HASH})):
            server, _ = start(path)
            secret = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
            head = f"host: 127.0.0.1:9464\r\nauthorization: Basic {secret}\r\n"
            head += "" if origin is None else f"origin: {origin}\r\n"
            posted = raw(server, f"POST / HTTP/1.1\r\n{head}content-length: 0\r\n\r\n".encode())
            assert posted[9:12] == str(status).encode()
            assert raw(server, f"GET / HTTP/1.1\r\n{head}\r\n".encode())[9:12] == b"200"

    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        """Any text is classified as an allowed host or not, without an error; no origin is allowed by default."""
        hosts = Hosts()
        headers = [(b"host", text.encode("latin-1", "replace")), (b"origin", text.encode("latin-1", "replace"))]
        verdict = hosts.verdict("GET", headers, open_to_all=True)
        name = name_of(text.encode("latin-1", "replace").decode("latin-1"))
        assert verdict == ("" if hosts.ours(name) else "host")
        assert hosts.verdict("POST", headers, open_to_all=False) == "origin"


class TestLimits:
    """Limits of size and time."""

    def test_large_bodies(self, served: Served, start: Callable) -> None:
        """A body over the limit is refused, with a declared length or chunked; a body at the limit is not."""
        server, _ = start(None)

        assert ask(server.url, body=b"x" * 2000)[:2] == (200, "2000")
        assert ask(server.url, body=b"x" * 2001)[0] == 413
        assert raw(
            server, b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n7d1\r\n" + b"x" * 2001
        )[:12] == (b"HTTP/1.1 413")

    def test_bodies_together(self, served: Served, start: Callable) -> None:
        """The memory of all bodies together is bounded; a further body gets 503 until others are complete."""
        served.seconds = 20
        server, _ = start(None)
        host, _, port = server.url.rpartition("/")[2].rpartition(":")
        head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000\r\n\r\n"
        with contextlib.ExitStack() as stack:
            arriving = [stack.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(16)]
            for one in arriving:
                one.sendall(head + b"x" * 1999)
            assert ask(server.url)[0] == 200
            while (found := ask(server.url, body=b"x" * 2000)[0]) == 200:  # the other bodies are still being read
                time.sleep(0.01)
            assert (found, served.refused[0]) == (503, "bodies")
            for one in arriving:
                one.sendall(b"x")
            assert all(one.recv(12) == b"HTTP/1.1 200" for one in arriving)
        assert ask(server.url, body=b"x" * 2000)[:2] == (200, "2000")

    def test_slow_bodies(self, served: Served, start: Callable) -> None:
        """A body that does not arrive in time gets 408."""
        served.seconds = 0.1
        server, _ = start(None)

        assert raw(server, b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")[:12] == b"HTTP/1.1 408"
        assert served.refused == ["too_slow"]

    @pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nx: "])
    def test_slow_headers(self, served: Served, start: Callable, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
        """A connection without complete headers is closed at the deadline."""
        monkeypatch.setattr(connections_module, "HEAD_SECONDS", 0.2)
        server, _ = start(None)

        assert raw(server, said) == b""

    def test_long_headers(self, served: Served, start: Callable) -> None:
        """Headers over the limit are refused."""
        server, _ = start(None)

        assert raw(server, b"GET / HTTP/1.1\r\nx: " + b"x" * 40_000)[:12] == b"HTTP/1.1 400"


def raw(server: HttpServer, data: bytes) -> bytes:
    """Sends bytes to the server and returns the response up to the end of its headers or of the connection."""
    host, _, port = server.url.rpartition("/")[2].rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(data)
            while part := connection.recv(4096):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        except ConnectionError:
            pass
    return answer
