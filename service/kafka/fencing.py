"""Distinguishes a single fencing, normal after a pause of the process, from a name that two processes use."""

from __future__ import annotations

import time
from typing import Final

# Two fencings within this time mean two processes with one name, which would fence each other forever.
_FENCED_TWICE_SECONDS: Final = 60.0


class FencedBefore:
    """The time of the last fencing in this process; shared by a transport and those created after it.

    A process is fenced once if another took over while it was suspended, or if its transaction was too slow; a new
    start resolves that. A second fencing soon after means a name that is in use twice.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def again(self) -> bool:
        """Records a fencing; returns whether there was one shortly before."""
        before, self._last = self._last, time.monotonic()
        return before is not None and self._last - before < _FENCED_TWICE_SECONDS
