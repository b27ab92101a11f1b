"""Creates partitions at a start: from a snapshot, or with empty state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from forecaster import CheckpointError, ConfigError, DriftTest, Forecaster, Model, QualityWatch
from forecaster.state import checked
from service.aggregate.aggregator import Aggregator
from service.alerts.alert_states import AlertStates
from service.alerts.breach_rules import BreachRules
from service.config.library import AnomalySettings
from service.config.sections import Config
from service.engine.moved_series import move_series
from service.errors import ConfigurationError
from service.partitions.flag_filter import FlagFilter
from service.partitions.grouping import Grouping
from service.partitions.partition import Partition
from service.partitions.schedule import Progress, Schedule
from service.ports import Adoption, Transport
from service.registry.models import Registry
from service.snapshots.file import Snapshot
from service.snapshots.partition_state import restore_overlap, restore_tests, restore_windows
from service.transport.history import overlap_of

_log = structlog.get_logger()


class PartitionFactory:
    """Creates the partitions of a start.

    Args:
        config: limits and rules.
        transport: started.
        registry: has the adopted models.
        models: of each group of series, for a partition that starts with empty state.
        seeks_groups: whether series may get groups by cadence.

    Attributes:
        groups: the settings of each group of series.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        registry: Registry,
        models: Mapping[str, Model],
        *,
        seeks_groups: bool = False,
    ) -> None:
        self._config, self._transport, self._registry, self._seeks_groups = config, transport, registry, seeks_groups
        self._sample_series, self._state, self._aggregate = config.metrics.sample_series, config.state, config.aggregate
        self._broadcast, self._late_within = config.input.broadcast, config.input.late_within
        self.groups = {name: config.of_group(name) for name in models}
        self._grouping = Grouping(config.group) if config.group else None
        self._breach_rules, self._first = BreachRules(config.alert), dict(models)
        self._models = {model.sha256: model for model in models.values()}

    def of_snapshot(
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
                self._restored(states[group], group, schedule, self.load(models[group]))
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

    def empty(
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

    def release(self) -> None:
        """Releases the models that were loaded since the start."""
        self._models = {model.sha256: model for model in self._first.values()}

    def load(self, sha256: str) -> Model:
        """Returns the model of an adoption.

        Raises:
            RegistryError, CheckpointError: it is missing or damaged.
        """
        if sha256 not in self._models:
            try:
                self._models[sha256] = self._registry.load(sha256)
            except CheckpointError as error:
                msg = f"the model of a committed adoption cannot be read: {error}; restore its file"
                raise CheckpointError(msg) from error
        return self._models[sha256]

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
        restore_tests(found, state, self.load)
        with checked("the state of alerts"):
            found.alerts.restore(state.library.get("alerts", {}))
            found.feedback = int(state.library.get("feedback", 0))
        return found

    def _rules_of(self, kept: Mapping[str, Any] | None, group: str) -> AnomalySettings:
        """Returns the rules for a replay: the recorded ones, or the present ones where those are missing or invalid."""
        present = self.groups[group].anomaly
        try:
            rules = AnomalySettings.model_validate(kept) if kept else present
            rules.library_rules()
        except (ValidationError, ConfigError):
            return present
        return rules

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
            self._first[group] if first is None else self.load(first.model_sha256),
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
        c, rules = forecaster.config, self.groups[group].retrain
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
