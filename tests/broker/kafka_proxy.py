"""A TCP proxy that parses Kafka's framing, so that a test can lose, delay or damage chosen requests and answers.

proxy = Proxy(listen_port, target_port)
proxy.answer_rules[END_TXN] = lambda frame: None      # lost
proxy.request_rules[PRODUCE] = lambda frame: None     # never arrives; a rule that raises OSError ends the connection
late = Late(proxy, END_TXN)                           # arrives when the next transaction has begun
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
    """Drops the frame."""
    return


def eat_first(count: int) -> Rule:
    """Returns a rule that drops the first `count` frames and forwards later ones."""
    left = [count]

    def rule(frame: bytes) -> bytes | None:
        left[0] -= 1
        return frame if left[0] < 0 else None

    return rule


class CutFirst:
    """Rule that ends the connection instead of forwarding one of the first frames; records the time of every frame."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.times: list[float] = []

    def __call__(self, frame: bytes) -> bytes:
        """Applies the rule to a frame."""
        self.times.append(time.monotonic())
        self._left -= 1
        if self._left >= 0:
            raise ConnectionResetError
        return frame


def delay(seconds: float) -> Rule:
    """Returns a rule that delays the frame and everything after it on the same connection."""

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


class Late:
    """Holds a request until its retry was answered and an answer of the API `after` is due, then delivers it.

    This reproduces a network that delays a packet: the retry is served first, and the original arrives in the middle of
    a later exchange.

    Args:
        proxy: proxy between client and broker.
        api: API key of the held request.
        after: API key of the answer that triggers the delivery, which precedes it.
        cut: end the client's connection at once instead of leaving the first copy unanswered.
    """

    def __init__(self, proxy: Proxy, api: int, after: int = PRODUCE, *, cut: bool = False) -> None:
        self._proxy, self._cut = proxy, cut
        self._held: bytes | None = None
        self._repeated = self._answered = False
        self.delivered = threading.Event()
        proxy.request_rules[api] = self._request
        proxy.answer_rules[api] = self._answer
        proxy.answer_rules[after] = self._deliver

    def _request(self, frame: bytes) -> bytes | None:
        if self._held is not None:
            self._repeated = True
            return frame
        self._held = frame
        if self._cut:
            raise ConnectionResetError
        return None

    def _answer(self, frame: bytes) -> bytes:
        self._answered = self._answered or self._repeated
        return frame

    def _deliver(self, frame: bytes) -> bytes:
        if self._answered and self._held is not None and not self.delivered.is_set():
            self._proxy.exchange(self._held)
            self.delivered.set()
        return frame


class Proxy:
    """Forwards connections until `close`. A rule gets a whole frame and returns a frame, or None to drop it."""

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

    def exchange(self, frame: bytes) -> bytes | None:
        """Sends a request to the broker on a separate connection; returns the answer without its size."""
        with socket.create_connection(("127.0.0.1", self._target), timeout=10) as broker:
            broker.sendall(frame)
            size = _exactly(broker, 4)
            return None if size is None else _exactly(broker, struct.unpack(">i", size)[0])

    def cut(self) -> None:
        """Ends every connection; accepts new ones."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends all connections and the listener."""
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
