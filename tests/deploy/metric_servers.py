"""Real servers of metrics that accept remote write, for tests."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import shipped


def free_port() -> int:
    """Returns a port that was free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class MetricServer:
    """Prometheus or VictoriaMetrics with its data in a folder; it may be stopped and started again.

    Args:
        program: its name. folder: of its data; created.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self._folder = program, folder
        self._command, self.port = shipped.program(program), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "prometheus.yml").write_text("global: {}\n")

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        address = f"127.0.0.1:{self.port}"
        options = {
            "prometheus": [
                "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}",
                "--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y",
            ],
            "victoria-metrics": [f"-httpListenAddr={address}", "-storageDataPath=data", "-retentionPeriod=100y",
                                 "-search.latencyOffset=0s", "-memory.allowedBytes=200MB",
                                 "-dedup.minScrapeInterval=1ms"],
        }[self.program]  # fmt: skip
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen([self._command, *options], cwd=self._folder, stderr=log, stdout=log)
        path, ends = {"prometheus": "/-/ready", "victoria-metrics": "/health"}[self.program], time.monotonic() + 120
        while not self._answers(path):
            assert time.monotonic() < ends, (self._folder / "log").read_text()
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)

    def _answers(self, path: str) -> bool:
        try:
            return httpx.get(self.url + path, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def query(self, expression: str, at: float) -> list[dict[str, Any]]:
        """Evaluates an expression at a time; returns the series of the result.

        Samples that VictoriaMetrics has not written to its storage yet are flushed first.
        """
        if self.program == "victoria-metrics":
            httpx.get(f"{self.url}/internal/force_flush", timeout=60, trust_env=False).raise_for_status()
        parameters = {"query": expression, "time": f"{at:.3f}", "nocache": "1"}
        answer = httpx.get(f"{self.url}/api/v1/query", params=parameters, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    @property
    def write_url(self) -> str:
        """The address for remote write."""
        return f"{self.url}/api/v1/write"


@contextmanager
def running(program: str, folder: Path) -> Iterator[MetricServer]:
    """Runs a server."""
    server = MetricServer(program, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
