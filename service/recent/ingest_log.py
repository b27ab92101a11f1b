"""Counts what became of the records, and keeps the newest rejected ones of every reason, for API and page. Bounded."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Final, NamedTuple

import numpy as np

from forecaster import Status
from service.publication import Listener, Publication

EXAMPLES: Final = 3  # of every reason
MOST_CHARACTERS: Final = 300


class RejectExample(NamedTuple):
    """A rejected record: where it is, and what was expected of it.

    Attributes:
        partition, position: of the record. detail: text for people, cut.
    """

    partition: str
    position: int
    detail: str


class IngestCounts(NamedTuple):
    """What became of the records since the start of the process.

    Attributes:
        events: number of events by name of their status. rejected: number of records by reason.
        filtered: records, or elements of arrays in them, that do not meet `input.where`.
        examples: the newest rejected records by reason, the newest last.
    """

    events: dict[str, int]
    rejected: dict[str, int]
    filtered: int
    examples: dict[str, list[RejectExample]]


class IngestLog(Listener):
    """The counts; updated by the engine's thread, read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events = np.zeros(len(Status), np.int64)
        self._rejected, self._filtered = Counter[str](), 0
        self._examples: dict[str, deque[RejectExample]] = {}  # by reason; the reasons are bounded

    def on_publication(self, publication: Publication) -> None:
        """Counts one unit."""
        unit, decoded = publication.unit, publication.decoded
        statuses = np.bincount(publication.forecasts.status, minlength=len(Status))
        with self._lock:
            self._events += statuses
            self._events[Status.DUPLICATE] += len(decoded.duplicates)
            self._filtered += sum(count for _, count in decoded.filtered)
            if tombstones := len(decoded.tombstones):
                self._rejected["tombstone"] += tombstones
            if unit.rejects:
                self._rejected.update(reject.reason for reject in unit.rejects)
            for reject in unit.rejects[-64:]:
                kept = self._examples.setdefault(reject.reason, deque(maxlen=EXAMPLES))
                kept.append(RejectExample(unit.partition, reject.position, reject.detail[:MOST_CHARACTERS]))

    def counts(self) -> IngestCounts:
        """Returns a copy of the counts."""
        with self._lock:
            events = {status.name.lower(): int(self._events[status]) for status in Status}
            examples = {reason: list(kept) for reason, kept in self._examples.items()}
            return IngestCounts(events, dict(self._rejected), self._filtered, examples)
