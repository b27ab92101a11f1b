"""Serves an ASGI application from a thread; a failure to start is the caller's to know."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp

from service.errors import ServiceError

# Binding has already happened; what is left is the event loop's start.
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 3.0


class HttpError(ServiceError):
    """The HTTP face could not be started."""


class HttpServer:
    """The server.

    Args:
        app: what it serves.
        host: address to listen on.
        port: 0 for any free one.

    Attributes:
        url: where it listens, once started.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.url = ""
        self._host, self._port = host, port
        self._socket: socket.socket | None = None
        self._server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", ws="none",
                timeout_graceful_shutdown=1, timeout_keep_alive=5,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> str:
        """Binds in the caller's thread, then serves from another.

        Returns:
            The URL, with the port that was taken.

        Raises:
            HttpError: the address cannot be had; says which and what to do.
        """
        try:
            family = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.socket(family)
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
            msg = f"the HTTP server on {host}:{port} did not start: {self._failure or 'no sign of life'}"
            raise HttpError(msg) from self._failure
        self.url = f"http://{host}:{port}"
        return self.url

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket] if self._socket else None)
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that started this one
            self._failure = error
        finally:
            self._server.up.set()

    def close(self) -> None:
        """Stops serving and frees the port. May be called twice, and without a start."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        """Starts."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes."""
        self.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is up and leaves the process's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells the thread that waits."""
        await super().startup(sockets)
        self.up.set()
