"""The partitions that are being restored, one batch of one partition at a time, while the others are served."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass

from service.partition import Partition

# Yields the position after every batch; returns the partition in its state at the target position.
Steps = Generator[int, None, Partition]


@dataclass(slots=True)
class _Way:
    """The restore of one partition: its target, its progress and its generator."""

    target: int | None
    position: int
    steps: Steps
    first: int = -1

    @property
    def done(self) -> float:
        """Finished share of the replay."""
        if self.target is None or self.first < 0 or self.target <= self.first:
            return 0.0
        return min(1.0, (self.position - self.first) / (self.target - self.first))


class RestoreQueue:
    """Restores partitions in turns. Used in the loop's thread only."""

    def __init__(self) -> None:
        self._ways: dict[str, _Way] = {}
        self._arrived = 0

    @property
    def done(self) -> float:
        """Finished share of all restores, every partition with the same weight; 1 where there are none."""
        if not self._ways:
            return 1.0
        return (self._arrived + sum(way.done for way in self._ways.values())) / (self._arrived + len(self._ways))

    def __bool__(self) -> bool:
        """Whether any restore is left."""
        return bool(self._ways)

    @property
    def names(self) -> Collection[str]:
        """The partitions that must not be read yet."""
        return list(self._ways)

    def begin(self, name: str, target: int | None, steps: Steps) -> None:
        """Adds a partition that is to be restored to the committed position `target`."""
        if not self._ways:
            self._arrived = 0
        self._ways[name] = _Way(target, -1, steps)

    def keep(self, committed: Mapping[str, int | None]) -> None:
        """Cancels the restores of partitions that are no longer assigned, or whose committed position has changed."""
        for name in list(self._ways):
            if name not in committed or committed[name] != self._ways[name].target:
                self._ways.pop(name).steps.close()

    def step(self) -> Partition | None:
        """Replays one batch of the next partition in turn.

        Returns:
            A partition that is completely restored, or None.

        Raises:
            ServiceError, CheckpointError: the partition cannot be restored.
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
        self._ways[name] = way  # to the end of the queue
        return None

    def description(self) -> str:
        """Formats the progress of the restores."""
        return ", ".join(f"{name} at {way.position} of {way.target}" for name, way in list(self._ways.items())[:10])

    def close(self) -> None:
        """Cancels all restores."""
        for way in self._ways.values():
            way.steps.close()
        self._ways.clear()
