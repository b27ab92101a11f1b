"""Daemons on Kafka as processes, for tests that kill, freeze and multiply them.

with Daemons(folder, bootstrap, app, topic) as daemons:
pid = daemons.start("one"); os.kill(pid, SIGKILL); daemons.wait("one")
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from kafka_tools import read_topic
from launchers import Launcher, write_sections

Sections = dict[str, dict[str, Any]]  # further settings, by section of the configuration


def events(count: int, *, bad: bool = True) -> list[bytes]:
    """Returns events of four interleaved series; with `bad`, every kind of unusable event is mixed in."""
    lines = []
    for step in range(count):
        series = "abcd"[step % 4]
        time_ms = 1_700_000_000_000 + step * 15_000
        value: float | None = math.sin(step / 40) * 3 + math.cos(step / 7) + step % 5
        if bad and step % 97 == 0:
            value = None
        if bad and step % 89 == 0:
            time_ms -= 500_000
        line = json.dumps({"series": series, "timestamp": time_ms, "value": value}).encode()
        lines.append(b'{"series": "a", "timestamp"' if bad and step % 101 == 5 else line)
    return lines


class Daemons:
    """Daemons of one group; each has a name, a data folder and a launcher process that forks it quickly."""

    def __init__(
        self, folder: Path, bootstrap: str, app: str, topic: str, more: Sections | None = None, **kafka: Any
    ) -> None:
        self._folder, self._bootstrap, self._app, self._topic, self._kafka = folder, bootstrap, app, topic, kafka
        self._more = more or {}
        self._launchers: dict[str, Launcher] = {}
        self._pids: dict[str, int] = {}  # 0 after the process was waited for

    def __enter__(self) -> Daemons:
        """Enters the block; starts nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Ends every daemon."""
        for name, launcher in self._launchers.items():
            if self._pids.get(name):
                self.wait(name, 0.0)
            launcher.close()

    def _config(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.toml"
        kafka = {
            "bootstrap": self._bootstrap, "topics": self._topic, "app": self._app, "instance": name,
            "stop_at_end": True, "session_timeout": 3, "request_timeout": 3, "delivery_timeout": 5,
            "transaction_timeout": 8, "watchdog": 60,
        }  # fmt: skip
        sections: dict[str, dict[str, Any]] = {
            "input": {"max_poll_records": 37, "late": "dead-letter", "max_ahead": 0},
            "kafka": kafka | self._kafka,
            "model": {"hidden_size": 16, "head_size": 16, "horizon": 4, "seasons": [12], "interval": "1m"},
            "state": {"data_dir": str(folder / "data"), "snapshot_every": "0.2s"},
            "retrain": {"every_events": 0},  # when a training beside the stream ends depends on the machine
            "http": {"port": 0},
            "log": {"level": "debug"},
        }
        for section, values in self._more.items():
            sections[section] = sections.get(section, {}) | values
        return write_sections(path, sections)

    def _launcher(self, name: str) -> Launcher:
        if name not in self._launchers:
            self._launchers[name] = Launcher(self._config(name))
        return self._launchers[name]

    def start(self, name: str = "one", kill_at: str = "", max_poll: int = 0) -> int:
        """Starts a daemon; returns its pid. After `max_poll` seconds without a poll it leaves its group."""
        self._pids[name] = self._launcher(name).start(kill_at, max_poll)
        return self._pids[name]

    def wait(self, name: str = "one", seconds: float = 240.0) -> int:
        """Waits for the daemon's end, or kills it after `seconds`; returns its exit status."""
        status = self._launcher(name).wait(seconds)
        self._pids[name] = 0
        return status

    def run(self, name: str = "one", seconds: float = 240.0, kill_at: str = "") -> int:
        """Starts a daemon and waits for its end."""
        self.start(name, kill_at)
        return self.wait(name, seconds)

    def supervise(self, name: str = "one", starts: int = 6) -> int:
        """Waits for a running daemon's end and restarts it after a failure, as a supervisor does."""
        status = self.wait(name)
        while status and starts:
            starts -= 1
            status = self.run(name)
        return status

    def finish(self, name: str = "one") -> int:
        """Runs a daemon to its end under a supervisor: a failure of a starved broker may cost a restart."""
        self.start(name)
        return self.supervise(name)

    def data(self, name: str = "one") -> Path:
        """Returns the data folder of a daemon."""
        return self._folder / name / "data"

    def log(self, name: str = "one") -> str:
        """Returns the log of a daemon so far."""
        path = self._folder / name / "daemon.log"
        return path.read_text() if path.exists() else ""


def answers(bootstrap: str, app: str) -> dict[str, list[bytes]]:
    """Returns every committed forecast by series and source partition, in the order in which readers see them."""
    found: dict[str, list[bytes]] = {}
    for record in read_topic(bootstrap, f"{app}.forecasts"):
        source = json.loads(record.value)["source"]["partition"]
        found.setdefault(f"{source} {record.key.decode()}", []).append(record.value)
    return found


def rejected(bootstrap: str, app: str) -> list[tuple[str, int, bytes]]:
    """Returns the origin and the bytes of every rejected record."""
    found = []
    for record in read_topic(bootstrap, f"{app}.rejects"):
        headers = dict(record.headers)
        place = f"{headers['__connect.errors.topic'].decode()}-{headers['__connect.errors.partition'].decode()}"
        found.append((place, int(headers["__connect.errors.offset"]), record.value))
    return sorted(found)
