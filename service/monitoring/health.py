"""What the probes say, written by the engine and read by the HTTP thread.

healthy   the loop makes progress: it came round within the time that its phase may take; no remote has a say in it
started   it was ready once since the process began
warm      the kernels are compiled
ready     every partition is restored, source and sink answer, and the kernels are compiled
warnings  it answers, but somebody should look: lagging, trainer failing, disk nearly full
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from service.ports import Clock

# How long the loop may stay away in each phase, in seconds. Compiling a network for the first time takes up to a
# minute on a slow machine; everything else comes round at least once a second, so 60 s mean that it hangs.
PATIENCE: Final = {"starting": 300.0, "compiling": 300.0, "stopping": 60.0}
_PATIENCE_OTHERWISE: Final = 60.0
# The phases in which events are answered. "training" is the engine waiting for a training in `retrain.wait`.
_READY: Final = frozenset({"running", "training"})
# Everything that can be said, fit for a metric's label: what a phase is called when it keeps the daemon from being
# ready (or, waiting for a training, from going on), a loop that hangs, and what `warn` takes.
WARNINGS: Final = ("lagging", "trainer_failing", "disk_nearly_full")
CONDITIONS: Final = (
    "starting", "compiling", "restoring", "waiting_for_training", "sink_down", "stopping", "stuck", *WARNINGS,
)  # fmt: skip
_NAMES: Final = {"training": "waiting_for_training", "blocked": "sink_down"}


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One look.

    Attributes:
        healthy, ready: see the module.
        phase: what the engine does.
        reason: why not, in words; empty when all is well.
        seconds_since_progress: since the loop last came round.
        started, warm: see the module.
        restored: share of the work of a restore that is done; 1 where none is under way.
        conditions: those of `CONDITIONS` that hold, with what is to be said about each.
    """

    healthy: bool
    ready: bool
    phase: str
    reason: str
    seconds_since_progress: float
    started: bool = False
    warm: bool = False
    restored: float = 1.0
    conditions: Mapping[str, str] = field(default_factory=dict)


class Health:
    """Thread-safe. The engine calls `enter`, `beat` and `warn`, others `report`.

    Args:
        clock: for the time since the last beat.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._phase, self._detail, self._restored = "starting", "", 1.0
        self._started = self._warm = False
        self._warnings: dict[str, str] = {}
        self._beat = clock.monotonic()

    def enter(self, phase: str, detail: str = "", *, restored: float = 1.0) -> None:
        """The engine starts something else: starting, compiling, restoring, running, training, blocked, stopping.

        Args:
            phase: which. detail: more about it, in words.
            restored: share of the work of a restore that is done.
        """
        with self._lock:
            self._phase, self._detail, self._beat = phase, detail, self._clock.monotonic()
            self._restored = restored if phase == "restoring" else 1.0
            self._started = self._started or phase in _READY
            self._warm = self._warm or phase in _READY or phase == "restoring"

    def beat(self) -> None:
        """The loop came round."""
        with self._lock:
            self._beat = self._clock.monotonic()

    def warn(self, warning: str, text: str) -> None:
        """Something of `WARNINGS` holds, as the text says, or does not (an empty text)."""
        if warning not in WARNINGS:
            msg = f"got the warning {warning!r}, expected one of {', '.join(WARNINGS)}"
            raise ValueError(msg)
        with self._lock:
            self._warnings.pop(warning, None)
            if text:
                self._warnings[warning] = text

    def report(self) -> HealthReport:
        """How it stands now."""
        with self._lock:
            phase, detail, beat = self._phase, self._detail, self._beat
            started, warm, restored = self._started, self._warm, self._restored
            warnings = dict(self._warnings)
        silent = self._clock.monotonic() - beat
        limit = PATIENCE.get(phase, _PATIENCE_OTHERWISE)
        healthy = silent <= limit
        reason = ""
        if not healthy:
            reason = f"no progress for {silent:.0f} s while {phase}, expected some within {limit:.0f} s"
        elif phase not in _READY:
            reason = phase + (f": {detail}" if detail else "")
        conditions = {} if phase == "running" else {_NAMES.get(phase, phase): detail or phase}
        if not healthy:
            conditions["stuck"] = reason
        return HealthReport(
            healthy, healthy and phase in _READY, phase, reason, silent, started, warm, restored, conditions | warnings
        )
