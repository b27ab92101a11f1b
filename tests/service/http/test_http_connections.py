"""Idle connections are counted and cut; they block neither the probes nor the engine."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.http import HttpServer, connections
from service.http.connections import PROBES, allowed

MOST = 10


@dataclass
class Served:
    """A server with a probe, a page, a page that waits for the test, and a large page."""

    go: threading.Event = field(default_factory=threading.Event)
    refused: list[str] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    sockets: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    server: HttpServer = field(init=False)

    def start(self) -> None:
        """Starts the server."""

        async def page(_request: Request) -> PlainTextResponse:
            return PlainTextResponse("fine")

        async def wait(_request: Request) -> PlainTextResponse:
            while not self.go.is_set():
                await asyncio.sleep(0.01)
            return PlainTextResponse("done")

        async def large(_request: Request) -> PlainTextResponse:
            return PlainTextResponse("x" * (64 << 20))

        async def refuse(_request: Request) -> PlainTextResponse:
            return PlainTextResponse("no", 401)

        pages = {"/-/healthy": page, "/": page, "/wait": wait, "/large": large, "/refuse": refuse}
        app = Starlette(routes=[Route(path, made, methods=["GET", "POST"]) for path, made in pages.items()])
        self.server = HttpServer(app, "127.0.0.1", 0, tls=self.tls, max_connections=MOST, refused=self.refused.append)
        self.server.start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        host, _, port = self.server.url.rpartition("/")[2].rpartition(":")
        return host, int(port)

    def connect(self, said: bytes = b"") -> socket.socket:
        """Opens a connection that stays open until the end of the test."""
        made = self.sockets.enter_context(socket.create_connection(self.address, timeout=20))
        made.sendall(said)
        return made

    def ask(self, path: str) -> int:
        """Returns the status of one request on a connection of its own."""
        made = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            made.request("GET", path)
            return made.getresponse().status
        finally:
            made.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """A server of plain HTTP."""
    found = Served()
    found.start()
    with found.sockets:
        yield found
        found.go.set()
    found.server.close()


def until(held: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(connection: socket.socket) -> bool:
    """Waits until the other end closes the connection."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionError:
        return True
    return True


