"""Ends the process when a client call does not return.

Some calls of Kafka clients have no timeout, and a defect can make `poll` spin forever. No exception can be raised
into such a call, so the process is ended like at a power loss, which every start handles.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

EXIT_STATUS: Final = 70  # EX_SOFTWARE
_CHECK_SECONDS = 1.0


def end_process(call: str, seconds: float) -> None:
    """Writes the stacks of all threads to standard error and ends the process."""
    print(f"watchdog: {call} did not return within {seconds:g} s; ending the process", file=sys.stderr)  # noqa: T201 - the log may be what hangs
    faulthandler.dump_traceback(all_threads=True)
    os._exit(EXIT_STATUS)


class Watchdog:
    """Watches the calls of one thread.

    Args:
        limit_seconds: longest time for one call.
        fire: called with the name of a call that takes longer and the limit; replaced in tests.
    """

    def __init__(self, limit_seconds: float, fire: Callable[[str, float], None] = end_process) -> None:
        self._limit, self._fire = limit_seconds, fire
        self._armed: tuple[str, float] | None = None  # name and start of the running call; replaced atomically
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread, unless it is running."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="kafka-watchdog", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None

    @contextmanager
    def watching(self, call: str) -> Iterator[None]:
        """Watches the enclosed code; a nested call counts as part of the outer one."""
        if self._armed is not None:
            yield
            return
        self._armed = call, time.monotonic()
        try:
            yield
        finally:
            self._armed = None

    def _run(self) -> None:
        while not self._stop.wait(min(_CHECK_SECONDS, self._limit / 4)):
            armed = self._armed
            if armed is not None and time.monotonic() - armed[1] > self._limit:
                self._fire(armed[0], self._limit)
                return
