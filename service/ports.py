"""What the engine needs from the world, as Protocols with their failure guarantees, and the values that cross.

    Transport   records in; one atomic unit of forecasts, rejects, adoption and position out; committed; replay.
                A source and a sink make one: see service/transport/pair.py, service/sources and service/sinks
    Clock       monotonic time and wall time, replaced in tests

Nothing here touches a file, a socket or a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Records:
    """Undecoded records of one partition, in order, as one poll returned them (columns, not objects).

    Attributes:
        partition: the name of the partition, e.g. "0" or "events-3".
        positions: position of every record; strictly increasing. On Kafka the offset, in files the byte offset
            of the record in the concatenation of the partition's files.
        next_position: where reading goes on after the last record; greater than every position.
        values: the bytes of every record, without line end.
        keys: the key of every record, or None where the transport has no keys.
        headers: the headers of every record, or None where the transport has none.
        timestamps_ms: the time at which the transport received every record (epoch ms; never the event time),
            or None where it does not know. Rules about "too far ahead" compare with it, never with a clock.
        problems: records that the transport itself could not read, by index: the reason code of the reject.
        tombstones: indices of records that have no value at all, which is no damage; only Kafka has such.
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


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is not forecast: the original bytes, where they stood and why. It goes to the dead-letter sink."""

    position: int
    value: bytes
    reason: str  # a code of messages.REASONS, bounded, fit for a metric label
    detail: str  # for a person: what was got, what was expected
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Adoption:
    """From `position` on, this partition is forecast with the model of that sha256."""

    position: int
    model_sha256: str


class Encoded(NamedTuple):
    """Outgoing records: the key and the bytes of every forecast, and the position of the event that it answers."""

    series: Sequence[str]
    forecasts: Sequence[bytes]
    positions: Sequence[int]


class Outcomes(NamedTuple):
    """What became of records; those that were late are not counted among the rejects.

    Attributes:
        events: taken in, with a value or without one.
        late, duplicates: older than the newest event of their series, or of its time.
        rejects: by reason. first: the detail of the first of them, "" where there is none.
    """

    events: int = 0
    late: int = 0
    duplicates: int = 0
    rejects: Mapping[str, int] = MappingProxyType({})
    first: str = ""

    @property
    def unusable(self) -> int:
        """Records of which nothing could be made."""
        return self.late + self.duplicates + sum(self.rejects.values())

    @property
    def records(self) -> int:
        """All of them."""
        return self.events + self.unusable


_NOTHING: Final = Outcomes()


@dataclass(frozen=True, slots=True)
class Unit:
    """Everything one batch causes, published as one atomic step.

    Attributes:
        partition: the partition the batch came from.
        position: position of the first record of the batch.
        next_position: the source position that becomes committed together with the outputs.
        series: the series of every forecast, the key of the outgoing record.
        forecasts: one encoded forecast (a JSON object) per entry of `series`.
        rejects: the records that are not forecast.
        adoption: the model that this batch was the first to be forecast with, or None.
        positions: position of the event of every forecast, or nothing where nobody needs it.
        outcomes: what became of its events; its rejects are those above.
        run: of the partition, as of `Transport.run`.
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


@dataclass(frozen=True, slots=True)
class OutputIdentity:
    """Which output positions are committed to, as it is now.

    Attributes:
        name: made with the output, the same for as long as it lives; "" where there is none to be told apart.
        starts: names of the daemons' starts that have committed to it, oldest first; a copy has others from then on.
            Empty where an output cannot be copied.
        place: where it is, for people. path: of its file, "" where it is in none.
    """

    name: str = ""
    starts: tuple[str, ...] = ()
    place: str = ""
    path: str = ""

    @property
    def start(self) -> str:
        """The newest of the starts; what is computed from the committed positions of now belongs to it."""
        return self.starts[-1] if self.starts else ""

    def disowns(self, name: str, start: str) -> str:
        """Why a state that names an output and a start is not of this output, "" where it is.

        One that names none was made by an older release, and is taken for one of this output.
        """
        if not self.name or not name:
            return ""
        if name != self.name:
            return "made for another output; each needs a state.data_dir of its own"
        if self.starts and start not in self.starts:
            return "made for a copy of this output, or before it was put back to what it had been"
        return ""


