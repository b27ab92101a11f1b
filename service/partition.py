"""One partition in memory: its rows, its position, its training schedule; and how a start brings it back.

restore   newest intact snapshot S <= committed C, then [S, C) computed once more with outputs suppressed,
          every model put in force at exactly the position where it was adopted before
pieces    a decoded batch cut where a training falls due, so that one falls due at the end of a unit only
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from forecaster import AnomalyConfig, CheckpointError, Forecaster, Model
from service.config import StateConfig
from service.errors import SourceGoneError
from service.messages import Decoded, Decoder
from service.metrics import Metrics
from service.ports import Adoption, Records, Transport
from service.registry import Registry
from service.schedule import Progress, Schedule
from service.snapshot import Snapshot, SnapshotStore, take, this_machine

_log = structlog.get_logger()


@dataclass(slots=True)
class Partition:
    """What the engine holds per partition; `forecaster` is always the state at `position`, or `ahead` says no.

    Attributes:
        name: of the partition.
        forecaster: rows and model in force.
        position: committed source position.
        schedule, progress: when a training falls due.
        recorded: whether the model in force stands in a committed adoption.
        ahead: the rows have seen events that are not committed; they must not be kept.
        snapshot_due: monotonic seconds from which on a snapshot is due.
    """

    name: str
    forecaster: Forecaster
    position: int
    schedule: Schedule
    progress: Progress
    recorded: bool = False
    ahead: bool = False
    snapshot_due: float = 0.0

    def took(self, piece: Piece) -> None:
        """Moves on behind a piece that the rows have seen and that is committed (or was, in a replay)."""
        self.schedule.advance(self.progress, piece.decoded.timestamp_ms, due=piece.due)
        self.position, self.ahead = piece.next_position, False


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a batch that becomes one unit.

    Attributes:
        decoded: events and rejects of the part.
        position, next_position: source positions that it covers.
        due: a training falls due at its last event.
    """

    decoded: Decoded
    position: int
    next_position: int
    due: bool


def pieces(partition: Partition, records: Records, decoded: Decoded) -> Iterator[Piece]:
    """Cuts a batch behind every event at which a training falls due.

    Where the cuts fall depends on the events only, not on how they were batched. The caller calls
    `partition.took` with every piece before it asks for the next one.
    """
    schedule, progress = partition.schedule, partition.progress
    event, record, total = 0, 0, len(records)
    while True:
        after = schedule.due(progress, decoded.timestamp_ms[event:])
        end = len(decoded) if after is None else event + after
        last = total if after is None else decoded.index[end - 1] + 1
        next_position = records.next_position if last == total else records.positions[last]
        position = records.positions[record] if record < total else partition.position
        part = _part(decoded, event, end, position, next_position)
        yield Piece(part, position, next_position, after is not None)
        event, record = end, last
        if record >= total:
            return


def _part(decoded: Decoded, start: int, end: int, position: int, next_position: int) -> Decoded:
    if start == 0 and end == len(decoded) and all(r.position < next_position for r in decoded.rejects):
        return decoded
    span = slice(start, end)
    value = decoded.value[span]
    return dataclasses.replace(
        decoded,
        series=decoded.series[span],
        timestamp_ms=decoded.timestamp_ms[span],
        value=value,
        covariates=None if decoded.covariates is None else decoded.covariates[span],
        positions=decoded.positions[span],
        index=decoded.index[span],
        rejects=[reject for reject in decoded.rejects if position <= reject.position < next_position],
        missing=int((value != value).sum()),  # noqa: PLR0124 - nan differs from itself
    )


def snapshots_of(partitions: Iterable[Partition]) -> list[Snapshot]:
    """Copies of all states that may be kept: of partitions whose rows are exactly at their committed position."""
    return [take(p.name, p.position, p.forecaster, p.progress) for p in partitions if p.recorded and not p.ahead]


