"""The partitions that are being restored, one batch of one partition at a time, while the others are served."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass

from service.partitions.partition import Partition

# Yields the position after every batch; returns the partition in its state at the target position.
Steps = Generator[int, None, Partition]


@dataclass(slots=True)
class _Restore:
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
        self._restores: dict[str, _Restore] = {}
        self._restored = 0

    @property
    def done(self) -> float:
        """Finished share of all restores, every partition with the same weight; 1 where there are none."""
        if not self._restores:
            return 1.0
        return (self._restored + sum(item.done for item in self._restores.values())) / (
            self._restored + len(self._restores)
        )

    def __bool__(self) -> bool:
        """Whether any restore is left."""
        return bool(self._restores)

    @property
    def names(self) -> Collection[str]:
        """The partitions that must not be read yet."""
        return list(self._restores)

    def begin(self, name: str, target: int | None, steps: Steps) -> None:
        """Adds a partition that is to be restored to the committed position `target`."""
        if not self._restores:
            self._restored = 0
        self._restores[name] = _Restore(target, -1, steps)

    def keep(self, committed: Mapping[str, int | None]) -> None:
        """Cancels the restores of partitions that are no longer assigned, or whose committed position has changed."""
        for name in list(self._restores):
            if name not in committed or committed[name] != self._restores[name].target:
                self._restores.pop(name).steps.close()

    def step(self) -> Partition | None:
        """Replays one batch of the next partition in turn.

        Returns:
            A partition that is completely restored, or None.

        Raises:
            ServiceError, CheckpointError: the partition cannot be restored.
        """
        name, item = next(iter(self._restores.items()))
        del self._restores[name]
        try:
            item.position = next(item.steps)
            item.first = item.position if item.first < 0 else item.first
        except StopIteration as end:
            partition: Partition = end.value
            self._restored += 1
            return partition
        self._restores[name] = item  # to the end of the queue
        return None

    def description(self) -> str:
        """Formats the progress of the restores."""
        return ", ".join(
            f"{name} at {item.position} of {item.target}" for name, item in list(self._restores.items())[:10]
        )

    def close(self) -> None:
        """Cancels all restores."""
        for item in self._restores.values():
            item.steps.close()
        self._restores.clear()
