"""Waiting times between retries."""

from __future__ import annotations

import random
from typing import Final

# 50 ms to 5 s: short enough to recover fast, long enough not to load a failed service.
FIRST_SECONDS: Final = 0.05
LAST_SECONDS: Final = 5.0


class Backoff:
    """Pauses that double, with random factors from 0.5 to 1, so that processes do not retry simultaneously.

    Args:
        last: longest pause in seconds.
        generator: of the factors; None: that of the process.
    """

    def __init__(self, last: float = LAST_SECONDS, generator: random.Random | None = None) -> None:
        self._seconds, self._last = FIRST_SECONDS, last
        self._uniform = (generator or random).uniform

    def reset(self) -> None:
        """Resets the pause after a success."""
        self._seconds = FIRST_SECONDS

    def next(self) -> float:
        """Returns the seconds to wait now."""
        seconds, self._seconds = self._seconds, min(2 * self._seconds, self._last)
        return seconds * self._uniform(0.5, 1.0)
