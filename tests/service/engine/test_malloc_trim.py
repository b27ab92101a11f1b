"""Return of free memory to the operating system."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import Bench, event

from service.engine import malloc_trim as memory
from service.engine.malloc_trim import TRIM_SECONDS, MallocTrimmer
from service.transport.memory import MemoryLog


class Ticks:
    """A clock with a settable time."""

    now = 0.0

    def monotonic(self) -> float:
        """Returns the set time."""
        return self.now

    def wall_ms(self) -> int:
        """Is not used."""
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        """Is not used."""
        raise NotImplementedError


def test_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is trimmed every TRIM_SECONDS, however often the check runs."""
    found, clock = list[float](), Ticks()
    monkeypatch.setattr(memory, "trim", lambda: found.append(clock.now))
    trimmer = MallocTrimmer(clock)
    for tenths in range(301):
        clock.now = tenths / 10
        trimmer.trim_if_due()
    assert found == [TRIM_SECONDS * turn for turn in (1, 2, 3)]


def test_the_loop_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running engine trims memory."""
    found = list[int]()
    monkeypatch.setattr(memory, "TRIM_SECONDS", 0.0)
    monkeypatch.setattr(memory, "trim", lambda: found.append(1))
    Bench(tmp_path, MemoryLog({"0": [event(step) for step in range(4)]}), {}).run()
    assert found
