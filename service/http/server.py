"""Serves an ASGI application from a thread; start() raises if it cannot start."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Final, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.errors import ServiceError
from service.http import connections
from service.http.connections import Connection, Connections, ListeningSocket

# Time limit for the start of the event loop; the socket is bound before.
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 3.0
# Largest size of a request's line and headers.
_HEAD_BYTES: Final = 16_384
# Consecutive deadlines without progress in sending an answer, after which the connection is closed.
_STUCK: Final = 3


class HttpError(ServiceError):
    """The HTTP server could not be started."""


class HttpServer:
    """The HTTP server.

    Args:
        app: the application to serve.
        host: address to listen on.
        port: port to listen on; 0 for any free port.
        tls: the TLS context; None for plain HTTP.
        max_connections: largest number of connections; reduced where the limit of open files is too low. See
            `connections`.
        refused: called with the reason for every request or connection that is refused here.

    Attributes:
        url: URL of the server, once started.
        connections: the open connections.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 100,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.url = ""
        self._scheme = "http" if tls is None else "https"
        self._host, self._port = host, port
        self._socket: ListeningSocket | None = None
        self.connections = Connections(connections.allowed(max_connections), refused)

        class Served(_Protocol):
            gate = self.connections

        factory = None if tls is None else (lambda *_: tls)
        self._server = _Server(
            uvicorn.Config(
                self.connections.around(app), log_config=None, access_log=False, lifespan="off", ws="none",
                http=Served, loop="asyncio", server_header=False, proxy_headers=False,
                h11_max_incomplete_event_size=_HEAD_BYTES, timeout_graceful_shutdown=1, timeout_keep_alive=5,
                ssl_context_factory=factory,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> str:
        """Binds in the calling thread, then serves from another one.

        Returns:
            The URL, with the actual port.

        Raises:
            HttpError: the address is not available; the message says what to do.
        """
        try:
            family = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0][0]
            # With the protocol set explicitly, asyncio sets TCP_NODELAY, so that it does not wait 40 ms for an
            # acknowledgement between head and body of an answer; it does not for sockets of "any" protocol.
            self._socket = ListeningSocket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            self._socket.connections = self.connections
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((self._host, self._port))
        except OSError as error:
            self.close()
            msg = (
                f"cannot listen on {self._host}:{self._port} ({error.strerror or error}); "
                "set http.host and http.port to a free address (port 0 takes any free port)"
            )
            raise HttpError(msg) from error
        port = self._socket.getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._thread.start()
        if not self._server.up.wait(_START_SECONDS) or self._failure is not None:
            self.close()
            msg = f"the HTTP server on {host}:{port} did not start: {self._failure or 'timeout'}"
            raise HttpError(msg) from self._failure
        self.url = f"{self._scheme}://{host}:{port}"
        return self.url

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket] if self._socket else None)
        except BaseException as error:  # noqa: BLE001 - passed on to the thread that started this one
            self._failure = error
        finally:
            self._server.up.set()

    def close(self) -> None:
        """Stops serving and closes the port. May be called twice, and without a start."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        """Starts the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the server."""
        self.close()


class _Protocol(H11Protocol):
    """uvicorn's protocol, which also closes connections of clients that are too slow.

    A deadline runs while no request is being answered: from the accept of a connection until the end of the headers,
    then from the end of every answer. Single bytes do not extend it. Where the client has not read an answer by then,
    the deadline is extended as long as the client makes progress. The guard and the event streams limit the times while
    a request is being answered.
    """

    gate: ClassVar[Connections]
    _deadline: asyncio.TimerHandle | None = None
    _connection: Connection | None = None
    _untaken, _stuck = 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Registers a new connection after its handshake, and waits for headers."""
        super().connection_made(transport)
        made = transport.get_extra_info("socket")
        self._connection = None if made is None else self.gate.of(made.fileno())
        if self._connection is not None:
            self._connection.peer = self
        self._watch(None if self._connection is None else self._connection.opened)

    def data_received(self, data: bytes) -> None:
        """Handles received bytes, which may complete the headers."""
        super().data_received(data)
        if self.waits() < 2:
            self._unwatch()

    def on_response_complete(self) -> None:
        """Handles the end of an answer; the next request may have been received already."""
        super().on_response_complete()
        if self.waits() == 2:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handles the end of the connection."""
        self._unwatch()
        super().connection_lost(exc)

    def waits(self) -> int:
        """See `connections.Peer`."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return 2
        return int(cycle.more_body)

    def abort(self) -> None:
        """Closes the connection at once."""
        self.transport.abort()

    def _watch(self, since: float | None = None) -> None:
        self._unwatch()
        now = self.loop.time()
        if self._connection is not None:
            self._connection.since = now if since is None else since
        self._untaken, self._stuck = self.transport.get_write_buffer_size(), 0
        self._deadline = self.loop.call_at((now if since is None else since) + connections.HEAD_SECONDS, self._late)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        untaken = self.transport.get_write_buffer_size()
        if untaken:
            self._stuck = 0 if untaken < self._untaken else self._stuck + 1
            if self._stuck < _STUCK:
                self._untaken = untaken
                self._deadline = self.loop.call_later(connections.HEAD_SECONDS, self._late)
                return
        self._deadline = None
        if self._connection is not None:
            self.gate.cut(self._connection, self.loop.time())
        else:
            self.abort()


class _Server(uvicorn.Server):
    """uvicorn's server, which signals when it is up and does not change the process's signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and notifies the waiting thread."""
        await super().startup(sockets)
        self.up.set()
