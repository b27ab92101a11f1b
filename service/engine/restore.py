"""Restores partitions at a start: the newest intact snapshot, then a replay up to the committed position.

restore   newest intact snapshot S <= committed C, then [S, C) computed again with outputs suppressed,
          every model put in force at exactly the position of its adoption
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from forecaster import (
    CheckpointError,
    ConfigError,
    DriftTest,
    Forecaster,
    Model,
    QualityWatch,
)
from forecaster.state import checked
from service.aggregate.aggregator import Aggregator
from service.alerts.alert_states import AlertStates
from service.alerts.breach_rules import BreachRules
from service.config.library import AnomalySettings
from service.config.sections import Config
from service.engine.feedback import feedback_file, put_in_force
from service.engine.moved_series import move_series
from service.engine.replay_settings import Settings, SettingsNotes, check_replay, computed_with
from service.engine.replayed_units import ReplayedUnits
from service.engine.schema_lookups import SchemaLookups
from service.errors import ConfigurationError, SourceGoneError, UnreachableError
from service.messages.decode import Decodes
from service.monitoring.metrics import Metrics
from service.partitions.flag_filter import FlagFilter
from service.partitions.grouping import Grouping
from service.partitions.partition import Partition, Piece
from service.partitions.pieces import marked_piece, pieces
from service.partitions.schedule import Progress, Schedule
from service.ports import Adoption, TimeMark, Transport
from service.registry.feedback import Feedback, FeedbackStore
from service.registry.models import Registry
from service.snapshots.file import Snapshot, this_machine
from service.snapshots.partition_state import restore_overlap, restore_tests, restore_windows
from service.snapshots.store import SnapshotStore
from service.transport.history import overlap_of

_log = structlog.get_logger()


class Restorer:
    """Restores partitions at a start.

    Args:
        config: limits, rules, and the handling of a source that no longer holds the records.
        transport: started.
        registry: has the adopted models.
        store: has the snapshots and the present settings.
        decoder: the same as in the loop, so that a replay decodes the same values.
        metrics: the metrics to update.
        beat: called between batches of a replay.
        models: of each group of series, for a partition that starts with empty state.
        on_training_due: called where a training became due in a replay; starts the trial that started there.
        schemas: of the records to replay; the same as in the loop.
        seeks_groups: whether series may get groups by cadence.
        replayed: passes on what is replayed; None: nobody wants it.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        registry: Registry,
        store: SnapshotStore,
        decoder: Decodes,
        metrics: Metrics,
        beat: Callable[[], None],
        models: Mapping[str, Model],
        on_training_due: Callable[[Partition], None],
        schemas: SchemaLookups,
        *,
        seeks_groups: bool = False,
        replayed: ReplayedUnits | None = None,
    ) -> None:
        self._seeks_groups, self._replayed = seeks_groups, replayed
        self._sample_series, self._limit = config.metrics.sample_series, config.input.max_poll_records
        self._on_training_due, self._groups = on_training_due, {name: config.of_group(name) for name in models}
        self._grouping = Grouping(config.group) if config.group else None
        self._state, self._transport, self._registry, self._store = config.state, transport, registry, store
        self._broadcast, self._late_within = config.input.broadcast, config.input.late_within
        self._decoder, self._metrics, self._beat, self._first = decoder, metrics, beat, dict(models)
        self._schemas, self._aggregate, self._config = schemas, config.aggregate, config
        self._breach_rules = BreachRules(config.alert)
        self._feedback = FeedbackStore(config.state.data_dir / "feedback")
        self._notes = SettingsNotes(store.root.with_name("settings"))
        self._models = {model.sha256: model for model in models.values()}

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
            partition = self._empty(name, adoptions[0].position, schedules, adoptions, self._store.noted_rules(name))
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
            if self._state.on_source_gone == "stop":
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
                found.append(self._partition_of(snapshot, schedules, adoptions, models))
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

    def _partition_of(
        self,
        snapshot: Snapshot,
        schedules: Mapping[str, Schedule],
        adoptions: Sequence[Adoption],
        models: Mapping[str, str],
    ) -> Partition:
        """Creates the partition of a snapshot.

        A group that had no events at its position starts with empty state there, and one that the configuration does
        not have any more is left out.

        Raises:
            CheckpointError: the snapshot is not the state of a partition.
            ConfigurationError: the snapshot has more series than permitted.
        """
        name, position, states = snapshot.partition, snapshot.position, snapshot.of_all_groups
        rules = {group: state.library.get("anomaly") for group, state in states.items()}
        partition = self._joined(
            [
                self._restored(states[group], group, schedule, self._load(models[group]))
                if group in states and group in models
                else self._empty_group(name, position, group, schedule, adoptions, rules.get(group))
                for group, schedule in schedules.items()
            ]
        )
        restore_windows(partition, snapshot)
        restore_overlap(partition, snapshot)
        if gone := sorted(group for group in models.keys() - schedules.keys()):
            _log.warning("state of groups left out that are not configured any more", partition=name,
                         groups=", ".join(gone))  # fmt: skip
        if self._grouping is not None:
            move_series(partition, self._grouping)
        return partition

    def _restored(self, state: Snapshot, group: str, schedule: Schedule, model: Model) -> Partition:
        """Creates the partition of a group from its state, without windows and overlap."""
        most = self._state.max_series
        with checked("the state"):
            rules = self._rules_of(state.library.get("anomaly"), group)
            flags = FlagFilter(rules, state.library.get("flags_of_periods", ()))
            size = max(most, len(state.arrays["rows"]) + len(state.arrays["free"]))
            forecaster = Forecaster.from_state(
                state.arrays,
                state.library,
                model,
                max_series=size,
                history_events=self._state.history_events,
                anomaly=rules.library(),
                broadcast=self._broadcast,
                late_within=self._late_within,
            )
            flags.judge(forecaster)
        if size > most:
            msg = (
                f"state.max_series: got {most}, expected at least the {size} series rows of partition "
                f'"{state.partition}"; raise it, or start with another state.data_dir'
            )
            raise ConfigurationError(msg)
        found = self._partition(state.partition, group, forecaster, state.position, schedule, state.progress, flags)
        restore_tests(found, state, self._load)
        with checked("the state of alerts"):
            found.alerts.restore(state.library.get("alerts", {}))
            found.feedback = int(state.library.get("feedback", 0))
        return found

    def _rules_of(self, kept: Mapping[str, Any] | None, group: str) -> AnomalySettings:
        """Returns the rules for a replay: the recorded ones, or the present ones where those are missing or invalid."""
        present = self._groups[group].anomaly
        try:
            rules = AnomalySettings.model_validate(kept) if kept else present
            rules.library_rules()
        except (ValidationError, ConfigError):
            return present
        return rules

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
                if change.group in self._groups:
                    partition.of_group(change.group).adopt(self._load(change.model_sha256), self._beat)
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
        rules = {group: own.anomaly.model_dump(mode="json") for group, own in self._groups.items()}
        self._store.note_rules(name, rules.pop(""), rules)
        return self._empty(name, position, schedules, adoptions)

    def _empty(
        self,
        name: str,
        position: int,
        schedules: Mapping[str, Schedule],
        adoptions: Sequence[Adoption] = (),
        rules: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Partition:
        """Creates a partition with empty state.

        Args:
            name, position, schedules: of the partition.
            adoptions: from the position on; the first of a group is the model that it begins with.
            rules: of its first start, by group; None: the present ones.
        """
        return self._joined(
            [
                self._empty_group(name, position, group, schedule, adoptions, (rules or {}).get(group))
                for group, schedule in schedules.items()
            ]
        )

    def _empty_group(
        self,
        name: str,
        position: int,
        group: str,
        schedule: Schedule,
        adoptions: Sequence[Adoption],
        rules: Mapping[str, Any] | None,
    ) -> Partition:
        first = next((one for one in adoptions if one.group == group), None)
        flags = FlagFilter(self._rules_of(rules, group))
        forecaster = Forecaster(
            self._first[group] if first is None else self._load(first.model_sha256),
            max_series=self._state.max_series,
            history_events=self._state.history_events,
            anomaly=flags.settings.library(),
            broadcast=self._broadcast,
            late_within=self._late_within,
        )
        flags.judge(forecaster)
        return self._partition(name, group, forecaster, position, schedule, Progress(), flags)

    def _joined(self, groups: Sequence[Partition]) -> Partition:
        """Returns the partition of group "" with the others, and with windows and overlap, not restored."""
        partition = groups[0]
        partition.others, partition.grouping = tuple(groups[1:]), self._grouping
        partition.seeks_groups = self._seeks_groups
        partition.aggregator = Aggregator.of(self._aggregate, self._state.max_series, self._late_within)
        partition.overlap = overlap_of(
            self._config, partition.name, self._transport.partitions_of_history(partition.name)
        )
        return partition

    def _partition(
        self,
        name: str,
        group: str,
        forecaster: Forecaster,
        position: int,
        schedule: Schedule,
        progress: Progress,
        flags: FlagFilter,
    ) -> Partition:
        c, rules = forecaster.config, self._groups[group].retrain
        drift = DriftTest(rules.shadow_series, c.seasons, c.timezone) if rules.drift else None
        quality = QualityWatch(forecaster.config, self._sample_series) if self._sample_series else None
        return Partition(
            name,
            forecaster,
            position,
            schedule,
            progress,
            rules=rules,
            drift=drift,
            quality=quality,
            flags=flags,
            alerts=AlertStates(self._breach_rules, self._config.alert_kinds),
            run=self._transport.run(name),
            group=group,
        )

    def release(self) -> None:
        """Releases the models that were loaded for a replay."""
        self._models = {model.sha256: model for model in self._first.values()}

    def _load(self, sha256: str) -> Model:
        if sha256 not in self._models:
            try:
                self._models[sha256] = self._registry.load(sha256)
            except CheckpointError as error:
                msg = f"the model of a committed adoption cannot be read: {error}; restore its file"
                raise CheckpointError(msg) from error
        return self._models[sha256]
