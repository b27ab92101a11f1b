"""An in-memory transport for tests: scripts of records and crashes.

    log = MemoryLog({"0": [b"...", ABORT_POLL, b"...", ABORT_PUBLISHED, b"..."]})
    MemoryTransport(log)     # raises Abort once where the script has one; a new transport on the same log continues

The log stands for everything that outlives a process: input records, committed units, the owner of the lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from service.errors import SinkUnavailableError, SourceGoneError, TransportBusyError, TransportError
from service.ports import Adoption, Encoded, Outcomes, OutputIdentity, Records, TimeMark, Unit, marks_from, models_from


class Abort(TransportError):  # noqa: N818 - named after what it stands for, the death of the process
    """A simulated crash of the process. The test drops everything and starts again."""


class Script(Enum):
    """Events of a script between records. Each happens once, at the first transport that reaches it."""

    ABORT_POLL = "abort in poll, before the following records are returned"
    ABORT_PUBLISH = "abort in publish of the batch with the preceding record; the unit is not stored"
    ABORT_PUBLISHED = "abort in publish of the batch with the preceding record; the unit is stored"
    SINK_DOWN = "one retriable error in publish of the batch with the preceding record"


ABORT_POLL, ABORT_PUBLISH = Script.ABORT_POLL, Script.ABORT_PUBLISH
ABORT_PUBLISHED, SINK_DOWN = Script.ABORT_PUBLISHED, Script.SINK_DOWN


@dataclass(slots=True)
class MemoryLog:
    """Everything that outlives a transport.

    Attributes:
        script: records and the events between them, by partition; append to it to feed a following reader.
        units: the published units, in order.
        earliest: oldest position still held, by partition; raise it to simulate retention.
        ends: whether the source has an end.
        identity: of the output; without a name by default.
        released: position before which nothing will be replayed, by partition, from the engine's last call.
    """

    script: Mapping[str, Sequence[bytes | Script]]
    units: list[Unit] = field(default_factory=list)
    earliest: dict[str, int] = field(default_factory=dict)
    ends: bool = True
    released: dict[str, int] = field(default_factory=dict)
    happened: set[tuple[str, int]] = field(default_factory=set)
    owner: object | None = None
    identity: OutputIdentity = field(default_factory=OutputIdentity)

    def records(self, partition: str) -> list[bytes]:
        """Returns the records alone; the index is the position."""
        return [item for item in self.script[partition] if isinstance(item, bytes)]

    def due(self, partition: str, start: int, end: int, *kinds: Script) -> Script | None:
        """Returns the first event of these kinds after a record of [start, end), and marks it as happened.

        Events before record 0 count as after record -1.
        """
        position = -1
        for at, item in enumerate(self.script[partition]):
            if isinstance(item, bytes):
                position += 1
            elif item in kinds and start <= position < end and (partition, at) not in self.happened:
                self.happened.add((partition, at))
                return item
        return None

    def forecasts(self, partition: str) -> list[bytes]:
        """Returns all published forecasts of a partition, in order."""
        return [forecast for unit in self.units if unit.partition == partition for forecast in unit.forecasts]


class MemoryTransport:
    """`service.ports.Transport` over a `MemoryLog`; positions are indices of records."""

    atomic = True
    generation = 0  # the partitions never change

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._next: dict[str, int] = {}
        self._turn = 0
        self._held: frozenset[str] = frozenset()

    def start(self) -> None:
        """Takes the lock of the log."""
        if self._log.owner is not None:
            msg = "the log is in use by another transport; close that one first"
            raise TransportBusyError(msg)
        self._log.owner = self
        self._next = {name: self.committed(name) or self.earliest(name) for name in self._log.script}

    @property
    def identity(self) -> OutputIdentity:
        """Returns the identity of the log."""
        return self._log.identity

    def partitions(self) -> Sequence[str]:
        """Returns the keys of the script."""
        return list(self._log.script)

    def committed(self, partition: str) -> int | None:
        """Returns the `next_position` of the last unit of the partition."""
        ends = [unit.next_position for unit in self._log.units if unit.partition == partition]
        return ends[-1] if ends else None

    def run(self, partition: str) -> int:  # noqa: ARG002 - positions are never lost here
        """Returns 1: the first run is the only one."""
        return 1

    def earliest(self, partition: str) -> int:
        """Returns `earliest` of the log, 0 by default."""
        return self._log.earliest.get(partition, 0)

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """Returns the adoptions of the published units."""
        return [one for unit in self._log.units if unit.partition == partition for one in unit.adoptions]

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the time marks of the published units from a position on, as if released ones were deleted."""
        marks = [unit.mark for unit in self._log.units if unit.partition == partition and unit.mark]
        released = self._log.released.get(partition, 0)
        gone = [mark.position + 1 for mark in marks if mark.position < released]
        return marks_from(partition, marks, start, max(gone, default=None))

    def models_needed(self) -> set[str]:
        """Returns the models that records still held by the log need."""
        return {sha for name in self._log.script for sha in models_from(self.adoptions(name), self.earliest(name))}

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again; no event of the script happens."""
        if start < self.earliest(partition):
            msg = (
                f'"{partition}": position {start} is needed for a replay, but the log begins at position '
                f"{self.earliest(partition)}"
            )
            raise SourceGoneError(msg)
        for lower in range(start, end, limit):
            yield self._records(partition, lower, min(end, lower + limit))

    def _records(self, partition: str, start: int, end: int) -> Records:
        return Records(partition, range(start, end), end, self._log.records(partition)[start:end])

    def all_partitions(self) -> Sequence[str]:
        """Returns the same as `partitions`."""
        return self.partitions()

    def partitions_of_history(self, partition: str) -> int:  # noqa: ARG002 - there is no history
        """Returns the number of partitions."""
        return len(self._log.script)

    def pause(self, partitions: Collection[str]) -> None:
        """Excludes these partitions from `poll`."""
        self._held = frozenset(partitions)

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:  # noqa: ARG002 - never waits
        """Returns the next records, up to the next ABORT_POLL of the script. Never waits."""
        return self.poll_buffered(limit, ())

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Returns the same as `poll`, or None if the next records are of a partition in `taken`."""
        self._check_owner()
        names = self.partitions()
        for step in range(len(names)):
            name = names[(self._turn + step) % len(names)]
            if name in self._held:
                continue
            start, end = self._next[name], len(self._log.records(name))
            if name in taken:
                if start < end:
                    return None
                continue
            if self._log.due(name, start - 1, start, ABORT_POLL):
                self._die()
            for stop in range(start + 1, min(end, start + limit)):  # a batch ends before an ABORT_POLL
                if self._would_abort(name, stop):
                    end = stop
            end = min(end, start + limit)
            if start < end:
                self._turn += step + 1
                self._next[name] = end
                return self._records(name, start, end)
        return None

    def _would_abort(self, name: str, position: int) -> bool:
        happened = set(self._log.happened)
        due = self._log.due(name, position - 1, position, ABORT_POLL)
        self._log.happened = happened
        return due is not None

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Does nothing: `publish` receives the whole unit."""

    def publish(self, unit: Unit) -> None:
        """Appends the unit to the log, or fails as the script requires."""
        self._check_owner()
        committed = self.committed(unit.partition) or 0
        if unit.next_position < unit.position or unit.position < committed:
            msg = (
                f"got a unit over [{unit.position}, {unit.next_position}), expected one that starts at the committed "
                f"position {committed} or later"
            )
            raise ValueError(msg)
        where = unit.partition, unit.position, unit.next_position
        if self._log.due(*where, SINK_DOWN):
            msg = "the sink is unavailable here in the script; publish the unit again"
            raise SinkUnavailableError(msg)
        if self._log.due(*where, ABORT_PUBLISH):
            self._die()
        self._log.units.append(unit)
        if self._log.due(*where, ABORT_PUBLISHED):
            self._die()

    def _die(self) -> None:
        self._log.owner = None  # the system releases the lock of a dead process
        msg = "the process aborts here in the script"
        raise Abort(msg)

    def _check_owner(self) -> None:
        if self._log.owner is not self:
            msg = "this transport does not have the lock of the log; start it first"
            raise TransportError(msg)

    def finished(self) -> bool:
        """Returns whether the source has an end and all of it was published."""
        return self._log.ends and not any(self.lag().values())

    def outcomes(self) -> Outcomes:
        """Returns the outcome counters of the published units."""
        units = [unit for unit in self._log.units if unit.partition in self._log.script]
        rejects = [reject for unit in units for reject in unit.rejects]
        return Outcomes(
            sum(unit.outcomes.events for unit in units),
            sum(unit.outcomes.late for unit in units),
            sum(unit.outcomes.duplicates for unit in units),
            Counter(reject.reason for reject in rejects if reject.reason != "late"),
            rejects[0].detail if rejects else "",
        )

    def release(self, partition: str, position: int) -> None:
        """Stores the position in the log; every record stays."""
        self._log.released[partition] = position

    def lag(self) -> dict[str, int]:
        """Returns the number of records that were not published yet, by partition."""
        return {
            name: len(self._log.records(name)) - (self.committed(name) or self.earliest(name))
            for name in self.partitions()
        }

    def close(self) -> None:
        """Releases the lock."""
        if self._log.owner is self:
            self._log.owner = None
