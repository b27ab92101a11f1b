"""Launchers of daemons, see launcher.py: one process for the whole run forks them."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def _forks() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts the process that forks launchers; it ends with this process."""
    mine, other = socket.socketpair()
    command = [sys.executable, str(Path(__file__).with_name("launcher.py")), str(other.fileno())]
    process = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL)
    other.close()
    return mine, process


class Launcher:
    """Starts one daemon after the other with a configuration."""

    def __init__(self, config: Path) -> None:
        self._socket, other = socket.socketpair()
        socket.send_fds(_forks()[0], [str(config).encode()], [other.fileno(), 2])  # errors belong to this test
        other.close()
        self._answers = self._socket.makefile()

    def _ask(self, **order: object) -> int:
        self._socket.sendall(json.dumps(order).encode() + b"\n")
        return int(self._answers.readline())

    def start(self, kill_at: str = "", max_poll: int = 0) -> int:
        """Starts a daemon; returns its pid.

        Args:
            kill_at: the step at which it is killed, if any.
            max_poll: seconds without a poll after which it leaves its group; 0 for as many as usual.
        """
        return self._ask(do="start", kill_at=kill_at, max_poll=max_poll)

    def wait(self, seconds: float = 240.0) -> int:
        """Waits for the daemon's end, or kills it after `seconds`; returns its exit status."""
        return self._ask(do="wait", seconds=seconds)

    def run(self, seconds: float = 240.0, kill_at: str = "") -> int:
        """Runs one daemon to its end, or kills it after `seconds`; returns its exit status."""
        self.start(kill_at)
        return self.wait(seconds)

    def close(self) -> None:
        """Ends the launcher, and waits for the end of its processes."""
        self._socket.shutdown(socket.SHUT_WR)
        self._answers.read()  # until no process has the other end
        self._answers.close()
        self._socket.close()


def write_sections(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes settings as a configuration file; returns its path."""
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n")
    return path
