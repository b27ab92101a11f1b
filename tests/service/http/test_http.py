"""The HTTP server: probes that report the true state, starts that fail with an error."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import Bench, TurnedClock, event
from prometheus_client import CollectorRegistry

from service.http import HttpServer, create_app
from service.http.server import HttpError
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.ports import Unit
from service.transport.memory import MemoryLog


class Face:
    """A served application and its parts."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.health = Health(self.clock)
        self.status: dict[str, object] = {"model": "abc"}
        self.server = HttpServer(
            create_app(Metrics(CollectorRegistry()), self.health, lambda: self.status), "127.0.0.1", 0
        )

    def get(self, path: str) -> tuple[int, str]:
        """Returns the status and the text of a response."""
        try:
            with urllib.request.urlopen(self.server.url + path, timeout=10) as answer:  # noqa: S310 - our own server
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def face() -> Iterator[Face]:
    """A started server."""
    found = Face()
    with found.server:
        yield found


class TestProbes:
    """Health and readiness."""

    @pytest.mark.parametrize("path", ["/-/ready", "/readyz"])
    @pytest.mark.parametrize("phase", ["starting", "compiling", "restoring", "blocked", "stopping"])
    def test_not_ready(self, face: Face, path: str, phase: str) -> None:
        """In a phase without forecasts the daemon is healthy, and not ready with the phase as the reason."""
        face.health.enter(phase, "the reason")

        assert face.get(path) == (503, f"{phase}: the reason\n")
        assert face.get("/-/healthy") == (200, "healthy\n")

    @pytest.mark.parametrize("path", ["/-/ready", "/readyz"])
    def test_ready(self, face: Face, path: str) -> None:
        """A running daemon is ready."""
        face.health.enter("running")

        assert face.get(path) == (200, "ready\n")

    @pytest.mark.parametrize("path", ["/-/healthy", "/healthz", "/-/ready"])
    def test_no_progress(self, face: Face, path: str) -> None:
        """A loop without progress is neither healthy nor ready; one heartbeat makes the loop healthy again."""
        face.health.enter("running")
        face.clock.now += 61
        status, text = face.get(path)
        assert status == 503
        assert text == "no progress for 61 s while running, expected some within 60 s\n"

        face.health.beat()
        assert face.get(path)[0] == 200

    def test_compiling_may_take_longer(self, face: Face) -> None:
        """The first compilation may take minutes before the daemon is unhealthy."""
        face.health.enter("compiling")
        face.clock.now += 200
        assert face.get("/-/healthy")[0] == 200

        face.clock.now += 200
        assert face.get("/-/healthy")[0] == 503

    def test_engine_tells_the_truth(self, tmp_path: Path) -> None:
        """A real engine is starting before its first published batch, ready within it, stopping after."""
        bench = Bench(tmp_path, MemoryLog({"0": [event(1)]}))
        seen = [bench.health.report()]

        def look(_unit: Unit) -> None:
            seen.append(bench.health.report())

        bench.on_unit = look
        bench.run()
        seen.append(bench.health.report())

        assert [(r.phase, r.ready) for r in seen] == [("starting", False), ("running", True), ("stopping", False)]


class TestPages:
    """Metrics and status."""

    def test_metrics(self, face: Face) -> None:
        """The metrics page shows the current state of the probes."""
        face.health.enter("running")
        status, page = face.get("/metrics")

        assert status == 200
        assert "\nforecaster_ready 1.0\n" in page
        face.health.enter("blocked")
        assert "\nforecaster_ready 0.0\n" in face.get("/metrics")[1]

    def test_openmetrics(self, face: Face) -> None:
        """A client that accepts OpenMetrics gets OpenMetrics."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            face.server.url + "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            assert answer.headers["content-type"].startswith("application/openmetrics-text")
            assert answer.read().endswith(b"# EOF\n")

    def test_status(self, face: Face) -> None:
        """The status has the engine's status and the health, as JSON."""
        status, page = face.get("/api/v1/status")
        found = json.loads(page)

        assert status == 200
        assert found["model"] == "abc"
        assert found["health"]["phase"] == "starting"

    def test_unknown(self, face: Face) -> None:
        """An unknown path gets 404."""
        assert face.get("/secret")[0] == 404


class TestServer:
    """Start and end of the server."""

    def test_busy_port(self) -> None:
        """A port in use is an immediate error that names the settings to change."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            server = HttpServer(
                create_app(Metrics(CollectorRegistry()), Health(TurnedClock()), dict), "127.0.0.1", port
            )
            with pytest.raises(HttpError, match=rf"127\.0\.0\.1:{port} .* set http\.host and http\.port"):
                server.start()

    def test_no_delay(self, face: Face) -> None:
        """The listening socket names TCP as its protocol, for which asyncio sets TCP_NODELAY on connections."""
        assert face.server._socket is not None
        assert face.server._socket.proto == socket.IPPROTO_TCP

    def test_no_such_host(self) -> None:
        """An address that this machine does not have is an error."""
        server = HttpServer(create_app(Metrics(CollectorRegistry()), Health(TurnedClock()), dict), "192.0.2.1", 0)
        with pytest.raises(HttpError, match=r"cannot listen on 192\.0\.2\.1"):
            server.start()

    def test_close(self) -> None:
        """A closed server leaves a free port and no thread, and may be closed again."""
        face = Face()
        face.server.start()
        assert face.get("/healthz")[0] == 200
        port = int(face.server.url.rpartition(":")[2])
        face.server.close()
        face.server.close()

        with socket.create_server(("127.0.0.1", port)):
            pass
        assert "http" not in {thread.name for thread in threading.enumerate()}

    def test_close_without_start(self) -> None:
        """A server that was never started can be closed."""
        Face().server.close()
