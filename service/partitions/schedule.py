"""Decides when to train: a pure function of the stream of one partition, so that a replay decides the same.

A training is due at fixed numbers of events: `first_after_events`, then every `every_events`; and when the event time
passes another multiple of `every_time` since the first event. Or it follows the growth of the stream: it is due after
2,000 events and whenever their number has doubled, until a training sees half of the history that is kept, and from
then on after each further half of it. With several partitions, each one counts its own events, at staggered numbers, so
that together they have the configured rate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.config.retrain import RetrainConfig

FIRST_TRAINING: Final = 2000
"""Events before the first training of a stream that grows."""

_FURTHEST: Final = 1 << 62  # bound of valid counts and times


@dataclass(slots=True)
class Progress:
    """The progress of a partition; part of its snapshot.

    Attributes:
        events: observed events so far.
        first_ms: event time of the first event. newest_ms: greatest event time so far. None before the first event.
        due_at: value of `events` when a training last became due, -1 before.
        cause: of that training: "schedule" or "drift", "" before.
        follow: remaining follow-up trainings of the last drift.
        of_last_record: observed events of the last record with events.
    """

    events: int = 0
    first_ms: int | None = None
    newest_ms: int | None = None
    due_at: int = -1
    cause: str = ""
    follow: int = 0
    of_last_record: int = 1

    def reached_multiple_of(self, number: int) -> bool:
        """Returns whether the last record has the event whose number is a multiple of `number`."""
        return self.events > 0 and self.events % number < self.of_last_record

    def reached_growth_from(self, number: int) -> bool:
        """Returns whether the last record has one of the events of `until_growth_from`."""
        return self.events >= number and self.until_growth_from(number, -self.of_last_record) <= self.of_last_record

    def until_growth_from(self, number: int, more: int = 0) -> int:
        """Returns the number of next events up to the next of the `number`-th, and those a quarter of a doubling on.

        These are 4/4, 5/4, 6/4 and 7/4 of `number` times each power of two; `number` is a multiple of 4. `more`:
        counted from so many events further on.
        """
        events = self.events + more
        if events < number:
            return number - events
        quarter = (number << (events // number).bit_length() - 1) // 4
        return quarter - events % quarter

    @property
    def is_due(self) -> bool:
        """Whether a training became due at the last event."""
        return self.due_at == self.events

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON values for a snapshot's header and the identity of a training; usual ones are left out."""
        usual = {"follow": 0, "of_last_record": 1}
        return {name: value for name, value in asdict(self).items() if usual.get(name) != value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """Converts the values of `to_dict`.

        Raises:
            TypeError, ValueError: they are invalid.
        """
        found = cls(**values)
        numbers = [getattr(found, name) for name in ("events", "due_at", "follow", "of_last_record")]
        numbers += [time for time in map(values.get, ("first_ms", "newest_ms")) if time is not None]
        fits = all(isinstance(number, int) and abs(number) < _FURTHEST for number in numbers)
        if not fits or not isinstance(values.get("cause", ""), str):
            msg = f"progress: got {values}, expected whole numbers and the cause of a training"
            raise ValueError(msg)
        return found


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule of one partition.

    Attributes:
        every_events, first_after_events: see `RetrainConfig`; 0 for never.
        every_ms: event time between trainings, 0 for never.
        half: half of the events of the history, where trainings follow the growth of the stream, else 0.
        index, count: index of this partition and number of partitions.
    """

    every_events: int = 0
    first_after_events: int = 0
    every_ms: int = 0
    index: int = 0
    count: int = 1
    half: int = 0

    @classmethod
    def of(cls, settings: RetrainConfig, history_events: int, index: int, count: int) -> Schedule:
        """Creates the schedule of partition `index` of `count` from the settings."""
        half = max(FIRST_TRAINING, history_events // 2) if settings.grows and history_events else 0
        every_ms = round(settings.every_time * 1000)
        return cls(settings.event_count, settings.first_after_events, every_ms, index, count, half)

    def due(self, progress: Progress, timestamp_ms: NDArray[np.int64]) -> int | None:
        """Returns the number of next events after which a training becomes due.

        Args:
            progress: before these events.
            timestamp_ms: their event times, shape (n,).

        Returns:
            1 to n, or None when none becomes due within them.
        """
        found = [at for at in (self._by_events(progress), self._by_time(progress, timestamp_ms)) if at]
        nearest = min(found, default=0)
        return nearest if 1 <= nearest <= len(timestamp_ms) else None

    def _by_events(self, progress: Progress) -> int | None:
        """Returns the events until the next number at which a training becomes due."""
        if self.half:
            return self._by_growth(progress)
        share = self.index + 1
        first = self.first_after_events or self.every_events
        if not first:
            return None
        first = -(-first * share // self.count)
        if progress.events < first:
            return first - progress.events
        if not self.every_events:
            return None
        return self.every_events - (progress.events - first) % self.every_events

    def _by_growth(self, progress: Progress) -> int:
        """Returns the events until the next training of a stream that grows.

        Partitions take turns: with equal shares, the k-th training of all is due in partition k modulo `count`.
        """
        doublings = (self.half // (FIRST_TRAINING * 3 // 2)).bit_length()  # up to two thirds of `half`
        passed = progress.events * self.count
        first = doublings + passed // self.half - 1 if passed >= self.half else 0
        turn = first + (self.index - first) % self.count
        while True:
            total = FIRST_TRAINING << turn if turn < doublings else self.half * (1 + turn - doublings)
            if (at := -(-total // self.count)) > progress.events:
                return at - progress.events
            turn += self.count

    def _by_time(self, progress: Progress, timestamp_ms: NDArray[np.int64]) -> int | None:
        if not self.every_ms or not len(timestamp_ms):
            return None
        first = int(timestamp_ms[0]) if progress.first_ms is None else progress.first_ms
        newest = first if progress.newest_ms is None else progress.newest_ms
        passed = np.maximum(np.maximum.accumulate(timestamp_ms), newest) - first
        # Of the multiples passed so far, the number assigned to this partition.
        turns = (passed // self.every_ms + self.count - 1 - self.index) // self.count
        before = ((newest - first) // self.every_ms + self.count - 1 - self.index) // self.count
        later = np.flatnonzero(turns > before)
        return int(later[0]) + 1 if len(later) else None

    def advance(
        self, progress: Progress, timestamp_ms: NDArray[np.int64], *, due: bool, of_last_record: int = 1
    ) -> None:
        """Counts observed events; `due`: a training became due at the last record, with `of_last_record` of them."""
        if len(timestamp_ms):
            if progress.first_ms is None:
                progress.first_ms = int(timestamp_ms[0])
            newest = int(timestamp_ms.max())
            progress.newest_ms = newest if progress.newest_ms is None else max(progress.newest_ms, newest)
            progress.events += len(timestamp_ms)
            progress.of_last_record = of_last_record
        if due:
            progress.due_at, progress.cause = progress.events, "schedule"
