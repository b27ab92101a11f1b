"""Set-up of the fault tests: a daemon in the middle of a stream, and its output compared with an undisturbed run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Final

from daemon import DaemonProcess
from load import START_MS, lines
from report import compare

STEPS: Final = 400
CONFIG: Final = """
[input]
files = ["events.jsonl"]
late = "dead-letter"
max_poll_records = 25
[model]
hidden_size = 16
head_size = 16
horizon = 2
quantiles = [0.1, 0.5, 0.9]
seasons = [12]
interval = "1m"
[state]
max_series = 64
history_events = 2000
snapshot_every = "0.5s"
[http]
port = 0
[train]
k1 = 8
k2 = 16
batch = 8
max_steps = 10
evaluate_every = 5
margin = -1.0
[log]
level = "info"
"""
_QUIET: Final[dict[tuple[str, bytes], Path]] = {}


class Stage:
    """A folder with the first half of a stream; `feed` appends the second half.

    Args:
        folder: an empty folder.
        extra: additional configuration.
        steps: number of steps of the load.
        newcomers: number of new series in the second half.
    """

    def __init__(self, folder: Path, extra: str = "", steps: int = STEPS, newcomers: int = 0) -> None:
        self.folder = folder
        (folder / "config.toml").write_text(CONFIG + extra)
        new = "".join(
            json.dumps({"series": f"new-{i}", "timestamp": START_MS, "value": float(i % 7)}) + "\n"
            for i in range(newcomers)
        )
        self._halves = [self._text(0, steps // 2), new + self._text(steps // 2, steps)]
        (folder / "events.jsonl").write_text(self._halves[0])
        self.half, self.whole = len(self._halves[0].encode()), len("".join(self._halves).encode())

    @staticmethod
    def _text(start: int, stop: int) -> str:
        return "".join(line + "\n" for step in range(start, stop) for line in lines(step))

    def feed(self) -> None:
        """Appends the second half."""
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(self._halves[1])

    def start(self, **more: Any) -> DaemonProcess:
        """Starts a daemon and waits until it has answered the first half."""
        daemon = DaemonProcess(self.folder, "soaked", follow=True, **more)
        daemon.wait_for("forecaster_position", self.half)
        return daemon

    def recover(self, daemon: DaemonProcess, began: float) -> float:
        """Waits until everything is answered; returns the seconds since the fault ended."""
        daemon.wait_for("forecaster_position", self.whole)
        return time.monotonic() - began

    def compare(self) -> dict[str, int]:
        """Compares the output with an undisturbed run, which is cached for stages of the same stream."""
        key = (self.folder / "config.toml").read_text(), (self.folder / "events.jsonl").read_bytes()
        if key not in _QUIET:
            assert DaemonProcess(self.folder, "quiet", follow=False).end(None) == 0
            _QUIET[key] = self.folder / "quiet"
        return compare(self.folder / "soaked", _QUIET[key])


def note(fault: str, done: str, daemon: str, found: dict[str, int], seconds: float) -> None:
    """Appends a row for the table of docs/operations.md to the file FAULTS_TABLE, if set."""
    if path := os.environ.get("FAULTS_TABLE"):
        with Path(path).open("a") as file:
            file.write(f"| {fault} | {done} | {daemon} | {found['lost']} | {found['doubled']} | {seconds:.1f} s |\n")
