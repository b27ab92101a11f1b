"""What a stretch of raw events becomes: columns of closed windows, and the events that no window could take in."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from service.messages.decode import Aggregated, Decoded
from service.messages.decoded_rows import numbers_within
from service.messages.parsed import Problem


@dataclass(slots=True)
class ClosedWindows:
    """Closed windows as growing columns, in the order of their closing.

    Attributes:
        series, start_ms, end_ms, values: of each window and function.
        index: index of the record that closed or revised it, in the batch of the raw events.
        revises: whether it was closed before, and has another value now.
        taken: number of raw events that were added to windows. repaired: of those that were added to closed ones.
        late_steps: of the late raw events, how many need a `late_within` of at least so many intervals.
        refused: index of the record and problem of each raw event that was not: late, or beyond a bound.
        skipped: empty windows that were left out of long gaps.
        dropped: windows with events that were far ahead of all others, so that their times were wrong.
        forget: series whose state is removed, each with the number of closed windows before that.
        mark_ms: event time of the time mark that closed them, None where records did.
    """

    series: list[str] = field(default_factory=list)
    start_ms: list[int] = field(default_factory=list)
    end_ms: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    revises: list[bool] = field(default_factory=list)
    taken: int = 0
    repaired: int = 0
    late_steps: Counter[int] = field(default_factory=Counter)
    refused: list[tuple[int, Problem]] = field(default_factory=list)
    skipped: int = 0
    dropped: int = 0
    forget: list[tuple[int, str]] = field(default_factory=list)
    mark_ms: int | None = None

    def __len__(self) -> int:
        """The number of values."""
        return len(self.series)

    def events(self, raw: Decoded, positions: Sequence[int]) -> Decoded:
        """Returns the values as events of the records that closed the windows.

        Args:
            raw: the raw events; all but the events is taken over.
            positions: of the records of the batch.
        """
        value = np.array(self.values, np.float64)
        return dataclasses.replace(
            raw,
            series=self.series,
            timestamp_ms=np.array(self.start_ms, np.int64),
            value=value,
            covariates=None,
            future=None,
            positions=[positions[at] for at in self.index],
            index=self.index,
            within=numbers_within(self.index),
            missing=int(np.isnan(value).sum()),
            windows=Aggregated(
                np.array(self.end_ms, np.int64),
                self.taken,
                self.refused,
                self.skipped,
                self.forget,
                self.dropped,
                self.mark_ms,
                self.repaired,
                np.array(self.revises, np.bool_) if any(self.revises) else None,
                self.late_steps,
            ),
        )
