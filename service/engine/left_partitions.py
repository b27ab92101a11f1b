"""Partitions that went to another process: kept for a while, as one that comes back unchanged needs no replay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.partition import Partition
from service.ports import Clock

# A rebalance takes everything away and gives most of it back within seconds, rarely after a session timeout.
GRACE_SECONDS: Final = 60.0


class LeftPartitions:
    """Holds them for `GRACE_SECONDS`; what goes then is their rows, networks and history.

    Args:
        clock: for the grace.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Partition]] = {}

    def put(self, partitions: Iterable[Partition]) -> None:
        """Keeps those whose state is that of their committed position; others are of no use any more."""
        until = self._clock.monotonic() + GRACE_SECONDS
        for partition in partitions:
            if not partition.ahead:
                self._kept[partition.name] = until, partition

    def take(self, name: str) -> Partition | None:
        """The partition of that name, which is no longer held here."""
        return self._kept.pop(name, (0.0, None))[1]

    def drop(self) -> list[str]:
        """Lets go of those whose time is over; their names."""
        now = self._clock.monotonic()
        gone = [name for name, (until, _) in self._kept.items() if until <= now]
        for name in gone:
            del self._kept[name]
        return gone
