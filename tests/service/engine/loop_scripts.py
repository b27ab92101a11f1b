"""Scripts of events and crashes for the engine's loop."""

from __future__ import annotations

from pathlib import Path

from parts import Bench, event

from service.transport.memory import (
    MemoryLog,
    Script,
)

EVENTS = [event(step, series) for step in range(40) for series in "ab"]


def straight(folder: Path, script: list[bytes | Script] | None = None, **sections: dict[str, object]) -> Bench:
    """Runs an engine over a script to its end."""
    bench = Bench(folder, MemoryLog({"0": script or EVENTS}), sections)
    bench.run()
    return bench


def with_script(*marks: tuple[int, Script]) -> list[bytes | Script]:
    """Returns the events with these marks inserted."""
    script: list[bytes | Script] = list(EVENTS)
    for at, what in sorted(marks, key=lambda mark: -mark[0]):
        script.insert(at, what)
    return script