def models_from(adoptions: Sequence[Adoption], earliest: int) -> set[str]:
    """The models in force from a position on.

    Args:
        adoptions: of a partition, by rising position.
        earliest: the oldest position that its source holds.
    """
    ends = [*(adoption.position for adoption in adoptions[1:]), None]
    return {one.model_sha256 for one, end in zip(adoptions, ends, strict=False) if end is None or end > earliest}


def name_of_run(partition: str, run: int) -> str:
    """Partition and run, for what must tell apart the same position of two runs; the first run has no number."""
    return partition if run == 1 else f"{partition}@{run}"


class Transport(Protocol):
    """Where events come from and where forecasts go.

    The guarantee: what `publish` was given is durable as a whole when it returns, and absent as a whole when the
    process dies before. A transport that cannot give it says so by `atomic = False` (at least once then).
    Any exception out of any method leaves the outcome unknown: the caller drops the transport and the memory and
    starts again from `start()`; nothing is retried in place, except where the docstring says so.
    """

    atomic: bool
    generation: int
    """Rises whenever `partitions()` has changed. It does so in `start` and in `poll` only, and such a `poll` returns
    None: the caller takes over what is new, and holds what it cannot serve yet, before it polls again."""

    @property
    def identity(self) -> OutputIdentity:
        """Of the destination, as of the last `publish`. Asked after `start`."""

    def start(self) -> None:
        """Takes the exclusive lock of the destination (fences a predecessor), then connects.

        Raises:
            TransportBusyError: another process holds the destination.
        """

    def partitions(self) -> Sequence[str]:
        """The partitions that this process reads now; they change together with `generation`."""

    def all_partitions(self) -> Sequence[str]:
        """All partitions of the source, whichever process reads them; the same in all of them."""

    def pause(self, partitions: Collection[str]) -> None:
        """From now on `poll` reads all partitions but these. The next call names all that are held then."""

    def committed(self, partition: str) -> int | None:
        """The committed source position, or None where nothing was ever committed. Asked after `start`.

        Raises:
            SourceGoneError: somebody else has removed or moved it, so that events would be answered twice.
        """

    def run(self, partition: str) -> int:
        """The run that the outputs of a partition belong to, asked behind `committed`.

        It is 1, and higher where the committed position was lost and outputs begin anew: those of another run, and
        its adoptions and snapshots, count for nothing then.
        """

    def earliest(self, partition: str) -> int:
        """The oldest position that the source still holds."""

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """All committed adoptions of the partition's run, by rising position."""

    def models_needed(self) -> Collection[str]:
        """Models that adoptions name and that a replay may still come to, of all partitions that were ever read."""

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) once more, in batches of at most `limit` records. Publishes nothing.

        Raises:
            SourceGoneError: the source no longer holds `start`, or what it holds is not what was read before.
        """

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """The next records (at most `limit`) of one partition, from its committed position on.

        Partitions that are held are left out. Returns None when nothing came within the timeout. Never returns an
        empty batch, except that one with no records and a larger `next_position` moves on over bytes that hold none.
        """

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """What the next `poll` would return if it is at hand and of a partition that is not among `taken`; else None.

        Asked behind a `poll` that returned records, before these are published. Never waits, never changes
        `generation`, and never reads on in a partition of which something is not published yet.
        """

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """The next forecasts of the unit that the next `publish` will hold, while the others are still being encoded.

        A sink that is far away may send them on at once; they become durable with the unit and not before. May do
        nothing.
        """

    def publish(self, unit: Unit) -> None:
        """Makes the unit durable as a whole, the source position with it.

        Raises:
            SinkUnavailableError: the sink cannot take it now (disk full, locked) and nothing of the unit was
                written. The only error after which the same unit may be given again.
        """

    def finished(self) -> bool:
        """True when the source has an end, it was reached and everything polled was published."""

    def outcomes(self) -> Outcomes | None:
        """What became of all records of `partitions()` that are committed, of earlier runs too; None: not kept."""

    def release(self, partition: str, position: int) -> None:
        """A hint: nothing of the partition before `position` will be replayed any more. May do nothing."""

    def lag(self) -> dict[str, int]:
        """How far each partition is behind the end of its source, in the units of its positions."""

    def close(self) -> None:
        """Releases everything, within a second or two. Not guaranteed to be called."""


class Clock(Protocol):
    """Time, so that tests can turn it."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations and deadlines."""

    def wall_ms(self) -> int:
        """Epoch milliseconds, for logs and file names only: never for a decision that a replay must repeat."""

    def sleep(self, seconds: float) -> None:
        """Waits."""
