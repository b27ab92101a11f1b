"""Returns free memory that the allocator keeps to the operating system, periodically.

After a pause (waiting for a training, a restart, an unavailable broker) the loop catches up in batches of thousands of
events, with large temporary buffers, see `service/engine/malloc.py`.
"""

from __future__ import annotations

from typing import Final

from service.engine.malloc import trim
from service.ports import Clock

# One call takes 0.4 to 5 ms in a daemon of 200 MiB, 15 ms with half a million small free blocks, 90 ms where it returns
# 800 MiB; the interpreter lock is released. Pages that are needed again cost about the same again.
TRIM_SECONDS: Final = 10.0


class MallocTrimmer:
    """Trims memory at most once per `TRIM_SECONDS`. Used in the loop's thread.

    Args:
        clock: measures the period.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._last_trim = clock, clock.monotonic()

    def trim_if_due(self) -> None:
        """Trims memory if the period has passed."""
        now = self._clock.monotonic()
        if now - self._last_trim >= TRIM_SECONDS:
            self._last_trim = now
            trim()
