"""Partitions that are being brought back, one batch of one of them at a time, while the others are served."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass

from service.partition import Partition

# Yields the position that it has come to after every batch; returns the partition as it was at its target.
Steps = Generator[int, None, Partition]


@dataclass(slots=True)
class _Way:
    """One of them: where it goes, how far it is, and what takes it further."""

    target: int | None
    position: int
    steps: Steps
    first: int = -1

    @property
    def done(self) -> float:
        """Share of the way that lies behind."""
        if self.target is None or self.first < 0 or self.target <= self.first:
            return 0.0
        return min(1.0, (self.position - self.first) / (self.target - self.first))


class RestoreQueue:
    """Takes turns. Used by the loop's thread alone."""

    def __init__(self) -> None:
        self._ways: dict[str, _Way] = {}
        self._arrived = 0

    @property
    def done(self) -> float:
        """Share of the work that lies behind, every partition counted alike; 1 where there is none."""
        if not self._ways:
            return 1.0
        return (self._arrived + sum(way.done for way in self._ways.values())) / (self._arrived + len(self._ways))

    def __bool__(self) -> bool:
        """Whether any is left."""
        return bool(self._ways)

    @property
    def names(self) -> Collection[str]:
        """Those that must not be read yet."""
        return list(self._ways)

    def begin(self, name: str, target: int | None, steps: Steps) -> None:
        """Takes one in that must come to the committed position `target`."""
        if not self._ways:
            self._arrived = 0
        self._ways[name] = _Way(target, -1, steps)

    def keep(self, committed: Mapping[str, int | None]) -> None:
        """Gives up those that are not ours any more, or whose committed position somebody has moved."""
        for name in list(self._ways):
            if name not in committed or committed[name] != self._ways[name].target:
                self._ways.pop(name).steps.close()

    def step(self) -> Partition | None:
        """Computes one batch more of the next in turn.

        Returns:
            A partition that is there now, or None.

        Raises:
            ServiceError, CheckpointError: it cannot be brought back.
        """
        name, way = next(iter(self._ways.items()))
        del self._ways[name]
        try:
            way.position = next(way.steps)
            way.first = way.position if way.first < 0 else way.first
        except StopIteration as end:
            partition: Partition = end.value
            self._arrived += 1
            return partition
        self._ways[name] = way  # to the end of the row
        return None

    def description(self) -> str:
        """How far they are, in words."""
        return ", ".join(f"{name} at {way.position} of {way.target}" for name, way in list(self._ways.items())[:10])

    def close(self) -> None:
        """Gives up all of them."""
        for way in self._ways.values():
            way.steps.close()
        self._ways.clear()
