"""Limits the connections of the HTTP server, and closes idle ones when the limit is reached.

Every accepted socket is counted from before the handshake until it is closed, so that the file descriptors that the
engine and the probes need stay available:
    open < most          accepted
    most and more        accepted, and the connection that has been idle longest is closed; where none is idle,
                         requests other than probes get 503
    most + PROBES        same, but no connection is accepted before another one is closed
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_log = structlog.get_logger()

PROBES: Final = 8  # connections beyond the limit, reserved for probes
PROBE_PATHS: Final = frozenset({"/-/healthy", "/healthz", "/-/ready", "/readyz", "/-/started", "/startupz"})
# File descriptors that are never used for connections: the engine's files, brokers, snapshots, the training process.
_RESERVED: Final = 128
# Time limit for a handshake, for a request's line and headers to arrive, and for the client to read an answer.
HEAD_SECONDS: Final = 10.0
# Time limit for a closed connection to release its descriptor.
_GONE_SECONDS: Final = 1.0


def allowed(wanted: int) -> int:
    """Returns the permitted number of connections: the wanted number, or less where file descriptors would run out.

    Raises the soft limit of open files as far as needed and permitted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + PROBES + _RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    found = max(1, soft - PROBES - min(_RESERVED, soft // 2))
    if found >= wanted:
        return wanted
    _log.warning("fewer connections than configured", limit_of_open_files=soft, configured=wanted, allowed=found)
    return found


class Peer(Protocol):
    """The state of a connection after the handshake."""

    def waits(self) -> int:
        """0 while a request is being answered, 1 while its body arrives, 2 while the connection is idle."""

    def abort(self) -> None:
        """Closes the connection at once."""


class Connection(socket.socket):
    """An accepted socket.

    Attributes:
        opened: time at which it was accepted, by the loop's clock.
        since: time since which it waits for its client.
        peer: the protocol; None until the handshake is done.
        cut: time at which it was closed by the limit, else 0.
    """

    opened = since = cut = 0.0
    peer: Peer | None = None
    deadline: asyncio.TimerHandle | None = None
    on_close: Callable[[Connection], None] | None = None

    def close(self) -> None:
        """Closes the descriptor and reports it."""
        done, self.on_close = self.on_close, None
        super().close()
        if done is not None:
            done(self)

    def waits(self) -> int:
        """Returns the state of the peer; a connection in its handshake waits for the client."""
        return 2 if self.peer is None else self.peer.waits()

    def end(self, now: float) -> None:
        """Closes the connection by the limit; the socket is closed in a later iteration of the loop."""
        if self.cut:
            return
        self.cut = now
        if self.peer is not None:
            self.peer.abort()
        else:
            with contextlib.suppress(OSError):  # the client has closed it already
                self.shutdown(socket.SHUT_RDWR)  # makes the handshake fail


class Connections:
    """All connections of one server. Used in its event loop only.

    Args:
        most: largest number of connections, without those reserved for probes.
        refused: called with "connections" or "cut" for every request or connection that is refused.
    """

    def __init__(self, most: int, refused: Callable[[str], None] = lambda _: None) -> None:
        self.most, self._refused = most, refused
        self._open: dict[int, Connection] = {}

    def __len__(self) -> int:
        """Returns the number of open connections, in any state."""
        return len(self._open)

    def of(self, descriptor: int) -> Connection | None:
        """Returns the connection of a descriptor."""
        return self._open.get(descriptor)

    def accept(self, take: Callable[[], tuple[int, Any]], listener: socket.socket) -> tuple[Connection, Any]:
        """Accepts a connection, like `socket.accept`.

        Args:
            take: returns descriptor and address of the next connection.
            listener: the listening socket.

        Raises:
            BlockingIOError: not possible now, because a closed connection still has its descriptor.
            ConnectionAbortedError: the connection was closed at once, because no other one is idle.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        full = len(self._open) >= self.most + PROBES - 1
        if full and any(one.cut and now - one.cut < _GONE_SECONDS for one in self._open.values()):
            raise BlockingIOError
        descriptor, address = take()  # raises where no connection is pending
        if len(self._open) >= self.most and not self._make_room(now) and full:
            socket.close(descriptor)
            self._refused("connections")
            raise ConnectionAbortedError
        made = Connection(listener.family, listener.type, listener.proto, fileno=descriptor)
        made.opened = made.since = now
        made.on_close = self._closed
        made.deadline = loop.call_later(HEAD_SECONDS, self._handshake_late, made)
        self._open[descriptor] = made
        return made, address

    def _make_room(self, now: float) -> bool:
        """Closes the longest idle connection, those without a request first; returns whether there was one."""
        waiting = [(-one.waits(), one.since, at) for at, one in self._open.items() if not one.cut and one.waits()]
        if not waiting:
            return False
        self.cut(self._open[min(waiting)[2]], now)
        return True

    def cut(self, one: Connection, now: float) -> None:
        """Closes a connection by the limit and counts it."""
        if not one.cut:
            self._refused("cut")
            one.end(now)

    def _handshake_late(self, one: Connection) -> None:
        if one.peer is None:
            self.cut(one, asyncio.get_running_loop().time())

    def _closed(self, one: Connection) -> None:
        for descriptor, held in list(self._open.items()):
            if held is one:
                del self._open[descriptor]
        if one.deadline is not None:
            one.deadline.cancel()

    def around(self, app: ASGIApp) -> ASGIApp:
        """Wraps the application: requests beyond the limit get 503 unless they are probes."""

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            busy = sum(one.waits() < 2 for one in self._open.values())
            if scope["type"] != "http" or busy <= self.most or scope["path"] in PROBE_PATHS:
                await app(scope, receive, send)
                return
            self._refused("connections")
            text = f"more than {self.most} requests at once (http.max_connections); try again"
            headers = {"cache-control": "no-store", "connection": "close", "retry-after": "5"}
            answer: Response = PlainTextResponse(text + "\n", 503, headers)
            if scope["path"].startswith("/api/"):
                answer = JSONResponse({"error": {"code": "connections", "message": text}}, 503, headers)
            await answer(scope, receive, send)

        return limited


class ListeningSocket(socket.socket):
    """A listening socket whose connections are limited."""

    connections: Connections

    def accept(self) -> tuple[Connection, Any]:
        """Accepts the next connection; see `Connections.accept`."""
        take: Callable[[], tuple[int, Any]] = self._accept  # type: ignore[attr-defined] # as socket.accept itself does
        return self.connections.accept(take, self)
