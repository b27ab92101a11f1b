"""Writes snapshots in a background thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from service.monitoring.metrics import Metrics
from service.ports import Clock
from service.snapshots.file import Snapshot
from service.snapshots.store import SnapshotStore

_log = structlog.get_logger()

_LONGEST_PAUSE_SECONDS: Final = 0.1


class SnapshotWriter:
    """Writes snapshots in a background thread, one request at a time, so that the engine continues.

    Args:
        store: the store to write to.
        metrics: export duration, time and failures.
        clock: measures them.
        before: called before a request is written; makes durable what a replay from it does not repeat.
    """

    def __init__(
        self, store: SnapshotStore, metrics: Metrics, clock: Clock, before: Callable[[], None] = lambda: None
    ) -> None:
        self.store, self._metrics, self._clock, self._before = store, metrics, clock, before
        self._thread: threading.Thread | None = None
        self._hurried = threading.Event()
        self._worked_until = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is being written."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, snapshots: Sequence[Snapshot]) -> bool:
        """Starts writing; returns False and does nothing while the previous request is being written."""
        if self.busy:
            return False
        self._hurried.clear()
        self._worked_until = 0.0  # processor time of the new thread
        self._thread = threading.Thread(
            target=self.write_now, args=(snapshots, self._pause), name="snapshots", daemon=True
        )
        self._thread.start()
        return True

    def _pause(self) -> None:
        """Sleeps as long as it was computing, so that the engine runs at half speed or more on a single core."""
        worked = time.thread_time() - self._worked_until
        if not self._hurried.is_set():
            self._hurried.wait(min(worked, _LONGEST_PAUSE_SECONDS))
        self._worked_until = time.thread_time()

    def wait(self) -> None:
        """Waits until nothing is being written, without further pauses."""
        if self._thread is not None:
            self._hurried.set()
            self._thread.join()

    def write_now(self, snapshots: Iterable[Snapshot], pause: Callable[[], None] = lambda: None) -> bool:
        """Writes in the caller's thread. A failure is logged and counted; older snapshots stay.

        Args:
            snapshots: captured snapshots.
            pause: called between blocks.

        Returns:
            Whether all were written.
        """
        try:
            self._before()
        except OSError as error:
            self._metrics.snapshot_failures.inc()
            _log.warning("snapshots not written", error=str(error))
            return False
        complete = True
        for snapshot in snapshots:
            started = self._clock.monotonic()
            try:
                path = self.store.write(snapshot, pause)
                size = path.stat().st_size
            except OSError as error:
                complete = False
                self._metrics.snapshot_failures.inc()
                _log.warning("snapshot not written", partition=snapshot.partition, error=str(error))
                continue
            now = self._clock.wall_ms() / 1000
            seconds = self._clock.monotonic() - started
            self._metrics.snapshot_written(snapshot.partition, snapshot.kind, size, seconds, now)
        return complete
