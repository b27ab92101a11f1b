"""Counts the connections of the HTTP face and cuts those that cost without asking for anything.

Every accepted socket is counted from its first moment, before any handshake, and until it is closed. Whatever somebody
opens, the descriptors that the engine and the probes need stay free:

    open < most          accepted
    most and more        accepted, and the connection that has waited longest for its client is cut; where all of them
                         are being answered, requests other than probes get 503
    most + PROBES        as before, but nobody is accepted before somebody has gone
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

PROBES: Final = 8  # connections beyond the limit that are answered where they are probes
PROBE_PATHS: Final = frozenset({"/-/healthy", "/healthz", "/-/ready", "/readyz", "/-/started", "/startupz"})
# Descriptors that are never given to connections: the engine's files, brokers, snapshots, the training process.
_RESERVED: Final = 128
# For a handshake and a request's line and headers to arrive, and for an answer to be taken.
HEAD_SECONDS: Final = 10.0
# For a cut connection to be gone.
_GONE_SECONDS: Final = 1.0


def allowed(wanted: int) -> int:
    """How many connections there may be: as many as wanted, while descriptors remain for everything else.

    Raises the soft limit of open files as far as that is needed and permitted.
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
    """What a protocol says of its connection once the handshake is done."""

    def waits(self) -> int:
        """0 while a request is being answered, 1 while its body arrives, 2 while the client has nothing to wait for."""

    def abort(self) -> None:
        """Ends the connection at once."""


class Connection(socket.socket):
    """An accepted socket.

    Attributes:
        opened: when, by the loop's clock.
        since: when it began to wait for its client.
        peer: None until the handshake is done.
        cut: when it was cut, 0 while it was not.
    """

    opened = since = cut = 0.0
    peer: Peer | None = None
    deadline: asyncio.TimerHandle | None = None
    on_close: Callable[[Connection], None] | None = None

    def close(self) -> None:
        """Frees the descriptor."""
        done, self.on_close = self.on_close, None
        super().close()
        if done is not None:
            done(self)

    def waits(self) -> int:
        """As of the peer; a handshake is the client's to go on with."""
        return 2 if self.peer is None else self.peer.waits()

    def end(self, now: float) -> None:
        """Cuts it; the socket is closed when the loop comes round."""
        if self.cut:
            return
        self.cut = now
        if self.peer is not None:
            self.peer.abort()
        else:
            with contextlib.suppress(OSError):  # the client has gone by itself
                self.shutdown(socket.SHUT_RDWR)  # the handshake fails by it


class Connections:
    """All connections of one server. Belongs to its loop.

    Args:
        most: at once, beside those for probes.
        refused: called with "connections" or "cut" for every request or connection that is turned away.
    """

    def __init__(self, most: int, refused: Callable[[str], None] = lambda _: None) -> None:
        self.most, self._refused = most, refused
        self._open: dict[int, Connection] = {}

    def __len__(self) -> int:
        """The number of connections, whatever state they are in."""
        return len(self._open)

    def of(self, descriptor: int) -> Connection | None:
        """The connection of a descriptor."""
        return self._open.get(descriptor)

    def accept(self, take: Callable[[], tuple[int, Any]], listener: socket.socket) -> tuple[Connection, Any]:
        """Accepts a connection, as `socket.accept`.

        Args:
            take: gives descriptor and address of the next one.
            listener: that it comes from.

        Raises:
            BlockingIOError: none now, as one that was cut has not gone yet.
            ConnectionAbortedError: it was closed again, as nobody can be cut.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        full = len(self._open) >= self.most + PROBES - 1
        if full and any(one.cut and now - one.cut < _GONE_SECONDS for one in self._open.values()):
            raise BlockingIOError
        descriptor, address = take()  # raises where there is none
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
        """Cuts the one that has waited longest for its client, those before a request first; whether there was any."""
        waiting = [(-one.waits(), one.since, at) for at, one in self._open.items() if not one.cut and one.waits()]
        if not waiting:
            return False
        self.cut(self._open[min(waiting)[2]], now)
        return True

    def cut(self, one: Connection, now: float) -> None:
        """Ends a connection, and counts it."""
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
        """The application, but for requests beyond the limit, which are answered with 503 where they are no probes."""

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


class Listener(socket.socket):
    """A listening socket whose connections are counted."""

    connections: Connections

    def accept(self) -> tuple[Connection, Any]:
        """The next connection; see `Connections.accept`."""
        take: Callable[[], tuple[int, Any]] = self._accept  # type: ignore[attr-defined] # as socket.accept itself does
        return self.connections.accept(take, self)
