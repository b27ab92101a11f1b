"""Snapshots that machines share: copied out now and then, and brought in where a partition is taken over.

Sharing never stands in the way: what fails is logged and counted, and the state is computed from the input instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import structlog

from service.monitoring.metrics import Metrics
from service.ports import Clock

_log = structlog.get_logger()


class Exchange(Protocol):
    """Where snapshots are left for others. Its calls may raise anything."""

    def offer(self, partition: str, position: int, path: Path) -> None:
        """Leaves a copy; it takes the place of the one before as a whole or not at all."""

    def newest(self, partition: str) -> int | None:
        """Position of the newest whole one."""

    def fetch(self, partition: str) -> bytes | None:
        """Its bytes, verified."""


class SharedSnapshots:
    """Decides when to share, and when to take.

    Args:
        exchange: where.
        every: seconds between two copies of a partition.
        metrics: where it counts.
        clock: for `every`.
    """

    def __init__(self, exchange: Exchange, every: float, metrics: Metrics, clock: Clock) -> None:
        self._exchange, self._every, self._metrics, self._clock = exchange, every, metrics, clock
        self._shared_at: dict[str, float] = {}

    def due(self, partition: str) -> bool:
        """Whether the last copy is old enough for another."""
        return self._clock.monotonic() - self._shared_at.get(partition, -self._every) >= self._every

    def offer(self, partition: str, position: int, path: Path) -> None:
        """Copies out a whole snapshot that was just written, if that is due: one of changes would need its base too."""
        now = self._clock.monotonic()
        if not self.due(partition):
            return
        try:
            self._exchange.offer(partition, position, path)
        except Exception as error:  # noqa: BLE001 - whatever it was: the snapshot is safe here, and the next try follows
            self._metrics.snapshot_share_failures.inc()
            _log.warning("snapshot not shared", partition=partition, position=position, error=str(error))
            return
        self._shared_at[partition] = now
        self._metrics.snapshots_shared.inc()

    def bring(self, partition: str, here: int, committed: int, folder: Path) -> None:
        """Puts the shared snapshot into `folder` if it is nearer to what is committed than the newest one here.

        Args:
            partition: whose.
            here: position of the newest snapshot in the folder that is not ahead, -1 for none.
            committed: no snapshot ahead of it is of any use.
            folder: of the partition's snapshots.
        """
        try:
            position = self._exchange.newest(partition)
            if position is None or not here < position <= committed:
                return
            data = self._exchange.fetch(partition)
        except Exception as error:  # noqa: BLE001 - whatever it was: the state can be computed from the input
            self._metrics.snapshot_share_failures.inc()
            _log.warning("shared snapshot not read", partition=partition, error=str(error))
            return
        if data is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{position:020d}.snapshot"
        path.with_suffix(".received").write_bytes(data)
        path.with_suffix(".received").replace(path)  # verified once more, as any snapshot is, when it is read
        self._metrics.snapshots_fetched.inc()
        _log.info("shared snapshot of another machine used", partition=partition, position=position, bytes=len(data))
