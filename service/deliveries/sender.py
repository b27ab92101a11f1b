"""Sends the deliveries of a spool to its target, in a thread."""

from __future__ import annotations

import random
import threading
from typing import Final

import structlog

from service.backoff import Backoff
from service.deliveries.delivery import RefusedError, Renews, Target, UnavailableError
from service.deliveries.spool import DeliverySpool, SpooledBatch
from service.monitoring.metrics import Metrics
from service.ports import Clock

_log = structlog.get_logger()

_MOST_DEFECTS: Final = 5  # attempts of a batch that the target cannot send, before it counts as refused
_IDLE_SECONDS: Final = 1.0
_LAST_PAUSE_SECONDS: Final = 30.0
_LONGEST_AFTER_SECONDS: Final = 300.0  # a target that asks for more is tried after these


class Sender:
    """Sends batches one after the other; the next is read after the former was acknowledged or refused.

    Args:
        target, spool: open.
        metrics: counts what was sent.
        clock: for the age of the oldest delivery.
    """

    def __init__(self, target: Target, spool: DeliverySpool, metrics: Metrics, clock: Clock) -> None:
        self.target, self.spool, self._metrics, self._clock = target, spool, metrics, clock
        self._backoff = Backoff(_LAST_PAUSE_SECONDS, random.Random(target.name))
        self._closing, self._hurried = threading.Event(), threading.Event()
        self._oldest_ms: int | None = None
        self._unavailable, self._defects = False, 0
        self._thread = threading.Thread(target=self._run, name=f"deliveries {target.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def age(self) -> float:
        """Seconds since the oldest delivery that is not acknowledged was written; 0 without one."""
        oldest = self._oldest_ms
        return 0.0 if oldest is None else max(0.0, (self._clock.wall_ms() - oldest) / 1000)

    def close(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Sends what is left for at most so long, or until `stop` is set; the rest stays in the spool.

        A target that does not answer is not waited for. The thread ends with the request that it is waiting for.
        """
        self._hurried.set()
        deadline = self._clock.monotonic() + seconds
        while (
            self._thread.is_alive() and self.spool.pending_bytes and not self._unavailable
            and not (stop is not None and stop.is_set()) and self._clock.monotonic() < deadline
        ):  # fmt: skip
            self._clock.sleep(0.01)
        self._closing.set()
        self.spool.wake()
        self._thread.join(max(0.5, min(2.0, seconds)))

    def _run(self) -> None:
        while not self._closing.is_set():
            self._renew()
            if not self.spool.wait(_IDLE_SECONDS):
                self._oldest_ms = None
                continue
            if self.target.limit.linger and not self._unavailable:
                self._hurried.wait(self.target.limit.linger)
            try:
                batch = self.spool.read(self.target.limit)
            except OSError as error:
                _log.warning("deliveries cannot be read", target=self.target.name, error=str(error))
                self._closing.wait(self._backoff.next())
                continue
            if batch is not None:
                self._oldest_ms = batch.oldest_ms
                self._send(batch)
        self.target.close()

    def _renew(self) -> None:
        if isinstance(self.target, Renews):
            try:
                self.target.renew()
            except Exception as error:  # noqa: BLE001 - as in `_send`
                _log.warning("alerts not renewed", target=self.target.name, error=f"{type(error).__name__}: {error}")

    def _send(self, batch: SpooledBatch) -> None:
        kind, count, reason = self.target.kind, len(batch.deliveries), ""
        try:
            refused = self.target.send(batch.deliveries)
        except RefusedError as error:
            refused, reason = count, str(error)
        except UnavailableError as error:
            self._retry(str(error), error.after)
            return
        except Exception as error:  # noqa: BLE001 - a defect of one target must not end its thread and fill its spool
            self._defects += 1
            reason = f"{type(error).__name__}: {error}"
            if self._defects < _MOST_DEFECTS:
                self._retry(reason, 0.0)
                return
            refused = count
        if reason:
            _log.warning("deliveries refused", target=self.target.name, count=count, error=reason)
        self.spool.acknowledge(batch)
        self._backoff.reset()
        self._defects = 0
        if self._unavailable:
            self._unavailable = False
            _log.info("deliveries accepted again", target=self.target.name)
        self._metrics.deliveries_sent.labels(kind).inc(count - refused)
        self._metrics.deliveries_refused.labels(kind).inc(refused)

    def _retry(self, reason: str, after: float) -> None:
        self._metrics.delivery_failures.labels(self.target.kind).inc()
        if not self._unavailable:
            _log.warning("deliveries wait for their target", target=self.target.name, error=reason)
        self._unavailable = True
        self._closing.wait(max(min(after, _LONGEST_AFTER_SECONDS), self._backoff.next()))
