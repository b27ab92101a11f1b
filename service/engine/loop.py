"""The fast loop: records in, forecasts out, as one numbered function; and the start that it falls back to.

Crash-only: any failure of a transport, or an outcome that is not known, drops clients and memory and goes through the
start again, the same one as after a power loss. What may be retried in place is a sink that is down, and nothing else.

    start  lock, connect -> compile
    loop   partitions that are not here yet: snapshot S <= committed C, replay [S, C) a batch at a time, go on at C
    loop   1 poll  2 decode, adopt  3 observe, encode  4 publish  5 snapshot if due  6, 7 training if due
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import structlog

from forecaster import Batch, Forecaster, Forecasts, Model, Status
from service.backoff import Backoff
from service.config.sections import Config
from service.engine.champion import Champion
from service.engine.clip import Limits
from service.engine.conditions import Conditions
from service.engine.interval_reports import report_times
from service.engine.left_partitions import LeftPartitions
from service.engine.malloc_trim import MallocTrimmer
from service.engine.pipeline import InFlightBatch, Pipeline
from service.engine.publish import Publisher
from service.engine.replay_settings import replay_settings
from service.engine.restore import Restorer, snapshots_of
from service.engine.restore_queue import RestoreQueue
from service.engine.retention import Retention
from service.engine.run_summary import RunSummary
from service.engine.status import show
from service.engine.training_triggers import TrainingTriggers
from service.engine.trials import Trials
from service.errors import (
    SinkClosedError,
    SinkFormatError,
    SourceGoneError,
    TransportBusyError,
    TransportError,
    UnreachableError,
)
from service.lifecycle import KillPoints
from service.messages.decode import Decoded, Decoder
from service.monitoring.exported_series import ExportedSeries
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.monitoring.quality import QualityMetrics
from service.partition import Partition, Piece
from service.ports import Adoption, Clock, Records, Transport, Unit
from service.recent import RecentStore
from service.registry.models import Registry
from service.schedule import Schedule
from service.snapshots.owner import claim
from service.snapshots.store import SnapshotStore
from service.snapshots.writer import SnapshotWriter
from service.trainer.supervisor import Trainer

_log = structlog.get_logger()

# How long a poll may wait: also how soon a signal, a promotion or the end of a training is noticed.
POLL_SECONDS: Final = 0.2
# Between two looks at the champion file, the lag and the gauges.
LOOK_SECONDS: Final = 1.0
# A start again does not make these better; a person must.
FATAL: Final = (TransportBusyError, SinkFormatError, SinkClosedError, SourceGoneError)
# What this machine has too little of, or a disk that does not answer: over perhaps when memory and files are let go.
_STARVED: Final = (OSError, MemoryError)


@dataclass(slots=True)
class _Session:
    """What a failure drops.

    Attributes:
        transport: of this start.
        partitions: those that are read.
        published: whether a unit was committed since the start.
        generation: of the transport, as of the last look at its partitions.
        limbo: partitions that went to another process.
        restorer: brings back those that were never here or have moved on.
        restoring: those on their way; the others are served meanwhile.
    """

    transport: Transport
    partitions: dict[str, Partition]
    limbo: LeftPartitions
    published: bool = False
    generation: int = 0
    restorer: Restorer | None = None
    restoring: RestoreQueue = field(default_factory=RestoreQueue)


class Engine:
    """The fast loop of one process. `run` belongs to one thread; the other methods may be called from any.

    Args:
        config: all settings.
        connect: makes a transport, not started; called at every start.
        registry: models and champion.
        store: snapshots.
        trainer: the training process.
        metrics: where it counts.
        health: what the probes read.
        clock: time; never part of a decision that a replay must repeat.
        kill: where a test may end the process.
        on_unit: called with every published unit, in the loop's thread; must be quick and must not raise.
        live: remembers what was published, for those who look.

    Attributes:
        tally: what became of the records that this process published.
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
        on_unit: Callable[[Unit], None] | None = None,
        live: RecentStore | None = None,
    ) -> None:
        self._config, self._connect, self._registry, self._store = config, connect, registry, store
        self._wanted = config
        self._trainer, self._metrics, self._health, self._clock = trainer, metrics, health, clock
        self._kill = (kill or KillPoints()).passed
        self._on_unit = on_unit
        self._live = live or RecentStore(0, 1)
        self._decoder = Decoder(config.input, config.model.horizon)
        self._rounds = Pipeline(config.input.workers, self._decoder, self._adopt, clock, self._kill)
        self._writer = SnapshotWriter(store, metrics, clock)
        self._champion = Champion(config, registry, metrics)
        self._trials = Trials(config.retrain, registry, self._champion, metrics)
        self._retraining = TrainingTriggers(
            config, registry, trainer, self._champion, self._trials, metrics, self._writer, health, self._kill
        )
        self._levels = QualityMetrics(config.metrics, metrics)
        self._exports = metrics.exports.exports = ExportedSeries(config.metrics)
        self._publishing = Publisher(config, registry, metrics, health, clock)
        self.tally, self._limits = RunSummary(), Limits(config.output.limits)
        self._conditions = Conditions(config.health, config.state.data_dir, health, metrics)
        self._thrift, self._retention = MallocTrimmer(clock), Retention(config.state, registry, store, clock)
        self._looked = -1e9
        self._restore_began = 0.0
        self._stop = threading.Event()
        self._status: dict[str, Any] = {"phase": "starting"}

    @property
    def status(self) -> dict[str, Any]:
        """What the loop last said about itself, JSON-able; renewed every second."""
        return self._status | {"phase": self._health.report().phase}

    def configure(self, config: Config) -> None:
        """Takes other settings over between two batches; only those may differ that may change under way."""
        self._wanted = config

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set or the source has ended; then writes a last snapshot and lets go of everything.

        Raises:
            ServiceError: nothing that a new start could mend, or the first start failed although somebody answered.
            ForecasterError: a model that is needed cannot be loaded.
        """
        self._stop = stop
        was_running, backoff = False, Backoff()
        try:
            while not stop.is_set():
                session = _Session(self._connect(), {}, LeftPartitions(self._clock))
                try:
                    self._start(session)
                    was_running = True
                    self._loop(session)
                    self._last_snapshots(session)
                    break
                except FATAL:
                    raise
                except (TransportError, *_STARVED) as error:
                    if not was_running and not isinstance(error, UnreachableError):
                        raise
                    self._metrics.restarts.inc()
                    with contextlib.suppress(*_STARVED):  # a machine that has no memory for the rest has none for this
                        self._levels.show(session.partitions.values())  # a replay does not count again
                    reason = str(error) or type(error).__name__
                    _log.warning("transport failed, starting again", error=reason)
                    self._health.enter("starting", reason)
                finally:
                    self._rounds.close()
                    self._writer.wait()
                    session.restoring.close()
                    session.transport.close()
                if session.published:
                    backoff.reset()
                stop.wait(backoff.next())
        finally:
            self._health.enter("stopping")
            self._trainer.close()

    # The start -----------------------------------------------------------------------------------------------

    def _start(self, session: _Session) -> None:
        self._health.enter("starting")
        started = self._clock.monotonic()
        transport = session.transport
        transport.start()  # takes the lock first: from here on nobody else writes
        fresh = all(transport.committed(name) is None for name in transport.partitions())
        self._store.output = lambda: transport.identity
        claim(self._store.root, transport.identity, fresh=fresh)
        self._store.settings = replay_settings(self._config)
        model = self._champion.first()
        self._health.enter("compiling")
        _warm_up(model)
        gc.collect()  # the compiler leaves some hundred megabytes of dead cycles, and the collector comes by seldom
        session.restorer = Restorer(
            self._config, transport, self._registry, self._store, self._decoder, self._metrics, self._health.beat,
            model, self._retraining.replayed,
        )  # fmt: skip
        self._restore_began = started
        self._looked = -1e9
        self._take_over(session)

    def _take_over(self, session: _Session) -> None:
        """Holds the partitions that the transport has now.

        One that was here before is used as it is, if nobody moved it on meanwhile. Any other is restored, batch by
        batch between the polls: it is not read until then, the others are.
        """
        transport, held = session.transport, session.partitions
        session.generation, session.partitions = transport.generation, {}
        everywhere = sorted(transport.everywhere())
        committed = {name: transport.committed(name) for name in sorted(transport.partitions())}
        session.restoring.keep(committed)
        for name, position in committed.items():
            was_here = name in held
            partition = held.pop(name, None) or session.limbo.take(name)
            if partition is not None and partition.stands_at(position, transport.run(name)):
                session.partitions[name] = partition
                if not was_here:
                    self._metrics.partition_restored(name)
            elif name not in session.restoring.names and session.restorer is not None:
                schedule = Schedule.of(self._config.retrain, everywhere.index(name), len(everywhere))
                session.restoring.begin(name, position, session.restorer.restore(name, schedule))
        session.limbo.put(held.values())
        for name in held:
            self._metrics.partition_left(name)
            self._store.release(name)
        self._live.holds({name: one.forecaster for name, one in session.partitions.items()})
        self._exports.keep(committed)
        self._schedule(session, session.partitions.values())
        transport.hold(session.restoring.names)
        if not session.restoring:
            self._health.enter("running")

    def _restore(self, session: _Session) -> None:
        """Brings one of the partitions that are on their way further; one that has come to its place is served."""
        self._health.enter("restoring", session.restoring.told(), restored=session.restoring.done)
        partition = session.restoring.step()
        if partition is None:
            return
        self._metrics.partition_restored(partition.name)
        if partition.quality is not None:
            partition.quality.take()  # was counted before the restart
        _log.info("restored", partition=partition.name, position=partition.position, events=partition.progress.events)
        partition.snapshot_due = self._clock.monotonic() + self._config.state.snapshot_every
        session.partitions[partition.name] = partition
        self._live.holds({name: one.forecaster for name, one in session.partitions.items()})
        session.transport.hold(session.restoring.names)
        if not session.restoring:
            self._metrics.restore_duration.set(self._clock.monotonic() - self._restore_began)
            self._health.enter("running")
            if session.restorer is not None:
                session.restorer.release()
        self._schedule(session, [partition])
        self._judge([partition])
        self._trials.reconcile([partition])
        if not session.restoring:  # a trial is judged by all of them; it died perhaps before the verdict was on record
            for one in list(session.partitions.values()):
                self._trials.check(one, session.partitions.values())
        if partition.progress.is_due and self._config.retrain_waits:  # it died before the training had ended
            self._retraining.fell_due(partition, session.partitions.values(), self._stop)

    # The loop ------------------------------------------------------------------------------------------------

    def _loop(self, session: _Session) -> None:
        """Goes round until the end is wanted or reached. Every batch passes the numbered steps in this order."""
        transport = session.transport
        while not self._stop.is_set():
            self._tend(session)
            if transport.generation != session.generation:
                self._take_over(session)
            if session.restoring:
                self._restore(session)

            # 1. Poll. Nothing of it is acknowledged before step 4.
            records = transport.poll(self._config.input.max_poll_records, 0.0 if session.restoring else POLL_SECONDS)
            self._kill(1)
            if records is None:
                if transport.finished():
                    if not self.tally.total.records:
                        self.tally.before = transport.outcomes()
                    return
                continue

            if not self._round(session, records):
                return

    def _round(self, session: _Session, records: Records) -> bool:
        """Takes polled records, and what comes along with them, through all steps; False as of `_finish`.

        2. Decode; what cannot be used is set aside as a value. A new model is put in force here, between two batches,
           and goes into the same unit as the first forecasts made with it. With several workers the batches of other
           partitions that are at hand come along, and all of them begin to be observed. None comes along while
           partitions are on their way, which take turns with the rounds, nor at the end.
        """
        limit, may_read = self._config.input.max_poll_records, functools.partial(self._may_read, session)
        rounds = self._rounds.turns(session.transport, session.partitions, records, limit, may_read)
        return all(self._finish(session, turn) for turn in rounds)

    def _may_read(self, session: _Session) -> bool:
        return not session.restoring and not self._stop.is_set()

    def _finish(self, session: _Session, turn: InFlightBatch) -> bool:
        """Takes one batch through the steps that are left, piece by piece.

        Returns:
            False if the end is wanted and a piece could not be published.
        """
        transport, partition, records = session.transport, turn.partition, turn.records
        stages, piece, adoption = {"decode": turn.decode_seconds}, turn.piece, turn.adoption
        answer = turn.observed
        while True:
            # 3. Observe: rows are updated in place. From here on memory is ahead of what is committed.
            observed = answer()
            forecasts, before = observed.forecasts, self._clock.monotonic()
            shown = self._limits.applied(piece.decoded.series, forecasts)
            unit, staging = self._publishing.unit(transport, partition, piece, records, shown, adoption)
            encoding = self._clock.monotonic() - before - staging
            stages |= {"observe": observed.seconds, "encode": encoding}
            self._publishing.obey(piece.decoded.controls)
            self._kill(3)

            # 4. One atomic step: forecasts, rejects, adoption, position. Returned means durable.
            before = self._clock.monotonic()
            if not self._publishing.publish(transport, unit, self._stop):
                return False
            stages["publish"] = self._clock.monotonic() - before + staging
            due = partition.took(piece, forecasts)
            session.published = True
            partition.recorded |= adoption is not None
            self._count(partition, unit, forecasts, piece.decoded, stages)
            if piece.decoded.two_units:
                self.tally.saw_two_units(partition.name)
            report_times(self._metrics, partition.name, piece.decoded.series, forecasts)
            self._exports.took(partition.name, piece.decoded.batch, shown, partition.forecaster.config.quantiles)
            self._live.took(partition.name, piece.decoded, shown, partition.forecaster)
            if gone := [name for at, name in piece.decoded.forget if name not in piece.decoded.series[at:]]:
                self._exports.forgot(partition.name, gone)
                self._live.forgot(partition.name, gone)
            stages = {}
            self._kill(4)
            if self._on_unit is not None:
                self._on_unit(unit)

            # 5. A snapshot, if due: of the state at exactly the committed position, written in the background.
            if self._clock.monotonic() >= partition.snapshot_due:
                self._snapshot(partition, transport)
            self._kill(5)

            # 6. and 7. Trials are looked at. A training, if due: at exactly this position, or as soon as it can be.
            if not session.restoring:  # else at a later one: never on a part of the partitions
                self._trials.check(partition, session.partitions.values())
            if due:
                self._retraining.fell_due(partition, session.partitions.values(), self._stop)
            if self._stop.is_set():
                return True  # the rest of the batch is not committed and comes again
            following = next(turn.later, None)
            if following is None:
                return True
            piece, adoption = following, self._adopt(partition, following)
            partition.ahead, answer = True, self._rounds.here(partition.forecaster, piece)

    def _adopt(self, partition: Partition, piece: Piece) -> Adoption | None:
        """Puts the champion in force from the piece on, if it is another model or was never recorded."""
        champion = self._champion.model
        if champion is None or not len(piece.decoded):
            return None
        current = partition.forecaster.model.sha256
        if champion.sha256 != current:
            partition.adopt(champion)
            self._metrics.adoptions.inc()
            _log.info("model adopted", partition=partition.name, position=piece.position, model=champion.sha256[:12],
                      before=current[:12])  # fmt: skip
        elif partition.recorded:
            return None
        return Adoption(piece.position, champion.sha256)

    def _count(
        self, partition: Partition, unit: Unit, forecasts: Forecasts, decoded: Decoded, stages: dict[str, float]
    ) -> None:
        statuses = np.bincount(forecasts.status, minlength=len(Status)).tolist()
        rejects = Counter(reject.reason for reject in unit.rejects)
        self.tally.took(partition.name, statuses, unit.rejects, decoded.missing)
        if decoded.tombstones:
            rejects["tombstone"] += len(decoded.tombstones)
            self.tally.saw_tombstone(partition.name, decoded.tombstones[0])
        silences = len(forecasts.silences)
        self._metrics.batch_published(statuses, rejects, len(unit.forecasts) - silences, stages)
        self._metrics.silences.inc(silences)
        self._metrics.anomalies.inc(int(forecasts.flagged.sum()))
        self._metrics.position.labels(partition.name).set(unit.next_position)

    # Snapshots -----------------------------------------------------------------------------------------------

    def _snapshot(self, partition: Partition, transport: Transport) -> None:
        """Orders a snapshot in the background; while the last order is being written, it stays due."""
        if not self._writer.busy:
            self._release(partition, transport)
            partition.snapshot_due = self._clock.monotonic() + self._config.state.snapshot_every
            self._writer.submit(snapshots_of([partition], self._store))

    def _release(self, partition: Partition, transport: Transport) -> None:
        """Lets the source forget what no snapshot needs."""
        needed = self._store.oldest_needed(partition.name)
        if needed is not None:
            transport.release(partition.name, needed)

    def _last_snapshots(self, session: _Session) -> None:
        self._health.enter("stopping")
        self._trainer.close()
        self._show(session)
        self._writer.wait()
        self._writer.write_now(snapshots_of(session.partitions.values(), self._store))
        for partition in session.partitions.values():  # else many short runs would never do it
            self._release(partition, session.transport)
        if not session.restoring:
            self._retention.look(session.transport)

    def _tend(self, session: _Session) -> None:
        """What happens once in a while: trainings, promotions, gauges. Never slower for more events."""
        self._health.beat()
        self._retraining.tend(session.partitions.values())
        if self._wanted is not self._config:
            self._apply(session, self._wanted)
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._judge(session.partitions.values())
            self._champion.look()
            self._trials.reconcile(session.partitions.values())
            self._show(session)
            if gone := session.limbo.drop():
                _log.info("partitions dropped", count=len(gone), names=sorted(gone)[:20])
            self._thrift.look()
            if not session.restoring:
                self._retention.look(session.transport)

    def _apply(self, session: _Session, config: Config) -> None:
        """Puts other settings in force, here between two batches."""
        before, self._config = self._config, config
        self._levels.config, self._conditions.config = config.metrics, config.health
        if config.metrics != before.metrics:
            self._exports.configure(config.metrics)
        self._retraining.configure(config)
        self._trainer.configure(config)
        self._schedule(session, session.partitions.values())
        self._judge(session.partitions.values())

    def _schedule(self, session: _Session, partitions: Collection[Partition]) -> None:
        """When trainings fall due, by the settings in force."""
        everywhere = sorted(session.transport.everywhere())
        for partition in partitions:
            partition.rules = self._config.retrain
            partition.schedule = Schedule.of(self._config.retrain, everywhere.index(partition.name), len(everywhere))

    def _judge(self, partitions: Collection[Partition]) -> None:
        """Puts the anomaly rules of the settings in force, and a snapshot that says so on disk before the next commit.

        Rows remember what the rules made of their events. A restart replays from that snapshot with its rules, so it
        never has to know where they changed. Without the snapshot nothing changes, and it is tried again.
        """
        wanted = self._config.library_anomaly()
        for partition in partitions:
            before = partition.forecaster.anomaly
            if before == wanted:
                continue
            self._writer.wait()
            partition.forecaster.judge_by(wanted)
            kept = snapshots_of([partition], self._store)  # none of a partition that has not forecast anything
            if kept and not self._writer.write_now(kept):
                partition.forecaster.judge_by(before)
                continue
            _log.info("anomaly rules changed", partition=partition.name, position=partition.position)

    def _show(self, session: _Session) -> None:
        model = self._champion.model
        lag = session.transport.lag()
        trainings = self._trainer.trainings
        self._status = show(self._metrics, session.partitions, lag, model, trainings, self._levels)
        self._conditions.look(lag, trainings)


def _warm_up(model: Model) -> None:
    """Compiles what the loop will call, on a forecaster that is thrown away."""
    config = model.config
    covariates = np.zeros((1, len(config.covariates)), np.float32) if config.covariates else None
    known = len(config.future_covariates)
    future = np.zeros((1, known, config.horizon), np.float32) if known else None
    batch = Batch(["warm up"], np.zeros(1, np.int64), np.zeros(1), covariates, future)
    Forecaster(model, max_series=1, history_events=0).observe(batch)
