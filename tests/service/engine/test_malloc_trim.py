"""Return of free memory to the operating system."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from parts import Bench, event

from service.engine import malloc_trim as memory
from service.engine.malloc_trim import TRIM_SECONDS, MallocTrimmer, trim
from service.transport.memory import MemoryLog

MIB = 2**20


@pytest.mark.skipif(memory._malloc_trim() is None, reason="not glibc")
def test_what_is_free_is_given_back() -> None:
    """Memory of freed buffers below ones in use is returned."""
    process, block = psutil.Process(), 50_000  # below the size from which blocks are mapped separately
    blocks = [bytes(block) for _ in range(4000)]
    kept = blocks[::10]
    del blocks
    before = process.memory_info().rss
    trim()
    assert before - process.memory_info().rss > 100 * MIB
    assert len(kept) == 400


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without malloc_trim nothing happens; with it, it is called with no pad."""
    calls: list[int] = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    trim()
    assert calls == []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: calls.append)
    trim()
    assert calls == [0]


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
    thrift = MallocTrimmer(clock)
    for tenths in range(301):
        clock.now = tenths / 10
        thrift.trim_if_due()
    assert found == [TRIM_SECONDS * turn for turn in (1, 2, 3)]


def test_the_loop_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running engine trims memory."""
    found = list[int]()
    monkeypatch.setattr(memory, "TRIM_SECONDS", 0.0)
    monkeypatch.setattr(memory, "trim", lambda: found.append(1))
    Bench(tmp_path, MemoryLog({"0": [event(step) for step in range(4)]}), {}).run()
    assert found