class TestNumber:
    """The limit of simultaneous connections."""

    @pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"])
    def test_idle_ones_make_room(self, served: Served, said: bytes) -> None:
        """Of 400 idle connections only the limit stays open, and every request is answered."""
        for number in range(400):
            served.connect(said)
            assert len(served.server.connections) <= MOST + PROBES
            if number % 40 == 39:
                assert [served.ask(path) for path in ("/", "/-/healthy")] == [200, 200]
        assert served.refused.count("cut") >= 400 - MOST - PROBES

    def test_the_longest_idle_goes_first(self, served: Served) -> None:
        """The connection that is idle longest is cut, the one opened last stays."""
        first, *_, last = [served.connect() for _ in range(MOST + 1)]
        assert ended(first)
        last.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert last.recv(12) == b"HTTP/1.1 200"

    def test_idle_ones_go_before_bodies(self, served: Served) -> None:
        """A request whose body arrives is cut only where no connection is idle."""
        arriving = served.connect(b"POST /wait HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12")
        until(lambda: any(one.waits() == 1 for one in list(served.server.connections._open.values())))
        idle = [served.connect() for _ in range(MOST)]
        assert ended(idle[0])
        arriving.sendall(b"345")
        served.go.set()
        assert arriving.recv(12) == b"HTTP/1.1 200"

    def test_probes_are_answered_beyond_the_limit(self, served: Served) -> None:
        """While all connections have requests in progress, probes are answered, others get 503, no response is cut."""
        waiting = [served.connect(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n") for _ in range(MOST)]
        until(lambda: sum(one.waits() == 0 for one in list(served.server.connections._open.values())) == MOST)
        assert [served.ask(path) for path in ("/", "/-/healthy", "/api/v1/x")] == [503, 200, 503]
        assert served.refused.count("connections") == 2
        served.go.set()
        assert [one.recv(12) for one in waiting] == [b"HTTP/1.1 200"] * MOST

    def test_nobody_is_accepted_beyond_everything(self, served: Served) -> None:
        """Beyond the limit and the connections reserved for probes, a connection is closed at once."""
        made = [served.connect(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n") for _ in range(MOST + 3 * PROBES)]
        until(lambda: sum(map(is_closed, made)) >= 2 * PROBES)
        assert MOST <= len(served.server.connections) <= MOST + PROBES


def is_closed(made: socket.socket) -> bool:
    """Whether the server has closed a connection on which it has sent nothing."""
    made.settimeout(0.02)
    try:
        return made.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


class TestTime:
    """Deadlines of clients."""

    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)

    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"GET / HTTP/1.1\r\nx: ",
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n",
        ],
        ids=["nothing", "half a head", "idle behind an answer", "body behind an answer"],
    )
    def test_bytes_that_trickle_in(self, served: Served, said: bytes) -> None:
        """A client that sends single bytes is cut at the deadline, before and after a response."""
        made, began = served.connect(said), time.monotonic()
        made.settimeout(0.02)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 20:
                with contextlib.suppress(TimeoutError):
                    if not made.recv(4096):
                        break
                made.sendall(b"x")
        assert time.monotonic() - began < 10
        until(lambda: not len(served.server.connections))

    def test_answers_that_nobody_takes(self, served: Served) -> None:
        """A response is dropped when the client reads none of it."""
        made = served.connect()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.sendall(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        until(lambda: served.refused == ["cut"])
        until(lambda: not len(served.server.connections))

    def test_a_slow_reader_is_waited_for(self, served: Served) -> None:
        """While the client reads parts of a response, the rest is kept, however long the reading takes."""
        made, taken = served.connect(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n"), 0
        while taken < 64 << 20:
            part = made.recv(1 << 20)
            assert part
            taken += len(part)
            time.sleep(0.1)  # the whole response takes several deadlines


class TestHandshake:
    """Connections before the TLS handshake ends."""

    @pytest.fixture
    def secure(self) -> Iterator[Served]:
        """A server of HTTPS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        found = Served(tls=context)
        found.start()
        with found.sockets:
            yield found
        found.server.close()

    def test_deadline(self, secure: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        """A handshake without progress is cut."""
        monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
        began = time.monotonic()
        assert all(ended(secure.connect(said)) for said in (b"", b"\x16\x03\x01"))
        assert time.monotonic() - began < 10

    def test_number(self, secure: Served) -> None:
        """Connections without a handshake are counted and cut as idle ones."""
        for _ in range(100):
            secure.connect(b"\x16\x03\x01")
            assert len(secure.server.connections) <= MOST + PROBES
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(secure.connect()) as made:
            made.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert made.recv(12) == b"HTTP/1.1 200"


class TestDescriptors:
    """The limit of open files."""

    @pytest.mark.parametrize(
        ("soft", "hard", "wanted", "expected"),
        [(1024, 4096, 100, 100), (64, 4096, 100, 100), (256, 256, 1000, 120), (64, 64, 100, 24), (8, 8, 100, 1)],
    )
    def test_allowed(self, soft: int, hard: int, wanted: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The soft limit is raised where permitted; else the limit of connections is lowered."""
        limits = [(soft, hard)]
        monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
        monkeypatch.setattr(resource, "setrlimit", lambda _, to: limits.append(to))
        assert allowed(wanted) == expected
        assert limits[-1][0] <= hard
        assert expected < limits[-1][0]

    def test_an_engine_beside_many_connections(self) -> None:
        """With a limit of 200 files and 400 idle connections the process opens its own files, and probes are answered.

        The connections were counted by request only: they took every descriptor, and the engine failed by EMFILE.
        """
        program = """
import resource, sys, tempfile
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
from prometheus_client import CollectorRegistry
from service.monitoring.health import Health
from service.http import HttpServer, create_app
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
face = create_app(Metrics(CollectorRegistry()), Health(SystemClock()), dict)
server = HttpServer(face, "127.0.0.1", 0, max_connections=1000)
print(server.start(), flush=True)
for line in sys.stdin:
    files = [tempfile.TemporaryFile() for _ in range(50)]
    print(len(files), len(server.connections), flush=True)
"""
        with (
            subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process,
            contextlib.ExitStack() as stack,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            while not (found := re.search(r"^http://([\d.]+):(\d+)$", process.stdout.readline())):
                assert process.poll() is None
            for _ in range(400):
                stack.enter_context(socket.create_connection((found[1], int(found[2])), timeout=20))
            probe = http.client.HTTPConnection(found[1], int(found[2]), timeout=20)
            stack.callback(probe.close)
            probe.request("GET", "/metrics")
            assert probe.getresponse().status == 200
            process.stdin.write("now\n")
            process.stdin.flush()
            files, count = map(int, process.stdout.readline().split())
            assert files == 50
            assert 0 < count <= 100
            process.stdin.close()
