"""Server-sent events to a bounded number of clients.

    engine's thread -> inbox (bounded) -> server's event loop -> a queue per client (bounded) -> its connection

No part waits for another: messages beyond a bound are dropped and counted, and the next message to that client has the
number of dropped ones. A connection whose client reads nothing for half a minute is closed.
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
_QUEUE: Final = 256  # messages per client
_TICK_SECONDS: Final = 1.0  # between two status messages
_STUCK_SECONDS: Final = 30.0


class Subscriber:
    """The subscription of one client. Used in the server's event loop only.

    Args:
        series: subscribed series. partition: their partition, "" for any.
    """

    def __init__(self, series: Sequence[str], partition: str) -> None:
        self.unresolved, self.partition = list(series), partition
        self.keys: set[SeriesKey] = set()
        self.lost = 0
        self.awake = asyncio.Event()
        self._queue: deque[bytes] = deque()

    def put(self, message: bytes) -> int:
        """Queues a message; returns the number of messages dropped, 0 or 1."""
        if len(self._queue) >= _QUEUE:
            self.lost += 1
            return 1
        self._queue.append(message)
        self.awake.set()
        return 0

    def take(self) -> bytes:
        """Returns and clears the queue, followed by a `lost` message where messages were dropped."""
        found = b"".join(self._queue)
        self._queue.clear()
        self.awake.clear()
        if self.lost:
            found += message("lost", {"messages": self.lost})
            self.lost = 0
        return found


def message(kind: str, data: Any) -> bytes:
    """Formats a server-sent event."""
    found = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), found)


class Hub:
    """The subscriptions of all clients.

    Args:
        live: reports updates of the recorded events.
        status: returns the status for the periodic messages.
        limit: largest number of clients.
        metrics: the metrics to update.
    """

    def __init__(self, live: RecentStore, status: Callable[[], BaseModel], limit: int, metrics: Metrics) -> None:
        self._live, self._status, self._limit, self._metrics = live, status, limit, metrics
        self._listeners: set[Subscriber] = set()
        self._lock = threading.Lock()
        self._inbox: deque[BatchUpdate] = deque()
        self._missed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    # In the engine's thread ----------------------------------------------------------------------------------

    def _on_update(self, update: BatchUpdate) -> None:
        with self._lock:
            if len(self._inbox) >= _INBOX:
                self._missed += len(update.series) + len(update.anomalies)
                return
            self._inbox.append(update)
            first = len(self._inbox) == 1
        if first and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has stopped
                self._loop.call_soon_threadsafe(self._drain)

    def close(self) -> None:
        """Ends all subscriptions. May be called from any thread."""
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
        for update in found:
            self._spread(update)

    def _spread(self, update: BatchUpdate) -> None:
        lost = 0
        for one in update.anomalies:
            payload = message("anomaly", views.anomaly_row(one).model_dump())
            lost += sum(listener.put(payload) for listener in self._listeners)
        subscribed = {key for listener in self._listeners for key in listener.keys}
        for at, series in enumerate(update.series):
            key = update.partition, series
            if key in subscribed:
                payload = _event(update, at)
                lost += sum(listener.put(payload) for listener in self._listeners if key in listener.keys)
        if update.lost:
            for listener in self._listeners:
                if any(partition == update.partition for partition, _ in listener.keys):
                    listener.lost += update.lost
                    lost += update.lost
        self._metrics.stream_dropped.inc(lost)

    def join(self, series: Sequence[str], partition: str) -> Subscriber:
        """Creates a subscription.

        Raises:
            RequestError: there are too many clients, or no slot is left for the series.
        """
        if len(self._listeners) >= self._limit:
            msg = f"got {len(self._listeners)} clients already, expected at most {self._limit} (http.stream_clients)"
            raise RequestError(503, "too_many", msg, retry=5)
        self._loop = asyncio.get_running_loop()
        listener = Subscriber(list(dict.fromkeys(series)), partition)
        if not self._resolve(listener):
            self._live.leave(list(listener.keys))
            msg = "all slots are in use; raise http.recent_series, or subscribe to fewer series"
            raise RequestError(503, "too_many", msg, retry=5)
        self._listeners.add(listener)
        self._live.listener = self._on_update
        self._metrics.stream_clients.set(len(self._listeners))
        return listener

    def _resolve(self, listener: Subscriber) -> bool:
        """Resolves series that have appeared since; returns whether all known series have a slot."""
        found = [(self._live.partition_of(one, listener.partition), one) for one in listener.unresolved]
        listener.unresolved = [one for partition, one in found if partition is None]
        new = [(partition, one) for partition, one in found if partition is not None]
        listener.keys.update(new)
        return self._live.listen(new)

    def leave(self, listener: Subscriber) -> None:
        """Removes the subscription of a client that has disconnected."""
        self._listeners.discard(listener)
        self._live.leave(list(listener.keys))
        if not self._listeners:
            self._live.listener = None
        self._metrics.stream_clients.set(len(self._listeners))

    async def serve(self, listener: Subscriber, gone: asyncio.Future[None], send: Send) -> None:
        """Sends messages until the client or the hub has gone, or the client stops reading."""
        loop, tick = asyncio.get_running_loop(), 0.0
        while not gone.done() and not self._closed:
            payload = b""
            if loop.time() >= tick:
                tick, known = loop.time() + _TICK_SECONDS, len(listener.keys)
                self._resolve(listener)
                if len(listener.keys) > known:  # a series appeared; its first events were not sent
                    listener.put(message("lost", {"messages": 0}))
                payload = b"event: status\ndata: %s\n\n" % self._status().model_dump_json().encode()
            payload = listener.take() + payload
            if payload:
                async with asyncio.timeout(_STUCK_SECONDS):
                    await send({"type": "http.response.body", "body": payload, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, tick - loop.time())):
                    await listener.awake.wait()


def _event(update: BatchUpdate, at: int) -> bytes:
    column = {name: column[at].item() for name, column in update.columns.items()}
    data = {
        "series": update.series[at],
        "partition": update.partition,
        "timestamp_ms": column["timestamp_ms"],
        "value": views.number(column["value"]),
        "anomaly": views.number(column["anomaly"]),
        "flagged": column["flagged"],
        "position": column["position"],
        "forecast": None,
    }
    if np.isfinite(update.quantiles[at]).all():
        data["forecast"] = {
            "origin_ms": column["timestamp_ms"],
            "interval_ms": column["interval_ms"],
            **views.steps_ahead(
                column["timestamp_ms"],
                column["interval_ms"],
                column["calendar"],
                update.quantiles.shape[1],
                update.timezone,
            ),
            "levels": update.levels,
            "quantiles": printable(update.quantiles[at : at + 1])[0],
            "model": update.model,
        }
    return message("event", data)


class EventStream(Response):
    """The response of a subscription.

    It subscribes when it is created, so that a refusal is a normal error response.
    """

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, series: Sequence[str], partition: str) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._listener = hub, hub.join(series, partition)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the client disconnects or the server stops."""
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: self._listener.awake.set())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._hub.serve(self._listener, gone, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, OSError):
            pass  # the client stopped reading or disconnected; the server closes the connection
        finally:
            gone.cancel()
            self._hub.leave(self._listener)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
