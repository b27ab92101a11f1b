"""The interfaces between the engine and its environment: Protocols with their failure guarantees, and shared values.

    Transport   reads records; publishes one atomic unit of forecasts, rejects, adoption and position; committed
                positions; replay. It is made of a source and a sink: see service/transport/pair.py,
                service/sources and service/sinks
    Clock       monotonic time and wall time, replaced in tests

Nothing here uses a file, a socket or a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from service.errors import SourceGoneError

HISTORY_BEGIN: Final = -(1 << 53)
"""Position of the first record of the history (`[bootstrap]`), whose positions are all negative: live ones follow it,
whatever they are. JSON readers that hold numbers as doubles read it exactly."""

NO_RECORD: Final = HISTORY_BEGIN - 1
"""A position before all records."""


@dataclass(frozen=True, slots=True)
class Records:
    """Undecoded records of one partition, in order, as one poll returned them (columns, not objects).

    Attributes:
        partition: the name of the partition, e.g. "0" or "events-3".
        positions: position of every record; strictly increasing. On Kafka the offset, in files the byte offset
            of the record in the concatenation of the partition's files. Negative in the history (`HISTORY_BEGIN`).
        next_position: where reading continues after the last record; greater than every position.
        values: the bytes of every record, without line end.
        keys: the key of every record, or None where the transport has no keys.
        headers: the headers of every record, or None where the transport has none.
        timestamps_ms: the time at which the transport received every record (epoch ms; never the event time),
            or None where it is unknown. Limits on event times ahead of it use this time, never a clock.
        problems: records that the transport itself could not read, by index: the reason code of the reject.
        tombstones: indices of records without a value, which are not damaged; only Kafka has them.
    """

    partition: str
    positions: Sequence[int]
    next_position: int
    values: Sequence[bytes]
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Sequence[tuple[str, bytes]]] | None = None
    timestamps_ms: Sequence[int] | None = None
    problems: dict[int, str] = field(default_factory=dict)
    tombstones: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """The number of records."""
        return len(self.values)

    @property
    def of_history(self) -> bool:
        """Whether they are records of the history (`[bootstrap]`), from which no forecasts are published."""
        return self.next_position < 0


@dataclass(frozen=True, slots=True)
class Reject:
    """A record without a forecast: the original bytes, their position and the reason; sent to the dead-letter sink."""

    position: int
    value: bytes
    reason: str  # a code of messages.decode.REASONS, bounded, valid as a metric label
    detail: str  # text for people: the received and the expected value
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Adoption:
    """The model with this sha256 forecasts the series of a group in the partition from `position` on.

    `group` "" has all series without groups, and with groups those that no `[[group]]` matches.
    """

    position: int
    model_sha256: str
    group: str = ""


class TimeMark(NamedTuple):
    """A time mark: event time has reached `time_ms` behind the records before `position`, as no others arrived."""

    position: int
    time_ms: int


def marks_from(partition: str, marks: Sequence[TimeMark], start: int, deleted_before: int | None) -> Sequence[TimeMark]:
    """Returns the time marks at positions from `start` on, of those that are stored.

    Args:
        partition: for the message.
        marks: those that are stored, in order.
        start: where a replay begins.
        deleted_before: the position behind the last deleted mark; None: none was deleted.

    Raises:
        SourceGoneError: the replay lacks deleted ones.
    """
    if deleted_before is not None and start < deleted_before:
        msg = (
            f"partition {partition}: a replay from position {start} needs the time marks before {deleted_before}, "
            "which were deleted, as newer snapshots did not need them; expected one of these snapshots. Restore them, "
            "or start anew with an empty state.data_dir and output"
        )
        raise SourceGoneError(msg)
    return [mark for mark in marks if mark.position >= start]


class Encoded(NamedTuple):
    """Outgoing records: the key and the bytes of every forecast, and the position of its event."""

    series: Sequence[str]
    forecasts: Sequence[bytes]
    positions: Sequence[int]


class Outcomes(NamedTuple):
    """Counts of processed records; late records are not counted among the rejects.

    Attributes:
        events: observed events, with or without a value.
        late, duplicates: events older than the newest event of their series, or with the same time.
        rejects: count by reason. first: the detail of the first reject, "" without rejects.
    """

    events: int = 0
    late: int = 0
    duplicates: int = 0
    rejects: Mapping[str, int] = MappingProxyType({})
    first: str = ""

    @property
    def unusable(self) -> int:
        """The number of records that were not observed."""
        return self.late + self.duplicates + sum(self.rejects.values())

    @property
    def records(self) -> int:
        """The number of all records."""
        return self.events + self.unusable


_NOTHING: Final = Outcomes()


@dataclass(frozen=True, slots=True)
class Unit:
    """All outputs of one batch, published as one atomic step.

    Attributes:
        partition: the partition of the batch.
        position: position of the first record of the batch.
        next_position: the source position that is committed together with the outputs.
        series: the series of every forecast, the key of the outgoing record.
        forecasts: one encoded forecast (a JSON object) per entry of `series`.
        rejects: the records without a forecast.
        adoption: the model of group "", if this batch is the first that it forecasts; else None.
        positions: position of the event of every forecast; empty where not needed.
        outcomes: counts of its events; the rejects are those above.
        run: of the partition, see `Transport.run`.
        mark: the time mark that closed the windows of these forecasts; such a unit has no records. Else None.
        group_adoptions: the models of other groups of which this batch is the first that they forecast.
    """

    partition: str
    position: int
    next_position: int
    series: Sequence[str]
    forecasts: Sequence[bytes]
    rejects: Sequence[Reject] = ()
    adoption: Adoption | None = None
    positions: Sequence[int] = ()
    outcomes: Outcomes = _NOTHING
    run: int = 1
    mark: TimeMark | None = None
    group_adoptions: Sequence[Adoption] = ()

    @property
    def adoptions(self) -> Sequence[Adoption]:
        """The models of all groups of which this batch is the first that they forecast."""
        return (*(() if self.adoption is None else (self.adoption,)), *self.group_adoptions)

    @property
    def of_history(self) -> bool:
        """Whether its records are of the history (`[bootstrap]`)."""
        return self.next_position < 0


@dataclass(frozen=True, slots=True)
class OutputIdentity:
    """The identity of the output that positions are committed to.

    Attributes:
        name: created with the output and constant for its lifetime; "" where the output has no identity.
        starts: names of the daemon starts that have committed to it, oldest first; a copy gets other starts later.
            Empty where an output cannot be copied.
        place: its location, for people. path: of its file, "" where it is not a file.
    """

    name: str = ""
    starts: tuple[str, ...] = ()
    place: str = ""
    path: str = ""

    @property
    def start(self) -> str:
        """The newest of the starts; state computed from the present committed positions belongs to it."""
        return self.starts[-1] if self.starts else ""

    def disowns(self, name: str, start: str) -> str:
        """Returns why a state with the given output name and start does not belong to this output, "" if it does.

        A state without a name was written by an older release and is accepted.
        """
        if not self.name or not name:
            return ""
        if name != self.name:
            return "made for another output; use a separate state.data_dir for each output"
        if self.starts and start not in self.starts:
            return "made for a copy of this output, or before an earlier version of the output was restored"
        return ""


def models_from(adoptions: Sequence[Adoption], earliest: int) -> set[str]:
    """Returns the models in force from a position on.

    Args:
        adoptions: of a partition, by rising position.
        earliest: the oldest position that its source holds.
    """
    found = set[str]()
    for group in {adoption.group for adoption in adoptions}:
        own = [adoption for adoption in adoptions if adoption.group == group]
        ends = [*(adoption.position for adoption in own[1:]), None]
        found |= {one.model_sha256 for one, end in zip(own, ends, strict=True) if end is None or end > earliest}
    return found


def name_of_run(partition: str, run: int) -> str:
    """Returns a name that distinguishes the same position of two runs; for the first run it is the partition's name."""
    return partition if run == 1 else f"{partition}@{run}"


