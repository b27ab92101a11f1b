"""Keeps partitions that moved to another process for a while: an unchanged one needs no replay if it returns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.partitions.partition import Partition
from service.ports import Clock

# A rebalance revokes all partitions and assigns most of them again within seconds, rarely after a session timeout.
GRACE_SECONDS: Final = 60.0


class LeftPartitions:
    """Keeps left partitions for `GRACE_SECONDS`, then releases their rows, networks and history.

    Args:
        clock: measures the grace period.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Partition]] = {}

    def put(self, partitions: Iterable[Partition]) -> None:
        """Keeps the partitions whose state is that of their committed position; the others cannot be used again."""
        until = self._clock.monotonic() + GRACE_SECONDS
        for partition in partitions:
            if not partition.ahead:
                self._kept[partition.name] = until, partition

    def take(self, name: str) -> Partition | None:
        """Removes and returns the partition with that name."""
        return self._kept.pop(name, (0.0, None))[1]

    def drop(self) -> list[str]:
        """Releases the partitions whose grace period has ended; returns their names."""
        now = self._clock.monotonic()
        gone = [name for name, (until, _) in self._kept.items() if until <= now]
        for name in gone:
            del self._kept[name]
        return gone
