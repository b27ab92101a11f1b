"""The fast loop as one numbered function, and the start that it returns to after a failure.

The design is crash-only: any failure of a transport, or an unknown outcome of a commit, drops clients and memory and
repeats the start, the same one as after a power loss. Only publishing to an unavailable sink is retried in place.

    start  lock, connect -> compile
    loop   partitions that are not restored yet: snapshot S <= committed C, replay [S, C) in batches, continue at C
    loop   1 poll  2 decode, adopt  3 observe, encode  4 publish, announce  5 snapshot if due  6, 7 training if due
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from forecaster import kernels_wait
from service.backoff import Backoff
from service.config.sections import Config
from service.deliveries import Deliveries
from service.engine.adoption import adopt_champions
from service.engine.conditions import Conditions
from service.engine.feedback import FeedbackIntake
from service.engine.group_parts import GroupParts
from service.engine.group_units import publications_of
from service.engine.housekeeping import Housekeeping, Kept
from service.engine.idle_marks import IdleMarks
from service.engine.literal_kernels import LiteralKernels
from service.engine.malloc_trim import MallocTrimmer
from service.engine.partition_factory import PartitionFactory
from service.engine.partition_set import PartitionSet
from service.engine.pipeline import InFlightBatch, Pipeline
from service.engine.publish import Publisher
from service.engine.regrouping import Cadences, Regrouping
from service.engine.replay_settings import replay_settings
from service.engine.replayed_units import ReplayedUnits
from service.engine.restore import Restorer
from service.engine.retention import Retention
from service.engine.schema_lookups import SchemaLookups
from service.engine.situation_answers import SituationAnswers
from service.engine.snapshot_timer import SnapshotTimer
from service.errors import (
    SinkClosedError,
    SinkFormatError,
    SourceGoneError,
    TransportBusyError,
    TransportError,
    UnreachableError,
)
from service.lifecycle import KillPoints
from service.monitoring.alert_reports import AlertReports
from service.monitoring.exported_series import ExportedSeries
from service.monitoring.health import Health
from service.monitoring.interval_reports import IntervalReports
from service.monitoring.metrics import Metrics
from service.monitoring.publication_counts import PublicationCounts
from service.monitoring.run_summary import RunSummary, inspection
from service.monitoring.scale_reports import ScaleReports
from service.partitions.partition import Partition
from service.ports import Clock, Transport
from service.publication import Listener
from service.registry.feedback import FeedbackStore
from service.registry.models import Registry
from service.snapshots.owner import claim
from service.snapshots.store import SnapshotStore
from service.snapshots.writer import SnapshotWriter
from service.trainer.compile import compile_kernels
from service.trainer.supervisor import Trainer
from service.transport.history import decoder_of

_log = structlog.get_logger()

# How long a poll may wait; also the time until a signal, a promotion or the end of a training is noticed.
POLL_SECONDS: Final = 0.2
# A new start cannot fix these errors; they need a person.
FATAL: Final = (TransportBusyError, SinkFormatError, SinkClosedError, SourceGoneError)
# Resource exhaustion; may clear once memory and files are released.
_STARVED: Final = (OSError, MemoryError)


@dataclass(slots=True)
class _Session:
    """The objects that a failure drops.

    Attributes:
        transport: the transport of this start.
        partitions: its partitions; None until the start is done.
        published: whether a unit was committed since the start.
    """

    transport: Transport
    partitions: PartitionSet | None = None
    published: bool = False


class Engine:
    """The fast loop of one process. `run` belongs to one thread; the other methods may be called from any thread.

    Args:
        config: all settings.
        connect: creates a transport, not started; called at every start.
        registry: models and champion.
        store: snapshots.
        trainer: the training process.
        metrics: the metrics to update.
        health: the state for the probes.
        clock: time; never used for a decision that a replay must repeat.
        kill: kill points at which a test may end the process.
        listeners: called after every publication, after the engine's own listeners; `Deliveries` among them also get
            what is replayed, and are opened, synced and closed.
        wants_groups: see `Regrouping`.
        summary: of an engine that ended because of it, to be continued; None for a new one.

    Attributes:
        summary: counts of the records that this process published.
        situations: where other threads ask what the newest forecast of a series was computed from.
        regrouping: whether `run` ended because series need other groups, with which it is to be started again.
    """

    def __init__(
        self,
        config: Config,
        connect: Callable[[], Transport],
        registry: Registry,
        store: SnapshotStore,
        trainer: Trainer,
        metrics: Metrics,
        health: Health,
        clock: Clock,
        *,
        kill: KillPoints | None = None,
        listeners: Sequence[Listener] = (),
        wants_groups: Cadences | None = None,
        summary: RunSummary | None = None,
    ) -> None:
        self.regrouping = Regrouping(wants_groups)
        self._connect, self._registry, self._store, self._trainer = connect, registry, store, trainer
        self._metrics, self._health, self._clock = metrics, health, clock
        self._kill = (kill or KillPoints()).passed
        self._stop, self._restore_began = threading.Event(), 0.0
        self._schemas = SchemaLookups(config, metrics, health)
        self._decoder = decoder_of(config, self._schemas.frames)
        self._publisher = Publisher(config, registry, metrics, health, clock)
        given = (one for one in listeners if isinstance(one, Deliveries))
        self._deliveries = next(given, None) or Deliveries(store.root, (), metrics, clock)
        self._writer = SnapshotWriter(store, metrics, clock, self._deliveries.sync)
        self._snapshots = SnapshotTimer(config, store, self._writer, clock)
        self._idle = IdleMarks(0.0 if config.input_ends else config.aggregate.idle, clock)
        self._groups = {
            name: GroupParts.of(config, name, registry, trainer, metrics, self._writer, health, self._kill)
            for name in config.group_names
        }
        adopt = functools.partial(adopt_champions, self._groups, health.beat)
        self._pipeline = Pipeline(config.input.workers, self._decoder, adopt, clock, self._kill, self._schemas)
        exported = metrics.exports.exports = ExportedSeries(config.metrics)
        self._retention = Retention(config.state, registry, store, clock)
        conditions = Conditions(config.health, config.state.data_dir, health, metrics)
        kept = Kept(
            [*self._groups.values()], conditions, exported, self._retention, self._snapshots, trainer,
            MallocTrimmer(clock), LiteralKernels(clock, others_wait=lambda: self._decoder.waits or kernels_wait()),
            FeedbackIntake(FeedbackStore(config.state.data_dir / "feedback"), metrics),
            SituationAnswers([*self._groups.values()]),
        )  # fmt: skip
        self._kernels, self.situations = kept.kernels, kept.answers.situations
        self._housekeeping = Housekeeping(config, kept, metrics, health, clock)
        self.summary = summary or RunSummary(inspection(config))
        published_from = {name: config.of_group(name).output.publish_from_ms for name in config.group_names}
        counts = PublicationCounts(metrics, published_from)
        reports = IntervalReports(metrics), AlertReports(metrics), ScaleReports(config.scale, metrics)
        self._listeners = [counts, self.summary, *reports, exported, *listeners]

    @property
    def _config(self) -> Config:
        """The settings in force."""
        return self._housekeeping.config

    @property
    def status(self) -> dict[str, Any]:
        """The last status of the engine as JSON values; updated every second."""
        return self._housekeeping.status | {"phase": self._health.report().phase}

    def begin_with(self, seasons: Mapping[str, tuple[int, ...]]) -> None:
        """Sets the seasons of the first networks of groups of series whose configuration leaves them to the daemon."""
        for name, steps in seasons.items():
            self._groups[name].champion.seasons = steps

    def configure(self, config: Config) -> None:
        """Requests other settings, which apply between two batches.

        Only settings that may change at run time may differ.
        """
        self._housekeeping.configure(config)

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set or the source has ended; then writes a last snapshot and closes all parts.

        Raises:
            ServiceError: an error that a new start cannot fix, or the first start failed although the remote answered.
            ForecasterError: a required model cannot be loaded.
        """
        self._stop = self._schemas.stop = stop
        was_running, backoff = False, Backoff()
        try:
            if not self._publisher.open(stop):
                return
            while not stop.is_set():
                session = _Session(self._connect())
                try:
                    partitions = session.partitions = self._start(session.transport)
                    was_running = True
                    self._loop(session, partitions)
                    self._finish(session.transport, partitions)
                    break
                except FATAL:
                    raise
                except (TransportError, *_STARVED) as error:
                    if not was_running and not isinstance(error, UnreachableError):
                        raise
                    self._fail(session, error)
                finally:
                    self._pipeline.close()
                    self._writer.wait()
                    if session.partitions is not None:
                        session.partitions.close()
                    session.transport.close()
                if session.published:
                    backoff.reset()
                stop.wait(backoff.next())
        finally:
            self._health.enter("stopping")
            self._schemas.close()
            self._kernels.close()
            self._trainer.close()
            self._deliveries.close(self._stop)

    # Start and end -------------------------------------------------------------------------------------------

    def _start(self, transport: Transport) -> PartitionSet:
        """Takes the lock, connects, compiles and assigns the partitions; the loop restores them."""
        self._health.enter("starting")
        self._restore_began = self._clock.monotonic()
        transport.start()  # takes the lock first; from here on no other process writes
        fresh = all(transport.committed(name) is None for name in transport.partitions())
        self._store.output = lambda: transport.identity
        claim(self._store.root, transport.identity, fresh=fresh)
        self._deliveries.open(transport.identity.name)
        self._store.settings = replay_settings(self._config)
        models = {name: group.champion.first() for name, group in self._groups.items()}
        self._health.enter("compiling")
        for model in models.values():
            compile_kernels(model, repairs=self._config.input.late_within > 0)
        gc.collect()  # the compiler leaves some hundred megabytes of garbage, and collections are rare
        factory = PartitionFactory(self._config, transport, self._registry, models, seeks_groups=self.regrouping.is_on)
        restorer = Restorer(
            self._config, transport, factory, self._store, self._decoder, self._metrics, self._health.beat,
            self._on_training_due_in_replay, self._schemas,
            replayed=ReplayedUnits(self._deliveries, self._groups) if self._deliveries.is_on else None,
        )  # fmt: skip
        partitions = PartitionSet(transport, restorer, self._store, self._metrics, self._listeners, self._clock)
        self._housekeeping.restart()
        self._take_over(partitions)
        return partitions

    def _take_over(self, partitions: PartitionSet) -> None:
        partitions.take_over(self._config)
        if not partitions.queue:
            self._health.enter("running")

    def _fail(self, session: _Session, error: Exception) -> None:
        """Reports a failure after which the start is repeated."""
        self._metrics.restarts.inc()
        if session.partitions is not None:
            with contextlib.suppress(*_STARVED):  # memory may be exhausted here too
                for group in self._groups.values():  # a replay does not count it again
                    group.quality.show(group.states(session.partitions.served.values()))
        reason = str(error) or type(error).__name__
        _log.warning("transport failed, restarting", error=reason)
        self._health.enter("starting", reason)

    def _finish(self, transport: Transport, partitions: PartitionSet) -> None:
        """Writes the last snapshots."""
        self._health.enter("stopping")
        self._trainer.close()
        self._housekeeping.show(partitions, transport)
        complete = self._snapshots.take_last(partitions.served.values(), transport)
        if not partitions.queue:
            self._retention.run(transport)
        self.regrouping.finish(complete=complete)

    # The loop ------------------------------------------------------------------------------------------------

    def _loop(self, session: _Session, partitions: PartitionSet) -> None:
        """Iterates until a stop is requested or the source has ended.

        Every batch passes the numbered steps in this order.
        """
        transport = session.transport
        while not self._stop.is_set():
            self._housekeeping.run(partitions, transport)
            if partitions.changed:
                self._take_over(partitions)
            if partitions.queue:
                self._restore(partitions, transport)
                if self._stop.is_set():  # perhaps during a training, whose model is to be adopted before the next event
                    return
            if self.regrouping.wanted:
                return

            for partition, mark in self._idle.due(partitions.served.values(), transport.lag):
                if not self._process(session, partitions, self._pipeline.marked(partition, mark)):
                    return

            # 1. Poll. Nothing is acknowledged before step 4.
            limit = self._pipeline.limit(self._config.input.max_poll_records)
            records = transport.poll(limit, 0.0 if partitions.queue else POLL_SECONDS)
            self._kill(1)
            if records is None:
                if transport.finished() and not partitions.queue:  # those being restored have no last snapshot yet
                    self.summary.end(transport.outcomes)
                    return
                continue

            # 2. Decode; unusable records become rejects. A new model is put in force here, between two batches, and its
            # adoption is published in the same unit as its first forecasts. With several workers, available batches of
            # other partitions are added, and all of them are observed concurrently; not while partitions are being
            # restored, which alternates with batches, and not after a stop request.
            more = functools.partial(self._may_read, partitions)
            batches = self._pipeline.batches(transport, partitions.served, records, limit, more)
            if not all(self._process(session, partitions, batch) for batch in batches):
                return

    def _may_read(self, partitions: PartitionSet) -> bool:
        return not partitions.queue and not self._stop.is_set() and not self.regrouping.wanted

    def _process(self, session: _Session, partitions: PartitionSet, batch: InFlightBatch) -> bool:
        """Takes one batch through the remaining steps, piece by piece.

        Returns:
            False if a stop was requested and a piece could not be published.
        """
        transport, partition = session.transport, batch.partition
        if len(batch.records):
            self._idle.observe(partition.name)
        for piece, adoptions, observe, seconds in self._pipeline.pieces(batch):
            # 3. Observe: rows are updated in place. From here on, memory is ahead of the committed position.
            observed = observe()
            before = self._clock.monotonic()
            shares = partition.shares(piece)
            shown = [
                self._groups[group.group].limits.applied(share.decoded.series, found)
                for (group, share), found in zip(shares, observed.forecasts, strict=True)
            ]
            units, staging = self._publisher.unit(transport, partition, piece, batch.records, shown, adoptions)
            encoding = self._clock.monotonic() - before - staging
            self._publisher.apply_controls(piece.decoded.controls)
            self._kill(3)

            # 4. One atomic step: forecasts, rejects, adoption, position. After it returns they are durable. Then the
            # listeners are called.
            before = self._clock.monotonic()
            if not self._publisher.publish(transport, units[0], self._stop):
                return False
            seconds |= {"observe": observed.seconds, "encode": encoding}
            seconds["publish"] = self._clock.monotonic() - before + staging
            due = partition.advance_groups(piece, observed.forecasts)
            session.published = True
            for adoption in adoptions:
                partition.of_group(adoption.group).recorded = True
            for publication in publications_of(partition, piece, units, shown, seconds):
                for listener in self._listeners:
                    listener.on_publication(publication)
            self._kill(4)

            # 5. A snapshot, if due: of the state at exactly the committed position, written in the background.
            self._snapshots.take_if_due(partition, transport)
            self._kill(5)

            # 6. and 7. Trials are checked. A training, if due, starts at exactly this position, or as soon as possible.
            served = partitions.served.values()
            if not partitions.queue:  # otherwise at a later check, with all partitions
                self._check_trials(partition, served)
            for group in due:
                self._groups[group.group].training.on_training_due(group, served, self._stop)
            if not partitions.queue:
                self.regrouping.check(partition, self._groups[""].champion)
            if self._stop.is_set() or self.regrouping.wanted:
                return True  # the rest of the batch is not committed and will be read again
        return True

    def _check_trials(self, partition: Partition, served: Collection[Partition]) -> None:
        for group in partition.groups:
            parts = self._groups[group.group]
            parts.trials.check(group, parts.states(served))

    def _on_training_due_in_replay(self, group: Partition) -> None:
        self._groups[group.group].training.on_training_due_in_replay(group)

    def _restore(self, partitions: PartitionSet, transport: Transport) -> None:
        """Restores one more batch; a partition that is complete is served from now on."""
        self._health.enter("restoring", partitions.queue.description(), restored=partitions.queue.done)
        partition = partitions.restore_next()
        if partition is None:
            return
        self._snapshots.restart(partition, transport)
        if not partitions.queue:
            self._metrics.restore_duration.set(self._clock.monotonic() - self._restore_began)
            self._health.enter("running")
        partitions.schedule(self._config, [partition])
        for parts in self._groups.values():
            parts.anomaly_rules.put_in_force([partition])
            parts.trials.reconcile(parts.states([partition]))
        served = partitions.served.values()
        if not partitions.queue:  # a trial needs all partitions; a crash may have prevented its verdict
            for one in list(served):
                self._check_trials(one, served)
        for group in partition.groups:  # where the process ended before the training
            self._groups[group.group].training.resume(group, served, self._stop)
        for one in () if partitions.queue else list(served):  # where it ended before its groups were stored
            self.regrouping.check(one, self._groups[""].champion)