class Restorer:
    """Brings partitions back at a start.

    Args:
        state: limits and what to do when the source is gone.
        anomaly: which events to flag.
        broadcast: series that sets covariates for all.
        transport: started.
        registry: where adopted models are.
        store: where snapshots are.
        decoder: the same as in the loop, so that a replay reads the same numbers.
        metrics: where it is counted.
        beat: called between batches of a replay.
        limit: records per batch of a replay.
        model: of a partition that starts from nothing.
    """

    def __init__(
        self,
        state: StateConfig,
        anomaly: AnomalyConfig,
        broadcast: str,
        transport: Transport,
        registry: Registry,
        store: SnapshotStore,
        decoder: Decoder,
        metrics: Metrics,
        beat: Callable[[], None],
        limit: int,
        model: Model,
    ) -> None:
        self._state, self._transport, self._registry, self._store = state, transport, registry, store
        self._anomaly, self._broadcast = anomaly, broadcast
        self._decoder, self._metrics, self._beat, self._limit = decoder, metrics, beat, limit
        self._model = model
        self._models = {model.sha256: model}

    def restore(self, name: str, schedule: Schedule) -> Generator[int, None, Partition]:
        """The partition as it was at the committed position, computed a batch at a time.

        Yields:
            The position that it has come to.

        Raises:
            SourceGoneError: the source no longer holds what must be read again, and the configuration says stop.
            RegistryError, CheckpointError: a model that an adoption names is missing or damaged.
        """
        committed = self._transport.committed(name)
        adoptions = self._transport.adoptions(name)
        if committed is None:
            self._store.forget(name)
            return self._empty(name, self._transport.earliest(name), schedule, self._model)
        if not adoptions:  # only rejects so far: no event was ever taken in
            return self._empty(name, committed, schedule, self._model)
        partition = self._from_snapshot(name, committed, schedule, adoptions)
        if partition is None:
            first = adoptions[0]
            partition = self._empty(name, first.position, schedule, self._load(first.model_sha256))
        partition.recorded = True
        try:
            yield from self._replay(partition, committed, adoptions)
        except SourceGoneError as error:
            if self._state.on_source_gone == "stop":
                raise
            self._metrics.cold_starts.inc()
            _log.warning("source gone, starting with empty state", partition=name, detail=str(error))
            partition = self._empty(name, committed, schedule, self._load(adoptions[-1].model_sha256))
            partition.recorded = True
        return partition

    def _from_snapshot(
        self, name: str, committed: int, schedule: Schedule, adoptions: Sequence[Adoption]
    ) -> Partition | None:
        def fits(snapshot: Snapshot) -> str:
            before = [a.model_sha256 for a in adoptions if a.position < snapshot.position]
            if before[-1:] != [snapshot.model_sha256]:
                return "made with another model than the one in force at its position: of another run"
            return ""

        snapshot = self._store.newest(name, committed, fits)
        if snapshot is None:
            return None
        if snapshot.machine != this_machine():
            # The state is good, but the replay behind it may round differently here than it did there.
            _log.warning("snapshot of another machine", partition=name, made_by=snapshot.machine, here=this_machine())
        forecaster = Forecaster.from_state(
            snapshot.arrays,
            snapshot.library,
            self._load(snapshot.model_sha256),
            max_series=self._state.max_series,
            history_events=self._state.history_events,
            anomaly=self._anomaly,
            broadcast=self._broadcast,
        )
        return Partition(name, forecaster, snapshot.position, schedule, snapshot.progress)

    def _replay(self, partition: Partition, committed: int, adoptions: Sequence[Adoption]) -> Iterator[int]:
        """Computes [position, committed) once more; models change where they changed before."""
        changes = [a for a in adoptions if partition.position <= a.position < committed]
        ends = [*(change.position for change in changes), committed]
        yield from self._replay_to(partition, ends[0])
        for change, end in zip(changes, ends[1:], strict=True):
            partition.forecaster.adopt(self._load(change.model_sha256))
            yield from self._replay_to(partition, end)

    def _replay_to(self, partition: Partition, end: int) -> Iterator[int]:
        if partition.position >= end:
            return
        for records in self._transport.replay(partition.name, partition.position, end, self._limit):
            decoded = self._decoder.decode(records)
            for piece in pieces(partition, records, decoded):
                if len(piece.decoded):
                    partition.forecaster.observe(piece.decoded.batch)
                partition.took(piece)
            self._metrics.replayed_events.inc(len(decoded))
            self._beat()
            yield partition.position
        partition.position = end

    def _empty(self, name: str, position: int, schedule: Schedule, model: Model) -> Partition:
        forecaster = Forecaster(
            model,
            max_series=self._state.max_series,
            history_events=self._state.history_events,
            anomaly=self._anomaly,
            broadcast=self._broadcast,
        )
        return Partition(name, forecaster, position, schedule, Progress())

    def _load(self, sha256: str) -> Model:
        if sha256 not in self._models:
            try:
                self._models[sha256] = self._registry.load(sha256)
            except CheckpointError as error:
                msg = f"a committed adoption names a model that cannot be read: {error}; put its file back"
                raise CheckpointError(msg) from error
        return self._models[sha256]
