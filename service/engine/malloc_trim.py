"""Returns free memory that the allocator keeps to the operating system, periodically.

After a pause (waiting for a training, a restart, an unavailable broker) the loop catches up in batches of thousands of
events, with large temporary buffers. glibc keeps freed memory below memory in use, so the process would stay as large
as its maximum and resemble a memory leak.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Final

from service.ports import Clock

# One call takes 0.4 to 5 ms in a daemon of 200 MiB, 15 ms with half a million small free blocks, 90 ms where it returns
# 800 MiB; the interpreter lock is released. Pages that are needed again cost about the same again.
TRIM_SECONDS: Final = 10.0


@functools.cache
def _malloc_trim() -> Callable[[int], Any] | None:
    """Returns glibc's `malloc_trim`; None for other C libraries (musl returns memory by itself)."""
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except OSError:
        return None


def trim() -> None:
    """Returns all free pages to the operating system, see `malloc_trim(3)`; does nothing where it is not available."""
    if (malloc_trim := _malloc_trim()) is not None:
        malloc_trim(0)


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
