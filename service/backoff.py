"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random
from typing import Final

# 50 ms to 5 s: often enough to go on soon, seldom enough to spare what is down.
FIRST_SECONDS: Final = 0.05
LAST_SECONDS: Final = 5.0


class Backoff:
    """Pauses that double, each half to all of it at random, so that many waiting processes do not come back at once."""

    def __init__(self) -> None:
        self._seconds = FIRST_SECONDS

    def reset(self) -> None:
        """It went well: the next pause is the first again."""
        self._seconds = FIRST_SECONDS

    def next(self) -> float:
        """Seconds to wait now."""
        seconds, self._seconds = self._seconds, min(2 * self._seconds, LAST_SECONDS)
        return seconds * random.uniform(0.5, 1.0)
