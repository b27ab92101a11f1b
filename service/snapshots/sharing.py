"""Shares snapshots between machines: uploads them periodically, and downloads one where a partition is taken over.

Failures of sharing are logged and counted, and the state is computed from the input instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import structlog

from service.errors import SourceGoneError
from service.monitoring.metrics import Metrics
from service.ports import Clock

_log = structlog.get_logger()


class Exchange(Protocol):
    """Storage of shared snapshots. Its calls may raise any exception."""

    def offer(self, partition: str, position: int, path: Path) -> None:
        """Uploads a copy; it replaces the previous one atomically."""

    def newest(self, partition: str) -> int | None:
        """Returns the position of the newest complete copy."""

    def fetch(self, partition: str) -> bytes | None:
        """Returns its bytes, verified.

        Raises:
            SourceGoneError: they are lost, so that asking again does not help.
        """


class SharedSnapshots:
    """Decides when to upload and when to download snapshots.

    Args:
        exchange: the storage.
        every: seconds between two uploads of a partition.
        metrics: the metrics to update.
        clock: measures `every`.
    """

    def __init__(self, exchange: Exchange, every: float, metrics: Metrics, clock: Clock) -> None:
        self._exchange, self._every, self._metrics, self._clock = exchange, every, metrics, clock
        self._shared_at: dict[str, float] = {}
        self._offered: dict[str, int] = {}

    def offered(self, partition: str) -> int | None:
        """Returns the position of the newest copy that this process has uploaded; None for none."""
        return self._offered.get(partition)

    def due(self, partition: str) -> bool:
        """Returns whether the next upload is due."""
        return self._clock.monotonic() - self._shared_at.get(partition, -self._every) >= self._every

    def offer(self, partition: str, position: int, path: Path) -> None:
        """Uploads a full snapshot that was just written, if due. An incremental one would need its base, too."""
        now = self._clock.monotonic()
        if not self.due(partition):
            return
        try:
            self._exchange.offer(partition, position, path)
        except Exception as error:  # noqa: BLE001 - the local snapshot is not affected, and the upload is retried
            self._metrics.snapshot_share_failures.inc()
            _log.warning("snapshot not shared", partition=partition, position=position, error=str(error))
            return
        self._shared_at[partition], self._offered[partition] = now, position
        self._metrics.snapshots_shared.inc()

    def bring(self, partition: str, here: int, committed: int, folder: Path) -> bool:
        """Downloads the shared snapshot to `folder` if it is closer to the committed position than the local ones.

        Args:
            partition: the partition.
            here: position of the newest local snapshot that is not ahead, -1 for none.
            committed: the committed position; snapshots ahead of it are useless.
            folder: folder of the partition's snapshots.

        Returns:
            Whether the storage answered, also that the bytes are lost; else there may be one that is closer.
        """
        position: int | None = None
        try:
            position = self._exchange.newest(partition)
            if position is None or not here < position <= committed:
                return True
            data = self._exchange.fetch(partition)
        except Exception as error:  # noqa: BLE001 - the state can be computed from the input
            self._metrics.snapshot_share_failures.inc()
            _log.warning("shared snapshot not read", partition=partition, error=str(error))
            return position is not None and isinstance(error, SourceGoneError)
        if data is None:
            return True
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{position:020d}.snapshot"
        path.with_suffix(".received").write_bytes(data)
        path.with_suffix(".received").replace(path)  # verified again when it is read, like every snapshot
        self._metrics.snapshots_fetched.inc()
        _log.info("shared snapshot of another machine used", partition=partition, position=position, bytes=len(data))
        return True
