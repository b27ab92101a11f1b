"""A TCP proxy that knows Kafka's framing, so that a test can lose, delay or damage chosen requests and answers.

proxy = Proxy(listen_port, target_port)
proxy.answer_rules[END_TXN] = lambda frame: None      # eaten
proxy.request_rules[PRODUCE] = lambda frame: None     # never arrives
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

PRODUCE, FETCH, INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN, TXN_OFFSET_COMMIT = 0, 1, 22, 24, 26, 28

_OUT_OF_ORDER_SEQUENCE = 45

Rule = Callable[[bytes], bytes | None]


def eat(_: bytes) -> None:
    """The frame is lost."""
    return


def eat_first(count: int) -> Rule:
    """The first frames are lost, later ones pass."""
    left = [count]

    def rule(frame: bytes) -> bytes | None:
        left[0] -= 1
        return frame if left[0] < 0 else None

    return rule


def delay(seconds: float) -> Rule:
    """The frame comes later, and what follows it on the same connection too."""

    def rule(frame: bytes) -> bytes:
        time.sleep(seconds)
        return frame

    return rule


def sequence_error(topic: str, after: float = 0.0) -> Rule:
    """Turns the first answer to a produce request into OUT_OF_ORDER_SEQUENCE; the request itself was served."""
    done: list[bool] = []

    def rule(frame: bytes) -> bytes:
        if done:
            return frame
        done.append(True)
        time.sleep(after)
        at = 4 + 4 + 1 + 1 + 1 + len(topic) + 1 + 4  # size, correlation, tags, one topic, its name, one partition
        return frame[:at] + struct.pack(">h", _OUT_OF_ORDER_SEQUENCE) + frame[at + 2 :]

    return rule


class Proxy:
    """Forwards connections until `close`. Rules get a whole frame and return it, another one, or None to lose it."""

    def __init__(self, port: int, target: int) -> None:
        self.answer_rules: dict[int, Rule] = {}
        self.request_rules: dict[int, Rule] = {}
        self.seen: list[int] = []  # api keys of requests, in order
        self._target = target
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", port))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, broker]
                apis: dict[int, int] = {}
                for source, sink, change in ((client, broker, self._request), (broker, client, self._answer)):
                    thread = threading.Thread(target=self._pump, args=(source, sink, change, apis), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _request(self, frame: bytes, apis: dict[int, int]) -> bytes | None:
        api, _, correlation = struct.unpack_from(">hhi", frame, 4)
        apis[correlation] = api
        self.seen.append(api)
        rule = self.request_rules.get(api)
        return frame if rule is None else rule(frame)

    def _answer(self, frame: bytes, apis: dict[int, int]) -> bytes | None:
        (correlation,) = struct.unpack_from(">i", frame, 4)
        rule = self.answer_rules.get(apis.pop(correlation, -1))
        return frame if rule is None else rule(frame)

    def _pump(
        self, source: socket.socket, sink: socket.socket, change: Callable[..., bytes | None], apis: dict
    ) -> None:
        with contextlib.suppress(OSError):
            while (size := _exactly(source, 4)) is not None:
                body = _exactly(source, struct.unpack(">i", size)[0])
                if body is None:
                    break
                frame = change(size + body, apis)
                if frame is not None:
                    sink.sendall(frame)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Ends every connection; new ones are taken."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends everything."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for each in self._sockets:
            each.close()


def _exactly(source: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = source.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)
