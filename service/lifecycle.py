"""Signals, ordered shutdown with a deadline, and the points where a test may kill the process.

The first SIGTERM or SIGINT asks for an orderly end; the second, or the deadline, ends the process at once. Both
are safe: the state on disk is always one that a start can go on from.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

import structlog

_log = structlog.get_logger()

# From the first signal to the end, whatever hangs: a supervisor's usual patience is 30 s.
SHUTDOWN_SECONDS: Final = 20.0
KILL_VARIABLE: Final = "FORECASTER_KILL_AT"


class SystemClock:
    """The real `service.ports.Clock`."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Epoch milliseconds, for logs and records only."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)


class KillPoints:
    """Places in numbered steps where a test ends the process as a power loss would: SIGKILL to itself.

    Args:
        spec: "step:N" kills at the first passage of step N, "step:N:K" at the K-th; empty never kills.

    Raises:
        ValueError: the text is neither.
    """

    def __init__(self, spec: str = "") -> None:
        self._step, self._left = 0, 0
        if spec:
            word, _, rest = spec.partition(":")
            step, _, times = rest.partition(":")
            if word != "step" or not step.isdecimal() or not (times or "1").isdecimal():
                msg = f"{KILL_VARIABLE}: got {spec!r}, expected step:N or step:N:K"
                raise ValueError(msg)
            self._step, self._left = int(step), int(times or "1")

    @classmethod
    def from_environment(cls) -> KillPoints:
        """What the environment variable FORECASTER_KILL_AT says; normally nothing."""
        return cls(os.environ.get(KILL_VARIABLE, ""))

    def passed(self, step: int) -> None:
        """Called by the engine behind every numbered step."""
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Lifecycle:
    """Turns signals into the event that the engine watches.

    Args:
        on_retrain: called on SIGUSR1; must do no more than set a flag.
        on_reload: called on SIGHUP; the same.
        deadline_seconds: from the first signal to `os._exit(1)`.
        exit_now: ends the process; replaced in tests.

    Attributes:
        stop: set once an end is wanted.
    """

    def __init__(
        self,
        on_retrain: Callable[[], None] | None = None,
        deadline_seconds: float = SHUTDOWN_SECONDS,
        exit_now: Callable[[int], object] = os._exit,
        on_reload: Callable[[], None] | None = None,
    ) -> None:
        self._on_reload = on_reload
        self.stop = threading.Event()
        self._on_retrain = on_retrain
        self._deadline_seconds = deadline_seconds
        self._exit_now = exit_now
        self._signalled = False
        self._done = threading.Event()
        self._before: dict[int, object] = {}

    def install(self) -> None:
        """Takes over SIGTERM, SIGINT, SIGUSR1 and SIGHUP. Only from the main thread, as Python demands."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._end)
        if self._on_retrain is not None:
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._retrain)
        if self._on_reload is not None:
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._reload)

    def uninstall(self) -> None:
        """Puts back what was there before and calls the deadline off: the orderly end has been reached."""
        self._done.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal.signal returned, it takes
        self._before.clear()

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self._signalled:
            self._exit_now(128 + number)
            return
        self._signalled = True
        self.stop.set()
        threading.Thread(target=self._watch, name="shutdown-deadline", daemon=True).start()

    def _watch(self) -> None:
        if not self._done.wait(self._deadline_seconds):
            self._exit_now(1)

    def _retrain(self, _number: int, _frame: FrameType | None) -> None:
        if self._on_retrain is not None:
            self._on_retrain()

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        if self._on_reload is not None:
            self._on_reload()


def close_in_order(steps: Sequence[tuple[str, Callable[[], None]]]) -> None:
    """Runs the steps of a shutdown one after the other; one that fails is logged and does not stop the rest.

    Args:
        steps: what is closed, for the log, and how.
    """
    for name, close in steps:
        try:
            close()
        except Exception as error:  # noqa: BLE001 - the rest must be closed whatever this one did
            _log.warning("could not be closed", part=name, error=str(error))
