"""Being fenced: once is a matter of course for whoever was asleep, twice is a name that two processes use."""

from __future__ import annotations

import time
from typing import Final

# Two fencings within this time mean two processes with one name, which would fence each other for ever.
_FENCED_TWICE_SECONDS: Final = 60.0


class FencedBefore:
    """When transports of this process were fenced; shared by a transport and those made after it.

    One fencing is what a process meets that was asleep while another took over, or whose transaction was too slow:
    a new start mends it. A second one soon after is a name in use twice.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def again(self) -> bool:
        """Takes note of a fencing; whether there was one shortly before."""
        before, self._last = self._last, time.monotonic()
        return before is not None and self._last - before < _FENCED_TWICE_SECONDS
