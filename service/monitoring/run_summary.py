"""Counts the records of this process: events, late events, duplicates, and rejects by reason.

A stream whose fields have unexpected names is rejected completely, and all its records are in the table of rejects. The
summary is for a person who does not look there: the first record of every reason is logged, and the sums determine the
exit status.
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
    from service.config.sections import Config
    from service.messages.controls import Tombstone
    from service.ports import Reject

_log = structlog.get_logger()

_SHOWN: Final = 300  # characters of a logged detail
OF_FIELDS: Final = frozenset({"missing_field", "wrong_type", "bad_timestamp", "undecodable"})
"""Reasons of records whose fields are not those that are configured."""
_REASONS: Final = "docs/messages.md#rejected-records"


def inspection(config: Config) -> str:
    """Returns the command that shows the fields of the input, and writes the settings for them; "" without one."""
    entries = [f"--topic {topic}" for topic in config.kafka.topics]
    entries += [f"'{file}'" for file in config.input.files if file != "-"]
    return f"forecaster inspect {entries[0]} --write FILE" if entries else ""


class RunSummary(Listener):
    """Counts the published units. Updated in the engine's thread; read after it has ended.

    Args:
        inspect: result of `inspection`, logged with a record whose fields are not those that are configured.

    Attributes:
        rejects: records rejected, by reason.
        filtered: records, and elements of arrays in records, that do not meet `input.where`.
        first: the detail of the first rejected record, "" without one.
        before: the counts of earlier runs, where this run found no further records.
    """

    def __init__(self, inspect: str = "") -> None:
        self._inspect = inspect or _REASONS
        self._statuses = [0] * len(Status)
        self.rejects: Counter[str] = Counter()
        self.filtered = 0
        self.first = ""
        self.before: Outcomes | None = None
        self._missing = 0
        self._raw: int | None = None
        self._two_units = self._tombstones = self._clock_changes = False

    @property
    def events(self) -> int:
        """Events that updated the state: with a value, without one, or for all series; with windows the raw ones."""
        return self._observed if self._raw is None else self._raw

    @property
    def _observed(self) -> int:
        observed = Status.OK, Status.MISSING, Status.UNKNOWN, Status.BROADCAST, Status.REPAIRED
        return sum(self._statuses[status] for status in observed)

    @property
    def valueless(self) -> bool:
        """Whether there are events, but none with a value or a forecast."""
        return 0 < self._observed == self._statuses[Status.UNKNOWN] <= self._missing

    @property
    def late(self) -> int:
        """Events older than the newest event of their series, or behind its closed window: dropped or rejected."""
        return self._statuses[Status.LATE]

    @property
    def duplicates(self) -> int:
        """Events with the same time as the newest event of their series."""
        return self._statuses[Status.DUPLICATE]

    @property
    def total(self) -> Outcomes:
        """The sums; events rejected for being late count as late only."""
        rejects = {reason: count for reason, count in self.rejects.items() if reason != "late"}
        return Outcomes(self.events, self.late, self.duplicates, rejects, self.first)

    def on_publication(self, publication: Publication) -> None:
        """Counts one published unit."""
        decoded, partition = publication.decoded, publication.partition
        statuses = np.bincount(publication.forecasts.status, minlength=len(self._statuses)).tolist()
        statuses[Status.DUPLICATE] += len(decoded.duplicates)
        if decoded.windows is not None:
            self._raw = (self._raw or 0) + decoded.windows.taken
            statuses[Status.LATE], statuses[Status.DUPLICATE] = (
                decoded.windows.late,
                len(decoded.duplicates),
            )  # raw ones
        self.count(partition, statuses, publication.unit.rejects, decoded.missing)
        self.filtered += sum(count for _, count in decoded.filtered)
        if decoded.tombstones:
            self.note_tombstone(partition, decoded.tombstones[0])
        if decoded.two_units:
            self.note_two_units(partition)
        if decoded.clock_changes:
            self.note_clock_changes(partition)

    def end(self, outcomes: Callable[[], Outcomes | None]) -> None:
        """Ends the counting; if this run found no records, gets the counts of earlier runs."""
        if not self.total.records:
            self.before = outcomes()

    def count(self, partition: str, statuses: Sequence[int], rejects: Sequence[Reject], missing: int = 0) -> None:
        """Counts one published unit, and logs the first record of every reason.

        Args:
            partition: its partition.
            statuses: number of events by status: ok, missing, duplicate, late, broadcast, unknown, repaired.
            rejects: the records rejected.
            missing: number of missing values.
        """
        self._missing += missing
        self._statuses = [before + more for before, more in zip(self._statuses, statuses, strict=True)]
        for reject in rejects:
            if reject.reason not in self.rejects:
                _log.warning("first record rejected for this reason", reason=reject.reason, partition=partition,
                             position=reject.position, detail=reject.detail[:_SHOWN],
                             see=self._inspect if reject.reason in OF_FIELDS else _REASONS)  # fmt: skip
            self.first = self.first or reject.detail[:_SHOWN]
            self.rejects[reject.reason] += 1

    def note_tombstone(self, partition: str, tombstone: Tombstone) -> None:
        """Logs once that there are records without a value."""
        if not self._tombstones:
            self._tombstones = True
            done = f"forgets {tombstone.series!r}" if tombstone.series else "ignored; see input.tombstone"
            _log.info("first record without a value", partition=partition, position=tombstone.position, done=done)

    def note_clock_changes(self, partition: str) -> None:
        """Logs once that event times without a zone are within a change of the clock."""
        if not self._clock_changes:
            self._clock_changes = True
            done = "a time that the clock shows twice is the first one, a time that it skips is moved by the change"
            _log.warning("event times within a change of the clock", partition=partition, done=done)

    def note_two_units(self, partition: str) -> None:
        """Logs once that numeric times were interpreted as seconds and as milliseconds."""
        if not self._two_units:
            self._two_units = True
            expected = "all of them epoch seconds or all epoch milliseconds; see input.fields.time_unit"
            _log.warning("event times are numbers of two units", partition=partition, expected=expected)
