"""One daemon of the soak as a process, with its metrics and resource usage."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import httpx
import psutil

CONFIG: Final = """
[input]
files = ["events.jsonl"]
late = "dead-letter"
[model]
hidden_size = 16
head_size = 16
horizon = 2
quantiles = [0.1, 0.5, 0.9]
seasons = [12]
interval = "1m"
[state]
max_series = 64
history_events = {history}
snapshot_every = "5s"
[http]
port = 0
recent_series = 20
recent_events = 50
[metrics]
export_series = ["host-0*"]
[train]
k1 = 8
k2 = 16
batch = 8
max_steps = 40
evaluate_every = 10
validation_windows = 32
margin = -1.0
[retrain]
every_events = {retrain}
wait = "true"
[log]
level = "info"
"""
_SAMPLE: Final = re.compile(r"^(forecaster_\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


class DaemonProcess:
    """`forecaster run` in a folder.

    Args:
        folder: folder of config.toml and events.jsonl.
        data: name of its data folder.
        follow: whether the daemon waits for more events at the end.
        through: a program, with its arguments, that executes the daemon in its own process.
        limits: resource limits of the daemon: RLIMIT_... -> number.
    """

    def __init__(
        self,
        folder: Path,
        data: str,
        *,
        follow: bool,
        through: Sequence[str] = (),
        limits: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.began = time.monotonic()
        self._log = folder / f"{data}.log"
        self._from = self._log.stat().st_size if self._log.exists() else 0
        command = [sys.executable, "-P", "-m", "service.cli", "run", "--config", "config.toml", "--data-dir", data]
        command = [*through, *command, *(["--follow"] if follow else [])]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        self.pid = self._process.pid
        for which, number in limits.items():
            resource.prlimit(self.pid, which, (number, resource.getrlimit(which)[1]))
        self._client = httpx.Client(trust_env=False, timeout=30)
        self._url = ""
        self._rss = psutil.Process(self._process.pid)

    def url(self) -> str:
        """Returns the base URL; empty until the daemon has logged it."""
        if not self._url:
            with self._log.open() as log:
                log.seek(self._from)
                found = re.search(r"url=(http://\S+)/metrics", log.read())
            self._url = found[1] if found else ""
        return self._url

    def metrics(self) -> dict[str, float]:
        """Returns the metrics summed by name, and by name with labels; empty if the daemon does not answer."""
        try:
            text = self._client.get(f"{self.url()}/metrics").text if self.url() else ""
        except httpx.HTTPError:
            return {}
        found: dict[str, float] = {}
        for name, labels, value in _SAMPLE.findall(text):
            for key in (name, f"{name}{{{labels}}}"):
                found[key] = found.get(key, 0.0) + float(value)
        return found

    def wait_for(self, name: str, least: float, patience: float = 240.0) -> dict[str, float]:
        """Polls until a metric is at least `least`; returns all metrics.

        Raises:
            TimeoutError: the daemon ended, or the time is over.
        """
        ends = time.monotonic() + patience
        while time.monotonic() < ends and self.alive():
            found = self.metrics()
            if found.get(name, float("-inf")) >= least:
                return found
            time.sleep(0.05)
        message = f"{name} is {self.metrics().get(name)}, expected {least} or more; {self._log.read_text()[-3000:]}"
        raise TimeoutError(message)

    def browse(self) -> None:
        """Sends the requests of a browser."""
        for path in ("/-/ready", "/api/v1/status", "/api/v1/series"):
            try:
                self._client.get(self.url() + path)
            except httpx.TransportError:  # a kept connection was closed just before the request; browsers retry too
                self._client.get(self.url() + path)

    def partitions(self) -> int:
        """Returns the daemon's number of partitions; 0 if the daemon does not answer."""
        try:
            return len(self._client.get(f"{self.url()}/api/v1/status").json()["partitions"]) if self.url() else 0
        except httpx.HTTPError:
            return 0

    def memory(self) -> int:
        """Resident bytes of the daemon's process, without its training processes."""
        return int(self._rss.memory_info().rss)

    def descriptors(self) -> int:
        """Number of open files, sockets and pipes of the process."""
        return int(self._rss.num_fds())

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def end(self, how: signal.Signals | None, patience: float = 600.0) -> int:
        """Sends a signal, if any, and waits; returns the exit status."""
        if how is not None:
            self._process.send_signal(how)
        status = self._process.wait(patience)
        self._client.close()
        return status
