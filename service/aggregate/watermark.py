"""The watermark of a partition: the event time that its stream has reached, a function of its events in order.

It is the greatest event time so far, with two exceptions, because one event of the year 2099 must not close all windows
and make all events after it late:

- An event that is ahead of the watermark by more than `leap` does not move it alone. `AGREEING` such events without an
  event near the watermark between them do, where they are of more than half of the series with open windows; or
  `AGREEING` times as many as there are such series, if their times differ by more than a leap: then time has passed for
  some, and the others are silent. The watermark becomes the greatest of their times that is within a leap of the least
  one. The first events of a partition begin it likewise.
- `RETURNING` events in a row that are behind it by more than a leap show that it was wrong: it begins anew.
"""

from __future__ import annotations

from typing import Final

AGREEING: Final = 3
RETURNING: Final = 1000


class Watermark:
    """The watermark of one partition.

    Args:
        leap: ms by which one event may move it.

    Attributes:
        ms: the watermark, None before it has begun.
        ahead: series with events that are more than a leap ahead, since the last event near the watermark.
        count: number of these events; low, high: least and greatest of their times. near: greatest one within a leap of
            the least.
        behind: events in a row that are more than a leap behind.
    """

    __slots__ = ("ahead", "behind", "count", "high", "leap", "low", "ms", "near")

    def __init__(self, leap: int) -> None:
        self.leap = leap
        self.ms: int | None = None
        self.ahead: set[str] = set()
        self.count = self.low = self.near = self.high = self.behind = 0

    def observe(self, series: str, time_ms: int, active: int) -> None:
        """Observes an event.

        Args:
            series, time_ms: of the event.
            active: number of series with open windows.
        """
        if self.ms is not None and time_ms <= self.ms + self.leap:
            if time_ms < self.ms - self.leap:
                self.behind += 1
                if self.behind >= RETURNING:
                    self.ms = None
                    self._clear()
                return
            self.ms = max(self.ms, time_ms)
            if self.count or self.behind:
                self._clear()
            return
        if not self.count:
            self.low = self.near = self.high = time_ms
        self.low, self.high = min(self.low, time_ms), max(self.high, time_ms)
        if not self.low <= self.near <= self.low + self.leap:
            self.near = self.low
        if time_ms <= self.low + self.leap:
            self.near = max(self.near, time_ms)
        self.count += 1
        self.ahead.add(series)
        passed = self.count >= AGREEING * active and self.high - self.low > self.leap
        if self.count >= AGREEING and (2 * len(self.ahead) > active or passed):
            self.ms = self.near
            self._clear()

    def _clear(self) -> None:
        self.ahead.clear()
        self.count = self.behind = self.low = self.near = self.high = 0
