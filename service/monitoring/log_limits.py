"""So that a log can be read when it is needed: lines of one kind are counted, and kept back where they are too many.

The kind of a line is its event text, which stands in the program; what differs is in the fields. Of each kind a burst
goes through, then as many per minute as the settings say; the next one that goes through tells how many were kept back.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

MOST_KINDS: Final = 200
OTHER: Final = "other"


def kind_of(text: str) -> str:
    """The kind of a line: its text as the value of a label."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower())[:60].strip("_") or OTHER


class LogLimits:
    """A structlog processor. Thread-safe.

    Args:
        monotonic: seconds.

    Attributes:
        per_minute: lines of a kind that go through; may change at any time.
    """

    def __init__(self, monotonic: Callable[[], float], per_minute: int = 30) -> None:
        self._now, self.per_minute = monotonic, per_minute
        self._lock = threading.Lock()
        self._room: dict[str, tuple[float, float]] = {}  # kind -> lines that may still come, as of when
        self._suppressed: dict[str, int] = {}
        self._before: list[tuple[str, str, bool]] = []  # what came before anybody counted
        self._tell: Callable[[str, str, bool], None] | None = None

    def count_by(self, tell: Callable[[str, str, bool], None]) -> None:
        """Calls `tell` with level, kind and whether it went through, for every line, those before as well."""
        with self._lock:
            self._tell, before, self._before = tell, self._before, []
        for line in before:
            tell(*line)

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Counts a line, and drops it where there were too many of its kind."""
        with self._lock:
            kind = self._kind(str(event.get("event", "")))
            through = self._may_pass(kind)
            if not through:
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            elif suppressed := self._suppressed.pop(kind, 0):
                event["suppressed"] = suppressed
            tell = self._tell
            if tell is None and len(self._before) < MOST_KINDS:
                self._before.append((method, kind, through))
        if tell is not None:
            tell(method, kind, through)
        if not through:
            raise structlog.DropEvent
        return event

    def _kind(self, text: str) -> str:
        kind = kind_of(text)
        return kind if kind in self._room or len(self._room) < MOST_KINDS else OTHER

    def _may_pass(self, kind: str) -> bool:
        burst, now = float(self.per_minute), self._now()
        room, since = self._room.get(kind, (burst, now))
        room = min(burst, room + (now - since) * self.per_minute / 60.0)
        through = room >= 1.0
        self._room[kind] = (room - 1.0 if through else room, now)
        return through
