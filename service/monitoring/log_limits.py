"""Limits the log: counts lines by kind, and suppresses lines of a kind above a rate.

The kind of a line follows from its event text, a literal in the program; variable data is in the fields. Of each kind a
burst is logged, then `log.per_minute` lines per minute; the next logged line has the number of suppressed ones. A
library that repeats a message, as a client does while its broker is down, has it logged once a minute.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

MOST_KINDS: Final = 200
OTHER: Final = "other"
LIBRARY: Final = "library "
"""Begins the event text of a line that a library logs; its message is in the field `says`."""

_REPEAT_SECONDS: Final = 60.0
_MOST_MESSAGES: Final = 200
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def kind_of(text: str) -> str:
    """Converts an event text to its kind, valid as a label value."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower())[:60].strip("_") or OTHER


class LogLimits:
    """A structlog processor that limits lines per kind. Thread-safe.

    Args:
        monotonic: returns seconds.

    Attributes:
        per_minute: lines of a kind per minute; may change at any time.
    """

    def __init__(self, monotonic: Callable[[], float], per_minute: int = 30) -> None:
        self._now, self.per_minute = monotonic, per_minute
        self._lock = threading.Lock()
        self._room: dict[str, tuple[float, float]] = {}  # kind -> lines left in the burst, time of that count
        self._suppressed: dict[str, int] = {}
        self._messages: dict[tuple[str, str], float] = {}  # of libraries, without numbers: time of the last logged one
        self._before: list[tuple[str, str, bool]] = []  # lines before `count_by` was called
        self._count: Callable[[str, str, bool], None] | None = None

    def count_by(self, count: Callable[[str, str, bool], None]) -> None:
        """Sets a function that is called with level, kind and whether it was logged, for every line, also past ones."""
        with self._lock:
            self._count, before, self._before = count, self._before, []
        for line in before:
            count(*line)

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Counts a line, and drops it where its kind is above the limit."""
        with self._lock:
            kind = self._kind(str(event.get("event", "")))
            through = not self._repeats(event) and self._may_pass(kind)
            if not through:
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            elif suppressed := self._suppressed.pop(kind, 0):
                event["suppressed"] = suppressed
            count = self._count
            if count is None and len(self._before) < MOST_KINDS:
                self._before.append((method, kind, through))
        if count is not None:
            count(method, kind, through)
        if not through:
            raise structlog.DropEvent
        return event

    def _kind(self, text: str) -> str:
        kind = kind_of(text)
        return kind if kind in self._room or len(self._room) < MOST_KINDS else OTHER

    def _repeats(self, event: MutableMapping[str, Any]) -> bool:
        """Returns whether a library has logged the same message, but for its numbers, within the last minute."""
        text = str(event.get("event", ""))
        if not text.startswith(LIBRARY):
            return False
        message, now = (text, _NUMBER.sub("0", str(event.get("says", "")))), self._now()
        if now - self._messages.get(message, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return True
        self._messages.pop(message, None)
        if len(self._messages) >= _MOST_MESSAGES:  # the one that was logged the longest time ago
            del self._messages[next(iter(self._messages))]
        self._messages[message] = now
        return False

    def _may_pass(self, kind: str) -> bool:
        burst, now = float(self.per_minute), self._now()
        room, since = self._room.get(kind, (burst, now))
        room = min(burst, room + (now - since) * self.per_minute / 60.0)
        through = room >= 1.0
        self._room[kind] = (room - 1.0 if through else room, now)
        return through
