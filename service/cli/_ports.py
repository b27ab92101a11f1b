"""Finds a port for the metrics page."""

from __future__ import annotations

import contextlib
import socket


def free_port(wanted: int) -> int:
    """Returns the wanted port of the loopback address, or any free port if it is busy or 0."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found: int = probe.getsockname()[1]
                return found
    msg = "no free port on 127.0.0.1"
    raise OSError(msg)
