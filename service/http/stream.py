"""Server-sent events: what happens, as it happens, to a bounded number of listeners.

    engine's thread -> inbox (bounded) -> server's loop -> a queue per listener (bounded) -> its connection

Nobody waits for anybody: what does not fit is dropped and counted, and the listener that missed it is told how many
messages, before the next one. One that takes nothing for half a minute is hung up on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import orjson
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.http import views
from service.http.views import RequestError
from service.messages.digits import printable
from service.monitoring.metrics import Metrics
from service.publication import SeriesKey
from service.recent import BatchUpdate, RecentStore

_INBOX: Final = 64  # batches
_QUEUE: Final = 256  # messages of one listener
_TICK_SECONDS: Final = 1.0  # between two words on the status
_STUCK_SECONDS: Final = 30.0


class Listener:
    """One listener. Belongs to the server's loop.

    Args:
        series: that it wants to hear of. partition: of them, "" for any.
    """

    def __init__(self, series: Sequence[str], partition: str) -> None:
        self.unresolved, self.partition = list(series), partition
        self.keys: set[SeriesKey] = set()
        self.lost = 0
        self.awake = asyncio.Event()
        self._queue: deque[bytes] = deque()

    def put(self, message: bytes) -> int:
        """Queues a message; how many were lost by that."""
        if len(self._queue) >= _QUEUE:
            self.lost += 1
            return 1
        self._queue.append(message)
        self.awake.set()
        return 0

    def take(self) -> bytes:
        """Everything that is queued, after a word on what is missing before it."""
        found = b"".join(self._queue)
        self._queue.clear()
        self.awake.clear()
        if self.lost:
            found += message("lost", {"messages": self.lost})
            self.lost = 0
        return found


def message(kind: str, data: Any) -> bytes:
    """As it is sent."""
    found = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), found)


class Hub:
    """All listeners.

    Args:
        live: tells what stirs.
        status: what ticks.
        limit: listeners at once.
        metrics: where they are counted.
    """

    def __init__(self, live: RecentStore, status: Callable[[], BaseModel], limit: int, metrics: Metrics) -> None:
        self._live, self._status, self._limit, self._metrics = live, status, limit, metrics
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        self._inbox: deque[BatchUpdate] = deque()
        self._missed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    # In the engine's thread ----------------------------------------------------------------------------------

    def _heard(self, stirring: BatchUpdate) -> None:
        with self._lock:
            if len(self._inbox) >= _INBOX:
                self._missed += len(stirring.series) + len(stirring.anomalies)
                return
            self._inbox.append(stirring)
            first = len(self._inbox) == 1
        if first and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has stopped meanwhile
                self._loop.call_soon_threadsafe(self._drain)

    def close(self) -> None:
        """Lets all listeners go. From any thread."""
        self._closed = True
        self._live.listener = None
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # as above
                self._loop.call_soon_threadsafe(self._wake)

    # In the server's loop ------------------------------------------------------------------------------------

    def _wake(self) -> None:
        for listener in self._listeners:
            listener.awake.set()

    def _drain(self) -> None:
        with self._lock:
            found, self._inbox, missed, self._missed = self._inbox, deque(), self._missed, 0
        for listener in self._listeners if missed else ():
            listener.lost += missed
            self._metrics.stream_dropped.inc(missed)
        for stirring in found:
            self._spread(stirring)

    def _spread(self, stirring: BatchUpdate) -> None:
        lost = 0
        for one in stirring.anomalies:
            told = message("anomaly", views.anomaly_row(one).model_dump())
            lost += sum(listener.put(told) for listener in self._listeners)
        heard = {key for listener in self._listeners for key in listener.keys}
        for at, series in enumerate(stirring.series):
            key = stirring.partition, series
            if key in heard:
                told = _event(stirring, at)
                lost += sum(listener.put(told) for listener in self._listeners if key in listener.keys)
        if stirring.lost:
            for listener in self._listeners:
                if any(partition == stirring.partition for partition, _ in listener.keys):
                    listener.lost += stirring.lost
                    lost += stirring.lost
        self._metrics.stream_dropped.inc(lost)

    def join(self, series: Sequence[str], partition: str) -> Listener:
        """A new listener.

        Raises:
            RequestError: there are too many, or no place is left for what it wants to hear of.
        """
        if len(self._listeners) >= self._limit:
            msg = f"got {len(self._listeners)} listeners already, expected at most {self._limit} (http.stream_clients)"
            raise RequestError(503, "too_many", msg, retry=5)
        self._loop = asyncio.get_running_loop()
        listener = Listener(list(dict.fromkeys(series)), partition)
        if not self._resolve(listener):
            self._live.leave(list(listener.keys))
            msg = "all places are listened to; raise http.recent_series, or listen to fewer series"
            raise RequestError(503, "too_many", msg, retry=5)
        self._listeners.add(listener)
        self._live.listener = self._heard
        self._metrics.stream_clients.set(len(self._listeners))
        return listener

    def _resolve(self, listener: Listener) -> bool:
        """Finds series that have come since; whether all that are known have a place."""
        found = [(self._live.partition_of(one, listener.partition), one) for one in listener.unresolved]
        listener.unresolved = [one for partition, one in found if partition is None]
        new = [(partition, one) for partition, one in found if partition is not None]
        listener.keys.update(new)
        return self._live.listen(new)

    def leave(self, listener: Listener) -> None:
        """It has gone."""
        self._listeners.discard(listener)
        self._live.leave(list(listener.keys))
        if not self._listeners:
            self._live.listener = None
        self._metrics.stream_clients.set(len(self._listeners))

    async def serve(self, listener: Listener, gone: asyncio.Future[None], send: Send) -> None:
        """Sends until the listener or the hub has gone, or nothing is taken any more."""
        loop, tick = asyncio.get_running_loop(), 0.0
        while not gone.done() and not self._closed:
            told = b""
            if loop.time() >= tick:
                tick, known = loop.time() + _TICK_SECONDS, len(listener.keys)
                self._resolve(listener)
                if len(listener.keys) > known:  # it has come since: what came first was told to nobody
                    listener.put(message("lost", {"messages": 0}))
                told = b"event: status\ndata: %s\n\n" % self._status().model_dump_json().encode()
            told = listener.take() + told
            if told:
                async with asyncio.timeout(_STUCK_SECONDS):
                    await send({"type": "http.response.body", "body": told, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, tick - loop.time())):
                    await listener.awake.wait()


def _event(stirring: BatchUpdate, at: int) -> bytes:
    column = {name: column[at].item() for name, column in stirring.columns.items()}
    data = {
        "series": stirring.series[at],
        "partition": stirring.partition,
        "timestamp_ms": column["timestamp_ms"],
        "value": views.number(column["value"]),
        "anomaly": views.number(column["anomaly"]),
        "flagged": column["flagged"],
        "position": column["position"],
        "forecast": None,
    }
    if np.isfinite(stirring.quantiles[at]).all():
        data["forecast"] = {
            "origin_ms": column["timestamp_ms"],
            "interval_ms": column["interval_ms"],
            **views.steps_ahead(
                column["timestamp_ms"],
                column["interval_ms"],
                column["calendar"],
                stirring.quantiles.shape[1],
                stirring.timezone,
            ),
            "levels": stirring.levels,
            "quantiles": printable(stirring.quantiles[at : at + 1])[0],
            "model": stirring.model,
        }
    return message("event", data)


class EventStream(Response):
    """The answer to a listener; it joins when the answer is made, so that a refusal is an answer of its own."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, series: Sequence[str], partition: str) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._listener = hub, hub.join(series, partition)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answers until one of the two has enough."""
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: self._listener.awake.set())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._hub.serve(self._listener, gone, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, OSError):
            pass  # it took nothing for long, or is not there any more: the server closes the connection
        finally:
            gone.cancel()
            self._hub.leave(self._listener)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
