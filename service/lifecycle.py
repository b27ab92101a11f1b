"""Signals, ordered shutdown with a deadline, and kill points for tests.

The first SIGTERM or SIGINT requests an ordered shutdown; the second, or the deadline, ends the process at once. Both
are safe: a start can continue from the state on disk at any time.
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

# Time limit of a shutdown; supervisors usually wait for 30 s.
SHUTDOWN_SECONDS: Final = 20.0
KILL_VARIABLE: Final = "FORECASTER_KILL_AT"


class SystemClock:
    """The system's `service.ports.Clock`."""

    def monotonic(self) -> float:
        """Returns seconds that never decrease."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Returns epoch milliseconds, for logs and records only."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Sleeps."""
        time.sleep(seconds)


class KillPoints:
    """Numbered points at which a test ends the process like a power loss: SIGKILL to itself.

    Args:
        spec: "step:N" kills at the first passage of step N, "step:N:K" at the K-th; empty: never.

    Raises:
        ValueError: the text has another form.
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
        """Creates the kill points of the environment variable FORECASTER_KILL_AT; usually none."""
        return cls(os.environ.get(KILL_VARIABLE, ""))

    def passed(self, step: int) -> None:
        """Called by the engine after every numbered step."""
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Lifecycle:
    """Converts signals to the event that the engine checks.

    Args:
        on_retrain: called on SIGUSR1; may only set a flag.
        on_reload: called on SIGHUP; may only set a flag.
        deadline_seconds: from the first signal to `os._exit(1)`.
        exit_now: ends the process; replaced in tests.

    Attributes:
        stop: set when a shutdown is requested.
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
        """Installs handlers for SIGTERM, SIGINT, SIGUSR1 and SIGHUP. Only from the main thread, as Python requires."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._end)
        if self._on_retrain is not None:
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._retrain)
        if self._on_reload is not None:
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._reload)

    def uninstall(self) -> None:
        """Restores the previous handlers and cancels the deadline, at the end of an ordered shutdown."""
        self._done.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # signal.signal accepts what it returned
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
    """Runs the steps of a shutdown one after the other; a failing step is logged and does not stop the others.

    Args:
        steps: name for the log, and function, of each part to close.
    """
    for name, close in steps:
        try:
            close()
        except Exception as error:  # noqa: BLE001 - the other parts must be closed, too
            _log.warning("could not be closed", part=name, error=str(error))
