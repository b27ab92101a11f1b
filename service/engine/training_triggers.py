"""Trainings as the loop sees them: due by the schedule or asked for, waited for or in the background.

wait        snapshot here, train to the end, adopt exactly here: a run can be repeated byte for byte
background  snapshot, start; the champion is adopted whenever it is there, and where is recorded
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
from service.partition import Partition
from service.registry.models import Registry, RegistryError
from service.snapshots.partition_state import snapshots_of
from service.snapshots.writer import SnapshotWriter
from service.trainer.supervisor import Trainer

# Between two looks at a training that the loop waits for: short beside the seconds that it takes.
_LOOK_SECONDS: Final = 0.05


class TrainingTriggers:
    """Starts trainings at the right position and brings their champions in.

    Args:
        config: whether to wait, and how to train.
        registry: where decisions are found again after a crash.
        trainer: the process.
        champion: what is adopted.
        trials: what runs beside it.
        metrics: where causes are counted.
        writer: of the snapshots that are trained on.
        health: beats while it waits.
        kill: kill points 6 (before a training) and 7 (behind it).
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
    ) -> None:
        self._config, self._registry, self._trainer = config, registry, trainer
        self._champion, self._writer, self._health, self._kill = champion, writer, health, kill
        self._trials, self._metrics = trials, metrics
        self._wanted = self._prepared = False
        self._cause = "hand"

    def configure(self, config: Config) -> None:
        """Takes over how to train from now on."""
        self._config = config

    def on_training_due(self, partition: Partition, partitions: Collection[Partition], stop: threading.Event) -> None:
        """A training fell due at the partition's committed position. While a trial runs there is none."""
        cause = partition.progress.cause or "schedule"
        self._metrics.training_triggers.labels(cause).inc()
        if partition.shadow is not None:
            self._trainer.skip("a trial is running")
        elif self._config.retrain_waits:
            self._train_here(partition, partitions, stop)
        else:
            self._wanted, self._cause = True, cause

    def on_training_due_in_replay(self, partition: Partition) -> None:
        """A training fell due here before: what it brought beside the champion begins here again."""
        decision = self._registry.decision_of(self._job(partition)) if self._config.retrain_waits else None
        if decision is not None and decision.action == "shadow" and self._config.retrain.shadow:
            try:
                challenger = self._registry.load(decision.model)
            except RegistryError:  # deleted since, which happens to none that is on trial
                return
            partition.begin(challenger, guard=False)

    def _job(self, partition: Partition) -> str:
        """Says which state a training starts from."""
        model = partition.forecaster.model.sha256
        train = self._config.train.model_dump(mode="json")
        facts = json.dumps([partition.identity, partition.progress.to_dict(), model, train], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()

    def _start(self, cause: str) -> str:
        rules = self._config.retrain
        own = rules.drift_start if cause == "drift" else "same"
        return rules.start if own == "same" else own

    def _train_here(self, partition: Partition, partitions: Collection[Partition], stop: threading.Event) -> None:
        """Trains to the end while nothing else happens, so that the model is adopted at exactly this position.

        The training is a function of the state here, and its job says which state that is: after a crash it is run
        again, or its decision is found, with the same result. With several partitions the others' histories are what
        they happen to be, so only runs over one partition are the same byte for byte; and a training that is killed at
        its deadline leaves no decision, because how far it came depends on the machine.
        """
        model, job = partition.forecaster.model.sha256, self._job(partition)
        if self._registry.decision_of(job) is None:
            self._writer.wait()
            if not self._writer.write_now(snapshots_of(partitions, self._writer.store)):
                self._trainer.skip("the snapshot to train on could not be written")
                return
            self._health.enter("training")
            self._await(stop)  # for one that was asked for by hand
            self._kill(6)
            self._trainer.start(champion=model, job=job, start=self._start(partition.progress.cause))
            self._await(stop)
            self._kill(7)
            self._health.enter("running")
        self._champion.look()
        self._trials.reconcile(partitions)

    def _await(self, stop: threading.Event) -> None:
        while self._trainer.running and self._trainer.poll() is None:
            self._health.beat()
            if stop.wait(_LOOK_SECONDS):
                return  # the training is killed with the daemon and run again at the next start

    def run(self, partitions: Collection[Partition]) -> None:
        """Once per round of the loop: takes in trainings that have ended and starts those that were requested."""
        if self._trainer.poll() is not None:
            self._champion.look()
            self._trials.reconcile(partitions)
        if self._trainer.take_request():
            self._metrics.training_triggers.labels("hand").inc()
            self._wanted, self._cause = True, "hand"
        if self._prepared and not self._writer.busy:
            self._prepared = False
            self._trainer.start(start=self._start(self._cause))
        if not self._wanted:
            return
        if self._trainer.running or self._prepared:
            self._wanted = False
            self._trainer.skip("one is running")
        elif not self._writer.busy and self._writer.submit(snapshots_of(partitions, self._writer.store)):
            self._wanted, self._prepared = False, True
