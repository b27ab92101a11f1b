"""Restores partitions at a start: the newest intact snapshot, then a replay up to the committed position.

restore   newest intact snapshot S <= committed C, then [S, C) computed again with outputs suppressed,
          every model put in force at exactly the position of its adoption
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import structlog

from forecaster import CheckpointError
from service.config.sections import Config
from service.engine.feedback import feedback_file, put_in_force
from service.engine.partition_factory import PartitionFactory
from service.engine.replay_settings import Settings, SettingsNotes, check_replay, computed_with
from service.engine.replayed_units import ReplayedUnits
from service.engine.schema_lookups import SchemaLookups
from service.errors import SourceGoneError, UnreachableError
from service.messages.decode import Decodes
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition, Piece
from service.partitions.pieces import marked_piece, pieces
from service.partitions.schedule import Schedule
from service.ports import Adoption, TimeMark, Transport
from service.registry.feedback import Feedback, FeedbackStore
from service.snapshots.file import Snapshot, this_machine
from service.snapshots.store import SnapshotStore

_log = structlog.get_logger()


class Restorer:
    """Restores partitions at a start.

    Args:
        config: limits, rules, and the handling of a source that no longer holds the records.
        transport: started.
        factory: creates the partitions.
        store: has the snapshots and the present settings.
        decoder: the same as in the loop, so that a replay decodes the same values.
        metrics: the metrics to update.
        beat: called between batches of a replay.
        on_training_due: called where a training became due in a replay; starts the trial that started there.
        schemas: of the records to replay; the same as in the loop.
        replayed: passes on what is replayed; None: nobody wants it.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        factory: PartitionFactory,
        store: SnapshotStore,
        decoder: Decodes,
        metrics: Metrics,
        beat: Callable[[], None],
        on_training_due: Callable[[Partition], None],
        schemas: SchemaLookups,
        *,
        replayed: ReplayedUnits | None = None,
    ) -> None:
        self._factory, self._replayed, self._limit = factory, replayed, config.input.max_poll_records
        self._on_training_due = on_training_due
        self._config, self._transport, self._store = config, transport, store
        self._decoder, self._metrics, self._beat, self._schemas = decoder, metrics, beat, schemas
        self._feedback = FeedbackStore(config.state.data_dir / "feedback")
        self._notes = SettingsNotes(store.root.with_name("settings"))

    def restore(self, name: str, schedules: Mapping[str, Schedule]) -> Generator[int, None, Partition]:
        """Restores a partition to its state at the committed position, one batch at a time.

        Args:
            name: of the partition. schedules: of its groups of series.

        Yields:
            The position reached so far.

        Raises:
            SourceGoneError: the source no longer holds the records to read again, or changed settings would decode them
                differently, and the configuration says stop.
            UnreachableError: the same, while a shared snapshot that may have made it unnecessary could not be read.
            OSError: the settings cannot be recorded.
            RegistryError, CheckpointError: a model of an adoption is missing or damaged.
        """
        committed = self._transport.committed(name)
        self._store.enter_run(name, self._transport.run(name))
        adoptions = self._transport.adoptions(name)
        if committed is not None and committed < 0 and not self._config.bootstrap.is_set:
            msg = f'"{name}": the history has not been taken in to its end, and [bootstrap] does not name it any more'
            raise SourceGoneError(msg)
        if committed is None:
            self._store.forget(name)
            self._feedback.forget(feedback_file(name))
        if committed is None or not adoptions:  # only rejects so far, no events
            start = self._transport.earliest(name) if committed is None else committed
            self._notes.forget(name)
            self._notes.note(name, start, start, None, self._store.settings)
            self._begin_replay(name, start)
            return self._begun(name, start, schedules)
        partition, kept = self._from_snapshot(name, committed, schedules, adoptions)
        self._begin_replay(name, self._delivered_from(committed) if partition is None else partition.position)
        if partition is None:
            partition = self._factory.empty(
                name, adoptions[0].position, schedules, adoptions, self._store.noted_rules(name)
            )
        start = partition.position
        for group in partition.groups:
            group.recorded = any(one.group == group.group for one in adoptions)
        try:
            parts = computed_with(self._notes.of(name), start, committed, kept)
            check_replay(name, parts, committed, self._store.settings)
            for group in partition.groups:
                if group.progress.is_due:
                    self._on_training_due(group)
            yield from self._replay(partition, committed, adoptions)
        except SourceGoneError as error:
            if name in self._store.unanswered:
                msg = f"{error}. A shared snapshot may be newer, but could not be read: it is tried again"
                raise UnreachableError(msg) from error
            if self._config.state.on_source_gone == "stop":
                raise
            self._metrics.cold_starts.inc()
            _log.warning("source gone, starting with empty state", partition=name, detail=str(error))
            newest = {one.group: one for one in adoptions}
            partition = self._begun(name, committed, schedules, [*newest.values()])
            for group in partition.groups:
                group.recorded = group.group in newest
        self._notes.note(name, committed, start, kept, self._store.settings)
        return partition

    def _from_snapshot(
        self, name: str, committed: int, schedules: Mapping[str, Schedule], adoptions: Sequence[Adoption]
    ) -> tuple[Partition | None, Settings | None]:
        """Loads the newest snapshot that is intact, of this run, and a valid state.

        Returns:
            The partition and the settings in the snapshot; None where there are none.
        """
        found: list[Partition] = []

        def fits(snapshot: Snapshot) -> str:
            states = snapshot.of_all_groups
            models = {a.group: a.model_sha256 for a in adoptions if a.position < snapshot.position}
            if any(sha256 != states[group].library.get("model_sha256") for group, sha256 in models.items()
                   if group in states) or "" not in models:  # fmt: skip
                return "made with another model than the one in force at its position, so it belongs to another run"
            try:
                found.append(self._factory.of_snapshot(snapshot, schedules, adoptions, models))
            except CheckpointError as error:  # a valid checksum does not mean a valid state
                return str(error)
            return ""

        snapshot = self._store.newest(name, committed, fits)
        if snapshot is None:
            return None, None
        if snapshot.machine != this_machine():
            # The state is valid, but the replay after it may round differently than on the other machine.
            _log.warning("snapshot of another machine", partition=name, made_by=snapshot.machine, here=this_machine())
        return found[-1], snapshot.settings

    def _replay(self, partition: Partition, committed: int, adoptions: Sequence[Adoption]) -> Iterator[int]:
        """Replays [position, committed); models change at the positions of their adoptions, behind time marks there.

        Feedback is in force from its position on, among the time marks there.
        """
        entries = self._feedback.rewind(feedback_file(partition.name), partition.run, committed)
        marks = () if partition.aggregator is None else self._transport.marks(partition.name, partition.position)
        changes: list[tuple[int, int, float, Adoption | TimeMark | Feedback]] = [
            (a.position, 1, 0.0, a) for a in adoptions if partition.position <= a.position < committed
        ]
        changes += [
            (mark.position, 0, mark.time_ms, mark) for mark in partition.unseen(marks) if mark.position <= committed
        ]
        changes += [
            (one.position, 0, -math.inf if one.mark_ms is None else one.mark_ms + 0.5, one)
            for one in entries
            if one.number > partition.feedback and one.position >= partition.position
        ]
        for position, _, _, change in sorted(changes, key=lambda one: one[:3]):
            yield from self._replay_to(partition, position)
            if isinstance(change, Adoption):
                if change.group in self._factory.groups:
                    partition.of_group(change.group).adopt(self._factory.load(change.model_sha256), self._beat)
            elif isinstance(change, Feedback):
                put_in_force(partition, change)
            else:
                self._observe(partition, marked_piece(partition, change))
        yield from self._replay_to(partition, committed)

    def _replay_to(self, partition: Partition, end: int) -> Iterator[int]:
        if partition.position >= end:
            return
        for records in self._transport.replay(partition.name, partition.position, end, self._limit):
            while not self._schemas.wait(records):  # a stop was requested
                yield partition.position
            decoded = self._decoder.decode(records)
            for piece in pieces(partition, records, decoded):
                self._observe(partition, piece)
            self._metrics.replayed_events.inc(len(decoded))
            damaged = [reject.position for reject in decoded.rejects if reject.reason == "damaged"]
            if damaged:  # they may have been intact when they were forecast
                self._metrics.replayed_damaged.inc(len(damaged))
                _log.warning("damaged records left out of a replay", partition=partition.name, positions=damaged[:10],
                             count=len(damaged))  # fmt: skip
            self._beat()
            yield partition.position
        partition.position = end

    def _delivered_from(self, committed: int) -> int:
        """Returns from where on a partition is delivered that was never here, and of which there is no snapshot.

        On Kafka another member may have been killed after the commit of its last unit and before it was spooled, so
        that unit is delivered here. It has at most as many records as a poll, each perhaps with the marker of a
        transaction behind it.
        """
        return max(0, committed - 2 * self._limit) if self._config.kafka.topics else committed

    def _begin_replay(self, name: str, since: int) -> None:
        if self._replayed is not None:
            self._replayed.begin(name, self._transport.run(name), since)

    def _observe(self, partition: Partition, piece: Piece) -> None:
        events = piece.decoded
        forecasts = partition.observe(piece) if len(events) or events.forget else None
        for group in partition.advance_groups(piece, forecasts):
            self._on_training_due(group)
        if self._replayed is not None and forecasts is not None:
            self._replayed.add(partition, piece, forecasts)

    def _begun(
        self, name: str, position: int, schedules: Mapping[str, Schedule], adoptions: Sequence[Adoption] = ()
    ) -> Partition:
        """Creates a partition with empty state that begins now, and notes its rules for a later replay."""
        rules = {group: own.anomaly.model_dump(mode="json") for group, own in self._factory.groups.items()}
        self._store.note_rules(name, rules.pop(""), rules)
        return self._factory.empty(name, position, schedules, adoptions)

    def release(self) -> None:
        """Releases the models that were loaded for a replay."""
        self._factory.release()
