"""The state for health probes, written by the engine and read by the HTTP thread.

healthy   the loop makes progress: its last iteration is no older than its phase permits; remote systems do not matter
started   the daemon has been ready once since the process started
warm      the kernels are compiled
ready     every partition is restored, source and sink answer, and the kernels are compiled
warnings  the daemon works, but needs attention: lagging, trainer failing, disk nearly full
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from service.ports import Clock

# The longest time between two iterations of the loop, by phase, in seconds. Compiling a network for the first time
# takes up to a minute on a slow machine; in all other phases an iteration takes at most a second, so 60 s mean that the
# loop hangs.
PATIENCE: Final = {"starting": 300.0, "compiling": 300.0, "stopping": 60.0}
_PATIENCE_OTHERWISE: Final = 60.0
# The phases in which events are forecast. "training" is the engine waiting for a training with `retrain.wait`.
_READY: Final = frozenset({"running", "training"})
# All conditions, valid as label values: the names of phases in which the daemon is not ready (or waits for a training),
# a loop that hangs, and the warnings of `warn`.
WARNINGS: Final = ("lagging", "trainer_failing", "disk_nearly_full")
CONDITIONS: Final = (
    "starting", "compiling", "restoring", "waiting_for_training", "sink_down", "schema_registry_down", "stopping",
    "stuck", *WARNINGS,
)  # fmt: skip
_NAMES: Final = {"training": "waiting_for_training", "blocked": "sink_down"}


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of the daemon at one time.

    Attributes:
        healthy, ready: see the module.
        phase: the phase of the engine.
        reason: why it is not ready, as text; empty otherwise.
        seconds_since_progress: seconds since the last iteration of the loop.
        started, warm: see the module.
        restored: finished share of a restore; 1 where none is running.
        conditions: the present conditions of `CONDITIONS`, each with a text.
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
    """Thread-safe health state. The engine calls `enter`, `beat` and `warn`; other threads call `report`.

    Args:
        clock: measures the time since the last beat.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._phase, self._detail, self._restored, self._condition = "starting", "", 1.0, "starting"
        self._started = self._warm = False
        self._warnings: dict[str, str] = {}
        self._beat = clock.monotonic()

    def enter(self, phase: str, detail: str = "", *, restored: float = 1.0, condition: str = "") -> None:
        """Enters a phase: starting, compiling, restoring, running, training, blocked, stopping.

        Args:
            phase: the phase. detail: more about it, as text.
            restored: finished share of a restore.
            condition: of `CONDITIONS`, where the phase may have several causes.
        """
        with self._lock:
            self._condition = condition or _NAMES.get(phase, phase)
            self._phase, self._detail, self._beat = phase, detail, self._clock.monotonic()
            self._restored = restored if phase == "restoring" else 1.0
            self._started = self._started or phase in _READY
            self._warm = self._warm or phase in _READY or phase == "restoring"

    def beat(self) -> None:
        """Records one iteration of the loop."""
        with self._lock:
            self._beat = self._clock.monotonic()

    def warn(self, warning: str, text: str) -> None:
        """Sets a warning of `WARNINGS` with its text; an empty text clears it."""
        if warning not in WARNINGS:
            msg = f"got the warning {warning!r}, expected one of {', '.join(WARNINGS)}"
            raise ValueError(msg)
        with self._lock:
            self._warnings.pop(warning, None)
            if text:
                self._warnings[warning] = text

    def report(self) -> HealthReport:
        """Returns the present health."""
        with self._lock:
            phase, detail, beat = self._phase, self._detail, self._beat
            started, warm, restored = self._started, self._warm, self._restored
            warnings, condition = dict(self._warnings), self._condition
        silent = self._clock.monotonic() - beat
        limit = PATIENCE.get(phase, _PATIENCE_OTHERWISE)
        healthy = silent <= limit
        reason = ""
        if not healthy:
            reason = f"no progress for {silent:.0f} s while {phase}, expected some within {limit:.0f} s"
        elif phase not in _READY:
            reason = phase + (f": {detail}" if detail else "")
        conditions = {} if phase == "running" else {condition: detail or phase}
        if not healthy:
            conditions["stuck"] = reason
        return HealthReport(
            healthy, healthy and phase in _READY, phase, reason, silent, started, warm, restored, conditions | warnings
        )