class Transport(Protocol):
    """Reads events and publishes forecasts.

    The guarantee: the unit passed to `publish` is durable as a whole when it returns, and absent as a whole when the
    process ends before. A transport without this guarantee has `atomic = False` (at least once).
    After any exception from any method the outcome is unknown: the caller discards the transport and the state in
    memory and starts again from `start()`; nothing is retried in place, except where the docstring permits it.
    """

    atomic: bool
    generation: int
    """Increases whenever `partitions()` has changed, in `start` and in `poll` only; such a `poll` returns None, and the
    caller processes the change and pauses what it cannot serve yet before the next `poll`."""

    @property
    def identity(self) -> OutputIdentity:
        """The identity of the destination, as of the last `publish`. Valid after `start`."""

    def start(self) -> None:
        """Takes the exclusive lock of the destination (fences a predecessor), then connects.

        Raises:
            TransportBusyError: another process holds the destination.
        """

    def partitions(self) -> Sequence[str]:
        """Returns the partitions that this process reads now; they change together with `generation`."""

    def all_partitions(self) -> Sequence[str]:
        """Returns all partitions of the source, whichever process reads them; the same in all processes."""

    def partitions_of_history(self, partition: str) -> int:
        """Returns the number of partitions among which the series of a partition's history are divided.

        It stays the same while the source gets further partitions, so that a replay has the same series.
        """

    def pause(self, partitions: Collection[str]) -> None:
        """Excludes partitions from the next `poll` calls. Each call replaces the previous set."""

    def committed(self, partition: str) -> int | None:
        """Returns the committed source position, or None where nothing was ever committed. Valid after `start`.

        Raises:
            SourceGoneError: another program has removed or moved it, so that events would be forecast twice.
        """

    def run(self, partition: str) -> int:
        """Returns the run that the outputs of a partition belong to. Called after `committed`.

        It is 1, and higher where the committed position was lost and the outputs start again: outputs, adoptions and
        snapshots of other runs are ignored.
        """

    def earliest(self, partition: str) -> int:
        """Returns the oldest position that the source still holds."""

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """Returns all committed adoptions of the partition's run, by rising position."""

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks of the partition's run at positions from `start` on, in order.

        Called after `committed`.

        Raises:
            SourceGoneError: some of them were deleted after `release`, so that a replay from `start` lacks them.
        """

    def models_needed(self) -> Collection[str]:
        """Returns the models of adoptions that a replay may still need, of all partitions that were ever read."""

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again, in batches of at most `limit` records. Publishes nothing.

        Raises:
            SourceGoneError: the source no longer holds `start`, or holds other records than those read before.
        """

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records (at most `limit`) of one partition, from its committed position on.

        Paused partitions are excluded. Returns None when no records arrived within the timeout. Never returns an
        empty batch, except one with a larger `next_position`, which skips bytes without records.
        """

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Returns the next `poll` result if it is buffered and of a partition that is not in `taken`; else None.

        Called after a `poll` that returned records, before these are published. Never waits, never changes
        `generation`, and never reads further in a partition with unpublished records.
        """

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Passes on the next forecasts of the unit of the next `publish`, while the others are still being encoded.

        A remote sink may send them immediately; they become durable with the unit and not before. May do nothing.
        """

    def publish(self, unit: Unit) -> None:
        """Makes the unit durable as a whole, together with the source position.

        Raises:
            SinkUnavailableError: the sink cannot accept it now (disk full, locked) and nothing of the unit was
                written. The only error after which the same unit may be published again.
        """

    def finished(self) -> bool:
        """Returns whether the source has an end, it was reached and everything polled was published."""

    def outcomes(self) -> Outcomes | None:
        """Returns the counts of all committed records of `partitions()`, of earlier runs too; None: not stored."""

    def release(self, partition: str, position: int) -> None:
        """A hint: no record or time mark of the partition before `position` will be replayed again. May do nothing."""

    def lag(self) -> dict[str, int]:
        """Returns how far each partition is behind the end of its source, in the units of its positions."""

    def close(self) -> None:
        """Releases everything within a second or two. Not guaranteed to be called."""


class Clock(Protocol):
    """Time, replaced in tests."""

    def monotonic(self) -> float:
        """Returns seconds that never decrease, for durations and deadlines."""

    def wall_ms(self) -> int:
        """Returns epoch milliseconds, for logs and file names only: never for a decision that a replay must repeat."""

    def sleep(self, seconds: float) -> None:
        """Waits."""
