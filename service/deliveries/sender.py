"""Sends the deliveries of a spool to its target, in a thread."""

from __future__ import annotations

import random
import threading
from typing import Final

import structlog

from service.backoff import Backoff
from service.deliveries.delivery import RefusedError, Renews, SendResult, Target, UnavailableError
from service.deliveries.division import Division
from service.deliveries.spool import DeliverySpool, SpooledBatch
from service.monitoring.metrics import Metrics
from service.ports import Clock

_log = structlog.get_logger()

_MOST_DEFECTS: Final = 5  # attempts of a batch that the target cannot send, before it counts as refused
_IDLE_SECONDS: Final = 1.0
_LAST_PAUSE_SECONDS: Final = 30.0
_LONGEST_AFTER_SECONDS: Final = 300.0  # a target that asks for more is tried after these
DIVIDED_SECONDS: Final = 0.01
"""From one request to the next while a target refuses some: a hundred requests a second at most."""


class Sender:
    """Sends batches one after the other; the next is read after the former was acknowledged or refused.

    Of a target that `divides`, every delivery is sent that it accepts alone, and every other one counted once.

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
        self._unavailable, self._defects, self._is_renewed = False, 0, True
        self._division, self._next_at = Division(target.limit.deliveries), 0.0
        self._thread = threading.Thread(target=self._run, name=f"deliveries {target.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def age(self) -> float:
        """Seconds since the oldest delivery that is not acknowledged was written; 0 without one."""
        oldest = self._oldest_ms
        return 0.0 if oldest is None else max(0.0, (self._clock.wall_ms() - oldest) / 1000)

    def hurry(self) -> None:
        """Requests that batches are not collected any more, as the daemon ends."""
        self._hurried.set()
        self.spool.wake()

    @property
    def is_busy(self) -> bool:
        """Whether there is something to send to a target that answers."""
        has_news = isinstance(self.target, Renews) and self.target.has_news and self._is_renewed
        return self._thread.is_alive() and not self._unavailable and (self.spool.pending_bytes > 0 or has_news)

    def end(self) -> None:
        """Requests that the thread ends with the request that it is waiting for; what is left stays in the spool."""
        self._closing.set()
        self._hurried.set()
        self.spool.wake()

    def join(self, seconds: float) -> None:
        """Waits for the end of the thread, at most so long; call `end` first."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._renew()
            if not self.spool.wait(_IDLE_SECONDS):
                self._oldest_ms = None
                continue
            if self.target.limit.linger and not self._unavailable:
                self._hurried.wait(self.target.limit.linger)
            if self._division.is_on:
                self._closing.wait(max(0.0, self._next_at - self._clock.monotonic()))
                self._next_at = self._clock.monotonic() + DIVIDED_SECONDS
            try:
                batch = self.spool.read(self.target.limit._replace(deliveries=self._division.size))
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
                self._is_renewed = True
            except Exception as error:  # noqa: BLE001 - as in `_send`
                self._is_renewed = False
                _log.warning("alerts not renewed", target=self.target.name, error=f"{type(error).__name__}: {error}")

    def _send(self, batch: SpooledBatch) -> None:
        try:
            found = self.target.send(batch.deliveries)
        except RefusedError as error:
            self._refuse(batch, str(error))
        except UnavailableError as error:
            self._retry(str(error), error.after)
        except Exception as error:  # noqa: BLE001 - a defect of one target must not end its thread and fill its spool
            self._defects += 1
            reason = f"{type(error).__name__}: {error}"
            if self._defects < _MOST_DEFECTS and not self._division.is_on:
                self._retry(reason, 0.0)
            else:
                self._refuse(batch, reason)
        else:
            self._division.accept(len(batch.deliveries))
            self._acknowledge(batch, found)

    def _refuse(self, batch: SpooledBatch, reason: str) -> None:
        """Divides a batch that was refused, or counts it as refused where it cannot be divided."""
        count = len(batch.deliveries)
        if not self.target.divides:
            self._acknowledge(batch, SendResult(refused=count), reason)
            return
        self._division.refuse(count)
        if count == 1:
            self._acknowledge(batch, SendResult(refused=count), reason)
        else:
            self.spool.divide(batch)

    def _acknowledge(self, batch: SpooledBatch, found: SendResult, reason: str = "") -> None:
        """Notes that a target is done with a batch; counts and logs what was not accepted."""
        kind, count, name = self.target.kind, len(batch.deliveries), self.target.name
        if reason:
            first = batch.deliveries[0].identity
            _log.warning("deliveries refused", target=name, count=count, first=first, error=reason)
        if found.expired:
            _log.info("deliveries expired", target=name, count=found.expired)
        self.spool.acknowledge(batch)
        self._backoff.reset()
        self._defects = 0
        if self._unavailable:
            self._unavailable = False
            _log.info("deliveries accepted again", target=self.target.name)
        self._metrics.deliveries_sent.labels(kind).inc(count - found.refused - found.expired)
        self._metrics.deliveries_refused.labels(kind).inc(found.refused)
        self._metrics.deliveries_expired.labels(kind).inc(found.expired)

    def _retry(self, reason: str, after: float) -> None:
        self._metrics.delivery_failures.labels(self.target.kind).inc()
        if not self._unavailable:
            _log.warning("deliveries wait for their target", target=self.target.name, error=reason)
        self._unavailable = True
        self._closing.wait(max(min(after, _LONGEST_AFTER_SECONDS), self._backoff.next()))
