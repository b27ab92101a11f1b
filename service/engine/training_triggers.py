"""Starts trainings that are due or were requested, and adopts their results.

wait        write a snapshot here, train to the end, adopt at exactly this position: a run is reproducible
background  write a snapshot, start; the champion is adopted when it is ready, and its position is recorded
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection
from typing import Final

from service.config.sections import Config
from service.engine.champion import Champion
from service.engine.trials import Trials
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
from service.registry.models import Registry, RegistryError
from service.snapshots.partition_state import snapshots_of
from service.snapshots.writer import SnapshotWriter
from service.trainer.supervisor import Trainer

# Seconds between two polls of a training that the loop waits for; trainings take seconds.
_POLL_SECONDS: Final = 0.05


class TrainingTriggers:
    """Starts trainings at the right position and adopts their champions.

    Args:
        config: of the group: whether to wait, and how to train.
        registry: has the decisions of trainings before a crash.
        trainer: the training process.
        champion: the champion to adopt.
        trials: the trials of shadow models.
        metrics: count the causes.
        writer: of the snapshots to train on.
        health: gets heartbeats while the loop waits.
        kill: kill points 6 (before a training) and 7 (after it).
        group: the group of series whose network is trained; `partition` below is its state in a partition.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        trainer: Trainer,
        champion: Champion,
        trials: Trials,
        metrics: Metrics,
        writer: SnapshotWriter,
        health: Health,
        kill: Callable[[int], None],
        group: str = "",
    ) -> None:
        self._config, self._registry, self._trainer = config, registry, trainer
        self._champion, self._writer, self._health, self._kill = champion, writer, health, kill
        self._trials, self._metrics, self._group = trials, metrics, group
        self._wanted = self._prepared = False
        self._cause = "hand"

    def configure(self, config: Config) -> None:
        """Replaces the settings of trainings."""
        self._config = config

    def on_training_due(self, partition: Partition, partitions: Collection[Partition], stop: threading.Event) -> None:
        """Starts a training that became due at the partition's committed position; skipped while a trial runs."""
        cause = partition.progress.cause or "schedule"
        self._metrics.training_triggers.labels(cause).inc()
        if partition.shadow is not None:
            self._trainer.skip("a trial is running", self._group)
        elif self._waits(partition):
            self._train_here(partition, partitions, stop)
        elif cause == "schedule" and self._config.retrain.grows and self._trainer.rests(self._group):
            self._trainer.skip("trainings have taken retrain.cpu_share of the time", self._group)
        else:
            self._wanted, self._cause = True, cause

    def _waits(self, partition: Partition) -> bool:
        """Returns whether the stream stops until a training has ended.

        A history is read so fast that a training in the background would be adopted too late.
        """
        return self._config.history_waits if partition.in_history else self._config.retrain_waits

    def resume(self, partition: Partition, partitions: Collection[Partition], stop: threading.Event) -> None:
        """Starts a training that had become due when the process ended, where the stream waits for it."""
        if partition.progress.is_due and self._waits(partition):
            self.on_training_due(partition, partitions, stop)

    def on_training_due_in_replay(self, partition: Partition) -> None:
        """Starts the trial again that a training at this position of the replay had led to."""
        decision = self._registry.decision_of(self._job(partition)) if self._waits(partition) else None
        if decision is not None and decision.action == "shadow" and self._config.retrain.shadow:
            try:
                challenger = self._registry.load(decision.model)
            except RegistryError:  # deleted since, so it is not on trial
                return
            partition.begin(challenger, guard=False)

    def _job(self, partition: Partition) -> str:
        """Returns an identifier of the state that a training starts from."""
        model = partition.forecaster.model.sha256
        train = self._config.train.model_dump(mode="json")
        facts = json.dumps([partition.identity, partition.progress.to_dict(), model, train], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()

    def _start(self, cause: str) -> str:
        rules = self._config.retrain
        own = rules.drift_start if cause == "drift" else "same"
        return rules.start if own == "same" else own

    def _train_here(self, partition: Partition, partitions: Collection[Partition], stop: threading.Event) -> None:
        """Trains to the end while the loop waits, so that the model is adopted at exactly this position.

        The training is a function of the state here, which its job identifies: after a crash it runs again, or its
        decision is found, with the same result. With several partitions, the histories of the others depend on timing,
        so only runs over one partition are reproducible byte for byte; and a training that is killed at its deadline
        leaves no decision, because its progress depends on the machine.
        """
        model, job = partition.forecaster.model.sha256, self._job(partition)
        if self._registry.decision_of(job) is None:
            self._writer.wait()
            if not self._writer.write_now(snapshots_of(partitions, self._writer.store)):
                self._trainer.skip("the snapshot to train on could not be written", self._group)
                return
            self._health.enter("training")
            self._await(stop)  # for one that was requested manually, or that of another group
            self._kill(6)
            start = self._start(partition.progress.cause)
            self._trainer.start(self._config, self._group, champion=model, job=job, start=start)
            self._await(stop)
            self._kill(7)
            self._health.enter("running")
        self._adopt_result(partitions)

    def _adopt_result(self, partitions: Collection[Partition]) -> None:
        self._champion.refresh()
        self._trials.reconcile([partition.of_group(self._group) for partition in partitions])

    def _await(self, stop: threading.Event) -> None:
        while self._trainer.running and self._trainer.poll() is None:
            self._health.beat()
            if stop.wait(_POLL_SECONDS):
                return  # the training is killed with the daemon and run again at the next start

    def run(self, partitions: Collection[Partition], *, ended: bool, asked: bool) -> None:
        """Handles trainings that have ended, and starts requested ones. Called once per iteration of the loop.

        Args:
            partitions: the served partitions.
            ended: whether a training of any group has ended.
            asked: whether a training was requested by hand.
        """
        if ended:
            self._adopt_result(partitions)
        if asked:
            self._metrics.training_triggers.labels("hand").inc()
            self._wanted, self._cause = True, "hand"
        if self._prepared and not self._writer.busy and not self._trainer.running:
            self._prepared = False
            self._trainer.start(self._config, self._group, start=self._start(self._cause))
        if not self._wanted:
            return
        if self._prepared or self._trainer.running_group == self._group:
            self._wanted = False
            self._trainer.skip("another training is running", self._group)
        elif self._trainer.running:
            return  # of another group: this one is next
        elif not self._writer.busy and self._writer.submit(snapshots_of(partitions, self._writer.store)):
            self._wanted, self._prepared = False, True
