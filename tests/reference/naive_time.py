"""The step of an event, and the interval of its series, in plain Python. Written from interval.py's docstring.

All state is lists of times; a run of gaps is the list of its steps' times.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class NaiveTime:
    """The times of one series.

    Attributes:
        configured: whether the interval is given, not learnt.
        interval: 0 while not known.
        step, last: times of the first event of the newest step, and of the newest event.
        first: the first gaps, up to seven.
        run, gaps: times of the steps of a run, the gaps between them that agree, the first one included.
        merged: events merged into the newest step of the run.
        doubted: steps that must follow before the newest time is certain.
        certain: newest certain time while the newest is not; None if no time is certain.
        late: late events in a row that are newer than `certain`.
        contradicted: whether a contradiction was noted.
    """

    configured: bool
    interval: int = 0
    step: int = 0
    last: int | None = None
    first: list[int] = field(default_factory=list)
    run: list[int] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    merged: int = 0
    doubted: int = 3
    certain: int | None = None
    late: int = 0
    contradicted: bool = False

    def place(self, ts: int) -> tuple[str, int, float, set[str], int]:
        """Returns kind of event, missing steps before it, time gap after them, notes, time of the previous step."""
        if self.last is None:
            self.step = self.last = ts
            return "step", 0, 1.0, set(), ts
        notes = set()
        if ts == self.last:
            return "duplicate", 0, 1.0, notes, self.step
        if ts < self.last:
            if not self.doubted or (self.certain is not None and ts <= self.certain):
                return "late", 0, 1.0, notes, self.step
            self.late += 1
            if self.late < 3:
                self.certain = ts
                return "late", 0, 1.0, notes, self.step
            notes.add("reopened")
            assert self.certain is not None
            self.step = self.last = self.certain
            self.run, self.gaps, self.doubted = [], [], 0
            if len(self.first) < 7:
                self.first = []
        before, kind, missing, step = self.last, "step", 0, self.step
        if not self.configured and len(self.first) < 7:
            gap = ts - before
            self.first.append(gap)
            self.interval = sorted(self.first)[(len(self.first) - 1) // 2]
            ahead = gap // self.interval - 1
        else:
            gap = ts - self.step
            other = self._follow(ts)
            if other and not self.configured:
                newest = [self.gaps[0], *self.gaps[1:][-6:]]
                self.interval = sorted(newest)[(len(newest) - 1) // 2]
                gap = ts - before
                notes.add("new")
            elif other and not self.contradicted:
                self.contradicted = True
                notes.add("contradicted")
            if other:
                self.run, self.gaps = [], []
            if "new" not in notes:
                if 2 * gap < self.interval and "reopened" not in notes:
                    kind = "same"
                missing = max(0, (gap + self.interval // 2) // self.interval - 1)
            ahead = missing
        self.late = 0
        if ahead > 3:
            self.certain = self.certain if self.doubted else before
            self.doubted = max(self.doubted, 60 if ahead > 1000 else 3)
        elif kind == "step":
            self.doubted = max(0, self.doubted - 1)
        if kind == "step":
            self.step = ts
        self.last = ts
        return kind, missing, gap / self.interval - missing, notes, step

    def _follow(self, ts: int) -> bool:
        """Adds an event to the run, or starts a run; returns whether the run is long enough."""
        assert self.last is not None
        own = self.interval
        if self.run:
            one, gap = self.gaps[0], ts - self.run[-1]
            if gap <= one // 8:
                self.merged += 1
                if self.merged <= 11:
                    return False
            elif abs(gap - one) <= min(one // 4, abs(one - own) // 2):
                self.run.append(ts)
                self.gaps.append(gap)
                self.merged = 0
                near = abs(one - own) <= own // 4
                return len(self.gaps) >= (24 if near else 6 if one > 4.5 * own else 12)
            elif any(abs(gap - k * one) <= one // 8 for k in (2, 3, 4)):
                self.run[-1], self.merged = ts, 0
                return False
        self.run, self.gaps, self.merged = [], [], 0
        gap = ts - self.last
        if all(abs(one - own) > own // 20 for one in (gap, ts - self.step)):
            self.run, self.gaps = [ts], [gap]
        return False
