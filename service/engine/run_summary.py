"""Counts what becomes of the records of this process: events taken in, those that are late, those rejected and why.

A stream whose fields have other names than expected is rejected to its last record, and each of them is where it
belongs, in the table of rejects. The summary is for the person who does not look there yet: the first record of every
reason is logged, and the end of the run judges the sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from forecaster import Status
from service.ports import Outcomes
from service.publication import Listener, Publication

if TYPE_CHECKING:
    from service.messages.controls import Tombstone
    from service.ports import Reject

_log = structlog.get_logger()

_SHOWN: Final = 300  # characters of a detail: a line of the log, not the record


class RunSummary(Listener):
    """Counts what was published, unit by unit. Belongs to the engine's thread; read when that has ended.

    Attributes:
        rejects: records rejected, by reason.
        first: the detail of the very first of them, "" while there is none.
        before: what became of the records of earlier runs, where this one found no further ones.
    """

    def __init__(self) -> None:
        self._statuses = [0] * len(Status)
        self.rejects: Counter[str] = Counter()
        self.first = ""
        self.before: Outcomes | None = None
        self._missing = 0
        self._two_units = self._tombstones = False

    @property
    def events(self) -> int:
        """Those that were taken in: with a value, without one, or for all series."""
        return sum(self._statuses[status] for status in (Status.OK, Status.MISSING, Status.UNKNOWN, Status.BROADCAST))

    @property
    def valueless(self) -> bool:
        """Whether there are events, none of them has a value, and none got a forecast."""
        return 0 < self.events == self._statuses[Status.UNKNOWN] <= self._missing

    @property
    def late(self) -> int:
        """Those that were older than the newest event of their series, and dropped or rejected for it."""
        return self._statuses[Status.LATE]

    @property
    def duplicates(self) -> int:
        """Those of the same time as the newest event of their series."""
        return self._statuses[Status.DUPLICATE]

    @property
    def total(self) -> Outcomes:
        """The sums; what was rejected for being late counts as late alone."""
        rejects = {reason: count for reason, count in self.rejects.items() if reason != "late"}
        return Outcomes(self.events, self.late, self.duplicates, rejects, self.first)

    def on_publication(self, publication: Publication) -> None:
        """Counts one published unit."""
        decoded, partition = publication.decoded, publication.partition
        statuses = np.bincount(publication.forecasts.status, minlength=len(self._statuses)).tolist()
        self.count(partition, statuses, publication.unit.rejects, decoded.missing)
        if decoded.tombstones:
            self.note_tombstone(partition, decoded.tombstones[0])
        if decoded.two_units:
            self.note_two_units(partition)

    def end(self, outcomes: Callable[[], Outcomes | None]) -> None:
        """The source has ended; where this run found no records, those of earlier runs are asked for."""
        if not self.total.records:
            self.before = outcomes()

    def count(self, partition: str, statuses: Sequence[int], rejects: Sequence[Reject], missing: int = 0) -> None:
        """Counts one published unit; the first record of every reason is logged.

        Args:
            partition: that it came from.
            statuses: how many events became ok, missing, duplicate, late, broadcast, unknown.
            rejects: the records rejected.
            missing: how many of the values were missing.
        """
        self._missing += missing
        self._statuses = [before + more for before, more in zip(self._statuses, statuses, strict=True)]
        for reject in rejects:
            if reject.reason not in self.rejects:
                _log.warning("first record set aside for this reason", reason=reject.reason, partition=partition,
                             position=reject.position, detail=reject.detail[:_SHOWN])  # fmt: skip
            self.first = self.first or reject.detail[:_SHOWN]
            self.rejects[reject.reason] += 1

    def note_tombstone(self, partition: str, tombstone: Tombstone) -> None:
        """Logs once that there are records without a value."""
        if not self._tombstones:
            self._tombstones = True
            done = f"forgets {tombstone.series!r}" if tombstone.series else "nothing; see input.tombstone"
            _log.info("first record without a value", partition=partition, position=tombstone.position, done=done)

    def note_two_units(self, partition: str) -> None:
        """Logs once that numbers of a stream count as seconds and as milliseconds."""
        if not self._two_units:
            self._two_units = True
            expected = "all of them epoch seconds or all epoch milliseconds; see input.time_unit"
            _log.warning("event times are numbers of two units", partition=partition, expected=expected)
