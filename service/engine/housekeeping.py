"""The work of the engine between batches: some of it in every iteration, most of it once a second.

every iteration   heartbeat, trainings that have ended or were requested, settings that have changed, questions about
                  the situation of a series
every second      anomaly rules, champion, trials, gauges and status, left partitions, memory, kernels, feedback,
                  retention
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.config.sections import Config
from service.engine.conditions import Conditions
from service.engine.feedback import FeedbackIntake
from service.engine.group_parts import GroupParts
from service.engine.literal_kernels import LiteralKernels
from service.engine.malloc_trim import MallocTrimmer
from service.engine.partition_set import PartitionSet
from service.engine.retention import Retention
from service.engine.situation_answers import SituationAnswers
from service.engine.snapshot_timer import SnapshotTimer
from service.engine.status import show
from service.monitoring.exported_series import ExportedSeries
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.ports import Clock, Transport
from service.trainer.supervisor import Trainer

PERIOD_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Kept:
    """The parts that housekeeping updates between batches; see their classes."""

    groups: Sequence[GroupParts]
    conditions: Conditions
    exported: ExportedSeries
    retention: Retention
    snapshots: SnapshotTimer
    trainer: Trainer
    trimmer: MallocTrimmer
    kernels: LiteralKernels
    feedback: FeedbackIntake
    answers: SituationAnswers


class Housekeeping:
    """Runs the housekeeping, in the loop's thread.

    Args:
        config: the settings in force.
        kept: the parts to update.
        metrics: the gauges to update.
        health: gets the heartbeat.
        clock: measures the period.

    Attributes:
        config: the settings in force, replaced between two batches.
        status: the last status of the engine, as JSON values.
    """

    def __init__(self, config: Config, kept: Kept, metrics: Metrics, health: Health, clock: Clock) -> None:
        self.config = self._wanted = config
        self._kept, self._metrics, self._health, self._clock = kept, metrics, health, clock
        self._due = -1e9
        self.status: dict[str, Any] = {"phase": "starting"}

    def configure(self, config: Config) -> None:
        """Requests other settings, which are put in force between two batches. May be called from any thread."""
        self._wanted = config

    def restart(self) -> None:
        """Makes the work of every second due now."""
        self._due = -1e9

    def run(self, partitions: PartitionSet, transport: Transport) -> None:
        """Runs the work that is due."""
        self._health.beat()
        trainer = self._kept.trainer
        ended, asked = trainer.poll() is not None, trainer.take_request()
        for group in self._kept.groups:
            group.training.run(partitions.served.values(), ended=ended, asked=asked)
        if self._wanted is not self.config:
            self._put_in_force(self._wanted, partitions)
        self._kept.answers.run(partitions.served)
        if self._clock.monotonic() >= self._due:
            self._due = self._clock.monotonic() + PERIOD_SECONDS
            self._run_periodic(partitions, transport)

    def _run_periodic(self, partitions: PartitionSet, transport: Transport) -> None:
        kept, served = self._kept, partitions.served.values()
        for group in kept.groups:
            group.anomaly_rules.put_in_force(served)
            group.champion.refresh()
            group.trials.reconcile(group.states(served))
        self.show(partitions, transport)
        partitions.drop_left()
        kept.trimmer.trim_if_due()
        models = (group.champion.model for group in kept.groups)
        kept.kernels.want([model.config for model in models if model is not None])
        kept.kernels.poll()
        if not partitions.queue:
            kept.feedback.take(served)
            kept.retention.run(transport)

    def _put_in_force(self, config: Config, partitions: PartitionSet) -> None:
        """Puts changed settings in force, between two batches."""
        before, self.config, kept = self.config, config, self._kept
        kept.conditions.config = config.health
        if config.metrics != before.metrics:
            kept.exported.configure(config.metrics)
        for group in kept.groups:
            group.configure(config)
        for part in (kept.trainer, kept.snapshots):
            part.configure(config)
        partitions.schedule(config, partitions.served.values())
        for group in kept.groups:
            group.anomaly_rules.put_in_force(partitions.served.values())

    def show(self, partitions: PartitionSet, transport: Transport) -> None:
        """Updates the gauges, the status and the warnings of the probes."""
        kept, lag = self._kept, transport.lag()
        trainings = kept.trainer.trainings
        self.status = show(self._metrics, partitions.served, lag, kept.groups, trainings)
        kept.conditions.update(lag, trainings)
