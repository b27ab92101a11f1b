"""A connection to a server that is cut at a chosen moment."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Final

_CUT: Final = b"COMMIT\0"  # the end of a simple query


class CuttingProxy:
    """Forwards connections to a server, and cuts one at a statement.

    Attributes:
        cut: "" forwards all; "before": the next COMMIT does not reach the server; "after": its answer does not come
            back; "silent": neither does the end of the connection reach the server, as when a network is cut.
        is_up: whether connections are accepted.
        passing: COMMITs that pass before it is cut.
        cuts: how many were cut.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self.cut, self.is_up, self.passing, self.cuts = "", True, 0, 0
        self._kept: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self._ends = False

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._ends or not self.is_up:
                client.close()
                if self._ends:
                    return
                continue
            self._clients.append(client)
            server = socket.create_connection(("127.0.0.1", self._server))
            self._threads.append(threading.Thread(target=self._forward, args=(client, server)))
            self._threads[-1].start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        how = ""
        with client, contextlib.suppress(OSError):
            while True:
                ready = select.select([client, server], [], [], 60)[0]
                if client in ready:
                    data = client.recv(65536)
                    if not data:
                        break
                    if self.cut and data.endswith(_CUT) and self.passing:
                        self.passing -= 1
                    elif self.cut and data.endswith(_CUT):
                        how, self.cut = self.cut, ""
                        self.cuts += 1
                        if how == "before":
                            break
                    server.sendall(data)
                elif server in ready:
                    data = server.recv(65536)
                    if not data or how:
                        break
                    client.sendall(data)
        if how == "silent":
            self._kept.append(server)
        else:
            server.close()

    def close(self) -> None:
        """Stops accepting, and ends all connections."""
        self._ends = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        for client in self._clients:
            with contextlib.suppress(OSError):  # most are closed
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        for one in self._kept:
            one.close()
