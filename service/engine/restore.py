"""Restores partitions at a start: the newest intact snapshot, then a replay up to the committed position.

restore   newest intact snapshot S <= committed C, then [S, C) computed again with outputs suppressed,
          every model put in force at exactly the position of its adoption
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import structlog

from forecaster import (
    AnomalyConfig,
    CheckpointError,
    ConfigError,
    DriftTest,
    Forecaster,
    Model,
    QualityWatch,
)
from forecaster.state import checked
from service.aggregate.aggregator import Aggregator
from service.config.sections import Config
from service.engine.replay_settings import Settings, SettingsNotes, check_replay, computed_with
from service.engine.schema_lookups import SchemaLookups
from service.errors import ConfigurationError, SourceGoneError
from service.messages.decode import Decodes
from service.monitoring.metrics import Metrics
from service.partition import Partition, Piece, marked_piece, pieces
from service.ports import Adoption, TimeMark, Transport
from service.registry.models import Registry
from service.schedule import Progress, Schedule
from service.snapshots.file import Snapshot, this_machine
from service.snapshots.partition_state import restore_seam, restore_tests, restore_windows
from service.snapshots.store import SnapshotStore
from service.transport.history import seam_of

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
        model: for a partition that starts with empty state.
        on_training_due: called where a training became due in a replay; starts the trial that started there.
        schemas: of the records to replay; the same as in the loop.
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
        model: Model,
        on_training_due: Callable[[Partition], None],
        schemas: SchemaLookups,
    ) -> None:
        self._sample_series, self._limit = config.metrics.sample_series, config.input.max_poll_records
        self._retrain, self._on_training_due = config.retrain, on_training_due
        self._state, self._transport, self._registry, self._store = config.state, transport, registry, store
        self._anomaly, self._broadcast = config.library_anomaly(), config.input.broadcast
        self._late_within = config.input.late_within
        self._decoder, self._metrics, self._beat, self._model = decoder, metrics, beat, model
        self._schemas, self._aggregate, self._config = schemas, config.aggregate, config
        self._notes = SettingsNotes(store.root.with_name("settings"))
        self._models = {model.sha256: model}

    def restore(self, name: str, schedule: Schedule) -> Generator[int, None, Partition]:
        """Restores a partition to its state at the committed position, one batch at a time.

        Yields:
            The position reached so far.

        Raises:
            SourceGoneError: the source no longer holds the records to read again, or changed settings would decode them
                differently, and the configuration says stop.
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
        if committed is None or not adoptions:  # only rejects so far, no events
            start = self._transport.earliest(name) if committed is None else committed
            self._notes.forget(name)
            self._notes.note(name, start, start, None, self._store.settings)
            return self._empty(name, start, schedule, self._model)
        partition, kept = self._from_snapshot(name, committed, schedule, adoptions)
        if partition is None:
            first = adoptions[0]
            rules = self._rules_of(self._store.noted_rules(name))
            partition = self._empty(name, first.position, schedule, self._load(first.model_sha256), rules)
        start, partition.recorded = partition.position, True
        try:
            parts = computed_with(self._notes.of(name), start, committed, kept)
            check_replay(name, parts, committed, self._store.settings)
            if partition.progress.is_due:
                self._on_training_due(partition)
            yield from self._replay(partition, committed, adoptions)
        except SourceGoneError as error:
            if self._state.on_source_gone == "stop":
                raise
            self._metrics.cold_starts.inc()
            _log.warning("source gone, starting with empty state", partition=name, detail=str(error))
            partition = self._empty(name, committed, schedule, self._load(adoptions[-1].model_sha256))
            partition.recorded = True
        self._notes.note(name, committed, start, kept, self._store.settings)
        return partition

    def _from_snapshot(
        self, name: str, committed: int, schedule: Schedule, adoptions: Sequence[Adoption]
    ) -> tuple[Partition | None, Settings | None]:
        """Loads the newest snapshot that is intact, of this run, and a valid state.

        Returns:
            The partition and the settings in the snapshot; None where there are none.
        """
        found: list[Partition] = []

        def fits(snapshot: Snapshot) -> str:
            before = [a.model_sha256 for a in adoptions if a.position < snapshot.position]
            if before[-1:] != [snapshot.library.get("model_sha256")]:
                return "made with another model than the one in force at its position, so it belongs to another run"
            model = self._load(before[-1])
            try:
                found.append(self._partition_of(snapshot, schedule, model))
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

    def _partition_of(self, snapshot: Snapshot, schedule: Schedule, model: Model) -> Partition:
        """Creates the partition of a snapshot.

        Raises:
            CheckpointError: the snapshot is not the state of a partition.
            ConfigurationError: the snapshot has more series than permitted.
        """
        most = self._state.max_series
        with checked("the state"):
            rules = self._rules_of(snapshot.library.get("anomaly"))
            size = max(most, len(snapshot.arrays["rows"]) + len(snapshot.arrays["free"]))
            forecaster = Forecaster.from_state(
                snapshot.arrays,
                snapshot.library,
                model,
                max_series=size,
                history_events=self._state.history_events,
                anomaly=rules,
                broadcast=self._broadcast,
                late_within=self._late_within,
            )
        if size > most:
            msg = (
                f"state.max_series: got {most}, expected at least the {size} series rows of partition "
                f'"{snapshot.partition}"; raise it, or start with another state.data_dir'
            )
            raise ConfigurationError(msg)
        partition = self._partition(snapshot.partition, forecaster, snapshot.position, schedule, snapshot.progress)
        restore_tests(partition, snapshot, self._load)
        restore_windows(partition, snapshot)
        restore_seam(partition, snapshot)
        return partition

    def _rules_of(self, kept: Mapping[str, Any] | None) -> AnomalyConfig:
        """Returns the rules for a replay: the recorded ones, or the present ones where those are missing or invalid."""
        try:
            return AnomalyConfig.from_dict(dict(kept)) if kept else self._anomaly
        except ConfigError:
            return self._anomaly

    def _replay(self, partition: Partition, committed: int, adoptions: Sequence[Adoption]) -> Iterator[int]:
        """Replays [position, committed); models change at the positions of their adoptions, behind time marks there."""
        marks = () if partition.aggregator is None else self._transport.marks(partition.name, partition.position)
        changes: list[tuple[int, int, Adoption | TimeMark]] = [
            (a.position, 1, a) for a in adoptions if partition.position <= a.position < committed
        ]
        changes += [(mark.position, 0, mark) for mark in partition.unseen(marks) if mark.position <= committed]
        for position, _, change in sorted(changes, key=lambda one: one[:2]):
            yield from self._replay_to(partition, position)
            if isinstance(change, Adoption):
                partition.adopt(self._load(change.model_sha256))
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

    def _observe(self, partition: Partition, piece: Piece) -> None:
        events = piece.decoded
        given = len(events) or events.forget
        forecasts = partition.forecaster.observe(events.batch, events.forget) if given else None
        if partition.advance(piece, forecasts):
            self._on_training_due(partition)

    def _empty(
        self, name: str, position: int, schedule: Schedule, model: Model, rules: AnomalyConfig | None = None
    ) -> Partition:
        """Creates a partition with empty state. `rules` are the rules of its first start; None: it starts now."""
        if rules is None:
            self._store.note_rules(name, self._anomaly.to_dict())
        forecaster = Forecaster(
            model,
            max_series=self._state.max_series,
            history_events=self._state.history_events,
            anomaly=rules or self._anomaly,
            broadcast=self._broadcast,
            late_within=self._late_within,
        )
        return self._partition(name, forecaster, position, schedule, Progress())

    def _partition(
        self, name: str, forecaster: Forecaster, position: int, schedule: Schedule, progress: Progress
    ) -> Partition:
        c = forecaster.config
        drift = DriftTest(self._retrain.shadow_series, c.seasons, c.timezone) if self._retrain.drift else None
        quality = QualityWatch(forecaster.config, self._sample_series) if self._sample_series else None
        return Partition(
            name,
            forecaster,
            position,
            schedule,
            progress,
            rules=self._retrain,
            drift=drift,
            quality=quality,
            run=self._transport.run(name),
            aggregator=Aggregator.of(self._aggregate, self._state.max_series, self._late_within),
            seam=seam_of(self._config, name, self._transport.partitions_of_history(name)),
        )

    def release(self) -> None:
        """Releases the models that were loaded for a replay."""
        self._models = {self._model.sha256: self._model}

    def _load(self, sha256: str) -> Model:
        if sha256 not in self._models:
            try:
                self._models[sha256] = self._registry.load(sha256)
            except CheckpointError as error:
                msg = f"the model of a committed adoption cannot be read: {error}; restore its file"
                raise CheckpointError(msg) from error
        return self._models[sha256]
