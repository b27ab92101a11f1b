"""What the engine has for each group of series: champion, trials, trainings, rules, limits and quality."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from service.config.sections import Config
from service.engine.anomaly_rules import AnomalyRules
from service.engine.champion import Champion
from service.engine.clip import Limits
from service.engine.training_triggers import TrainingTriggers
from service.engine.trials import Trials
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.monitoring.quality import QualityMetrics
from service.partitions.partition import Partition
from service.registry.models import Registry
from service.snapshots.writer import SnapshotWriter
from service.trainer.supervisor import Trainer


@dataclass(frozen=True, slots=True)
class GroupParts:
    """The parts of one group.

    Attributes:
        name: of the group; "" for the series that no `[[group]]` matches, or all series without groups.
        metrics: those with the label of the group.
        champion, trials, training, anomaly_rules, quality, limits: see their classes.
    """

    name: str
    metrics: Metrics
    champion: Champion
    trials: Trials
    training: TrainingTriggers
    anomaly_rules: AnomalyRules
    quality: QualityMetrics
    limits: Limits

    @classmethod
    def of(
        cls,
        config: Config,
        name: str,
        registry: Registry,
        trainer: Trainer,
        metrics: Metrics,
        writer: SnapshotWriter,
        health: Health,
        kill: Callable[[int], None],
    ) -> GroupParts:
        """Creates the parts of a group; `config` has all groups, and `registry` is that of group ""."""
        own, metrics, registry = config.of_group(name), metrics.of_group(name), registry.of_group(name)
        champion = Champion(own, registry, metrics)
        trials = Trials(own.retrain, registry, champion, metrics)
        training = TrainingTriggers(own, registry, trainer, champion, trials, metrics, writer, health, kill, name)
        return cls(
            name, metrics, champion, trials, training, AnomalyRules(own, writer, name),
            QualityMetrics(own.metrics, metrics), Limits(own.output.limits),
        )  # fmt: skip

    def states(self, partitions: Collection[Partition]) -> list[Partition]:
        """Returns the states of the group in the partitions."""
        return [partition.of_group(self.name) for partition in partitions]

    def configure(self, config: Config) -> None:
        """Replaces the settings; `config` has all groups."""
        own = config.of_group(self.name)
        self.quality.config = own.metrics
        self.training.configure(own)
        self.anomaly_rules.configure(own)
