"""The load of the soak: a stream that grows at an even rate, with all typical faults of streams."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Final

START_MS: Final = 1_767_571_200_000
SERIES: Final = 40
_PULSE: Final = 0.05  # seconds between two writes
# A longer pause is not due to a busy machine: the process was stopped (SIGSTOP, a suspended host).
_STOPPED: Final = 5.0


def lines(step: int) -> list[str]:
    """Returns the lines of a step: an event; at times with a null, a late event, a duplicate, or an invalid record."""
    turn, which = divmod(step, SERIES)
    value: float | None = round(math.sin(turn / 9 + which) * (1 + which % 5) + turn % 12 + which, 4)
    if step % 4999 > 4900 and which < 8:
        value = round((value or 0.0) + 60.0, 4)  # simulates an incident
    if step % 97 == 0:
        value = None
    event = {"series": f"host-{which:02d}", "timestamp": START_MS + turn * 60_000 + which, "value": value}
    found = [json.dumps(event)]
    if step % 211 == 0:
        found.append(found[0])
    if step % 307 == 0:
        found.append(json.dumps(event | {"timestamp": START_MS + (turn - 9) * 60_000}))
    if step % 401 == 0:
        found.append('{"series": "host-00", "timestamp"')
    if step % 503 == 0:
        found.append(json.dumps({"series": "host-01", "value": "four"}))
    return found


class Feeder:
    """Appends to a file at `rate` steps per second, in a thread; writes may end in the middle of a line.

    Args:
        path: the file. rate: steps per second. stopped: pause in seconds that counts as a stop.

    Attributes:
        steps, records: written so far. stood: seconds in which the process was stopped, and its daemons with it.
    """

    def __init__(self, path: Path, rate: float, stopped: float = _STOPPED) -> None:
        self._path, self._rate, self._stopped = path, rate, stopped
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.steps = 0
        self.records = 0
        self.stood = 0.0

    def start(self) -> None:
        """Starts writing."""
        self._path.touch()
        self._thread.start()

    def stop(self) -> None:
        """Stops writing after a whole line."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        with self._path.open("a", buffering=1 << 16) as file:
            waits = time.monotonic()
            while not self._stop.wait(_PULSE):
                waited = time.monotonic() - waits
                self.stood += waited if waited > self._stopped else 0.0
                due = int((time.monotonic() - began) * self._rate)
                for step in range(self.steps, due):
                    found = lines(step)
                    self.records += len(found)
                    text = "\n".join(found) + "\n"
                    file.write(text[:7])
                    if step == due - 1:
                        file.flush()  # makes half a line visible to readers
                    file.write(text[7:])
                self.steps = max(self.steps, due)
                file.flush()
                waits = time.monotonic()
