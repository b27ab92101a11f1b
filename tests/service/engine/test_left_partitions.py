"""Partitions that are revoked and assigned again: what stays in memory, and for how long."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from parts import Bench, TurnedClock, event

from service.engine.left_partitions import GRACE_SECONDS, LeftPartitions
from service.ports import Records, Unit
from service.transport.memory import MemoryLog, MemoryTransport

EVENTS = 60
SCRIPT = {name: [event(step, f"{name}{step % 3}") for step in range(EVENTS)] for name in ("left", "stays")}


class Group(MemoryTransport):
    """A transport whose partition "left" is revoked and assigned again."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.generation, self.changed, self.mine = 0, 0, True

    def partitions(self) -> Sequence[str]:
        """Returns the assigned partitions."""
        return ["left", "stays"] if self.mine else ["stays"]

    def give(self, *, mine: bool) -> None:
        """Changes the assignment; the next poll applies the change."""
        self.mine, self.changed = mine, self.changed + 1

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns None when the assignment changed."""
        if self.changed != self.generation:
            self.generation = self.changed
            self._next = {name: self.committed(name) or 0 for name in self.partitions()}
            return None
        return super().poll(limit, timeout_seconds)

    def finished(self) -> bool:
        """Returns True only once all partitions are assigned again."""
        return self.mine and super().finished()


class Away(Bench):
    """An engine that loses a partition for some seconds."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(folder, MemoryLog(SCRIPT), {"input": {"max_poll_records": 5}})
        self.transport, self.seconds = Group(self.log), seconds
        self.engine._connect = lambda: self.transport
        self.on_unit = self.after
        self.held: weakref.ref[Any] | None = None
        self.seen: list[tuple[bool, float | None]] = []

    def after(self, unit: Unit) -> None:
        """Revokes "left" after its fourth unit and assigns it again later; meanwhile other units and time advance."""
        count = sum(one.partition == unit.partition for one in self.log.units)
        if unit.partition == "left" and count < 4:
            self.clock.now += 1.1  # so that gauges are updated
        elif unit.partition == "left" and count == 4:
            self.before = self.sample("series", partition="left")
            self.held = weakref.ref(self.recent.forecaster("left"))
            self.transport.give(mine=False)
        elif not self.transport.mine and unit.partition == "stays" and count < 11:
            if count == 9:
                self.clock.now += self.seconds
            gc.collect()
            shown = self.metrics.registry.get_sample_value("forecaster_series", {"partition": "left"})
            self.seen.append((self.held is not None and self.held() is not None, shown))
        elif not self.transport.mine:
            self.transport.give(mine=True)


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, list[bytes]]:
    """The forecasts of an engine that keeps all partitions."""
    bench = Bench(tmp_path / "straight", MemoryLog(SCRIPT), {"input": {"max_poll_records": 5}})
    bench.run()
    return {name: bench.log.forecasts(name) for name in SCRIPT}


@pytest.mark.parametrize("seconds", [GRACE_SECONDS - 1, GRACE_SECONDS + 1])
def test_away(tmp_path: Path, expected: dict[str, list[bytes]], seconds: float) -> None:
    """Within the grace period a revoked partition continues without a replay; later it is released and replayed."""
    bench = Away(tmp_path, seconds)
    bench.run()
    assert {name: bench.log.forecasts(name) for name in SCRIPT} == expected
    assert bench.before == 3
    assert {shown for _, shown in bench.seen} == {None}
    assert bench.seen[0][0]
    assert bench.seen[-1][0] == (seconds < GRACE_SECONDS)
    assert bench.sample("replayed_events_total") == (0 if seconds < GRACE_SECONDS else 20)
    assert bench.sample("series", partition="left") == 3
    assert set(bench.store._full) <= set(SCRIPT)


def test_unusable_ones_are_not_kept() -> None:
    """A partition whose rows are ahead of the committed position is not kept."""

    class Lost:
        name, ahead = "a", True

    limbo = LeftPartitions(TurnedClock())
    limbo.put([Lost()])  # type: ignore[list-item]
    assert limbo.take("a") is None
