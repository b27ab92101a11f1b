"""The watermark of a partition: how far its windows have closed, decided by its series together, event by event.

The next windows to close are those that end first. Their closing time, the end plus the grace, is the target. A series
has passed the target when an event of it is at or behind it. The target is reached, and becomes the watermark,

- when more than half of the voters have passed it. Voters are the series with open windows, and those whose last window
  closed less than the longest interval ago. So a minority of series with wrong clocks closes nothing;
- or when `AGREEING` events per voter in a row are at or behind it, of which a series has gone on for a leap of its own
  event time: then the other series are silent. Late events do not interrupt the row.

Where the event that decides is more than a leap ahead of the watermark (without one yet, of the target), `AGREEING`
events in a row must be at or behind the target: one event of the year 2099 in a partition of one series closes nothing.
`RETURNING` events in a row that are far behind the watermark, by more than a leap and than what may be repaired, show
that it was wrong: it goes back to them.
"""

from __future__ import annotations

from typing import Final

AGREEING: Final = 3
RETURNING: Final = 1000


class Watermark:
    """The watermark of one partition.

    Args:
        leap: ms of event time beyond which one event decides nothing.
        memory: ms of event time for which a series without an open window is a voter.
        far: ms of event time behind the watermark beyond which an event may show that it is wrong.

    Attributes:
        ms: the watermark, None where there is none yet.
        target: the closing time of the windows that close next, None without open windows. It follows from these.
        passed: newest event time of each series that has passed the target, until an event of it is before the target.
        gone_on: ms of event time for which such a series has gone on since the last event before the target.
        longest: the greatest of these.
        row: number of the last events in a row that are at or behind the target. tail: times of the last `AGREEING`.
        resting: voters without an open window, with the end of their last one.
        behind: events in a row that are far behind the watermark.
    """

    __slots__ = (
        "behind",
        "far",
        "gone_on",
        "leap",
        "longest",
        "memory",
        "ms",
        "passed",
        "resting",
        "row",
        "tail",
        "target",
    )

    def __init__(self, leap: int, memory: int, far: int) -> None:
        self.leap, self.memory, self.far = leap, memory, far
        self.ms: int | None = None
        self.target: int | None = None
        self.passed: dict[str, int] = {}
        self.gone_on: dict[str, int] = {}
        self.longest = 0
        self.tail: list[int] = []
        self.resting: dict[str, int] = {}
        self.behind = self.row = 0

    def observe(self, series: str, time_ms: int, active: int) -> None:
        """Observes an event, also one that no window could take in.

        Args:
            series, time_ms: of the event.
            active: number of series with open windows.
        """
        if self.ms is not None and time_ms < self.ms:
            self.behind = self.behind + 1 if time_ms < self.ms - self.far else 0
            if self.behind >= RETURNING:
                self.ms, self.behind = time_ms, 0
            return
        self.behind = 0
        if self.target is None or time_ms < self.target:
            self.passed.pop(series, None)
            self.tail.clear()
            self.gone_on.clear()
            self.longest = self.row = 0
            return
        self.row += 1
        self.tail = [*self.tail[1 - AGREEING :], time_ms]
        if series not in self.passed and 2 * len(self.passed) > active + len(self.resting):
            return  # more would change nothing, and series without windows have no bound
        before = self.passed.get(series, time_ms)
        # An event that jumps counts for a part of a leap only, one that is as far behind begins anew from there.
        most = self.leap // AGREEING
        if time_ms > before:
            went = self.gone_on[series] = self.gone_on.get(series, 0) + min(time_ms - before, most)
            self.longest = max(self.longest, went)
        self.passed[series] = time_ms if time_ms > before or time_ms < before - most else before

    def is_reached(self, active: int) -> bool:
        """Returns whether the target is reached, by the events so far.

        Args:
            active: number of series with open windows.
        """
        if not self.tail or self.target is None:
            return False
        voters = active + len(self.resting)
        if self.longest > self.leap and self.row >= AGREEING * voters:
            return True
        near = self.tail[-1] <= (self.target if self.ms is None else self.ms) + self.leap
        return 2 * len(self.passed) > voters and (near or len(self.tail) >= AGREEING)

    def is_near(self, active: int) -> bool:
        """Returns whether more than half of the voters have passed the target by a leap at most: it is the present."""
        latest = (self.target or 0) + self.leap
        return 2 * sum(time <= latest for time in self.passed.values()) > active + len(self.resting)

    def aim(self, target: int | None) -> None:
        """Sets the target: the closing time of the windows that close next, None without open windows."""
        if target is None:
            self._clear()
        elif self.target is not None and target > self.target:
            step = target - self.target
            self.passed = {name: time for name, time in self.passed.items() if time >= target}
            self.gone_on = {name: ms - step for name, ms in self.gone_on.items() if ms > step and name in self.passed}
            self.longest = max(self.gone_on.values(), default=0)
            while self.tail and min(self.tail) < target:
                self.tail.pop(0)
                self.row = len(self.tail)
        self.target = target

    def rest(self, grace: int) -> None:
        """Removes the voters without an open window whose last one closed the longest interval ago.

        Args:
            grace: ms from the end of a window to its closing time.
        """
        if self.ms is not None:
            horizon = self.ms - grace - self.memory
            self.resting = {name: end for name, end in self.resting.items() if end > horizon}

    def pause(self) -> None:
        """Removes what is known of the series, all of which are silent."""
        self._clear()
        self.resting = {}

    def forget(self, series: str) -> None:
        """Removes what is known of a series."""
        for known in (self.passed, self.gone_on, self.resting):
            known.pop(series, None)
        self.longest = max(self.gone_on.values(), default=0)

    def _clear(self) -> None:
        self.passed, self.gone_on, self.tail, self.longest, self.row = {}, {}, [], 0, 0
