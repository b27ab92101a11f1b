"""What the probes say, written by the engine and read by the HTTP thread.

healthy   the loop makes progress: it came round within the time that its phase may take
ready     every partition is restored, source and sink answer, and the kernels are compiled
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from service.ports import Clock

# How long the loop may stay away in each phase, in seconds. Compiling a network for the first time takes up to a
# minute on a slow machine; everything else comes round at least once a second, so 60 s mean that it hangs.
PATIENCE: Final = {"starting": 300.0, "compiling": 300.0, "stopping": 60.0}
_PATIENCE_OTHERWISE: Final = 60.0
# The phases in which events are answered. "training" is the engine waiting for a training in `retrain.wait`.
_READY: Final = frozenset({"running", "training"})


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One look.

    Attributes:
        healthy, ready: see the module.
        phase: what the engine does.
        reason: why not, in words; empty when all is well.
        seconds_since_progress: since the loop last came round.
    """

    healthy: bool
    ready: bool
    phase: str
    reason: str
    seconds_since_progress: float


class Health:
    """Thread-safe. The engine calls `enter` and `beat`, others `report`.

    Args:
        clock: for the time since the last beat.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._phase, self._detail = "starting", ""
        self._beat = clock.monotonic()

    def enter(self, phase: str, detail: str = "") -> None:
        """The engine starts something else: starting, compiling, restoring, running, training, blocked, stopping."""
        with self._lock:
            self._phase, self._detail, self._beat = phase, detail, self._clock.monotonic()

    def beat(self) -> None:
        """The loop came round."""
        with self._lock:
            self._beat = self._clock.monotonic()

    def report(self) -> HealthReport:
        """How it stands now."""
        with self._lock:
            phase, detail, beat = self._phase, self._detail, self._beat
        silent = self._clock.monotonic() - beat
        limit = PATIENCE.get(phase, _PATIENCE_OTHERWISE)
        healthy = silent <= limit
        reason = ""
        if not healthy:
            reason = f"no progress for {silent:.0f} s while {phase}, expected some within {limit:.0f} s"
        elif phase not in _READY:
            reason = phase + (f": {detail}" if detail else "")
        return HealthReport(healthy, healthy and phase in _READY, phase, reason, silent)
