"""Updates the gauges and the status of the engine once a second."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from service.config.groups import shown_group
from service.engine.group_parts import GroupParts
from service.engine.trials import TrialScore
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
from service.trainer.supervisor import Trainings


def show(
    metrics: Metrics,
    partitions: Mapping[str, Partition],
    lag: Mapping[str, int],
    groups: Sequence[GroupParts],
    trainings: Trainings,
) -> dict[str, Any]:
    """Updates the gauges of all partitions.

    Args:
        metrics: the metrics to update.
        partitions: the served partitions.
        lag: distance of each partition from the end of its source, in units of its positions.
        groups: of series; the first one has all of them without groups. They have the models for the next batch.
        trainings: the trainings of this process so far.

    Returns:
        The status as JSON values.
    """
    for name, partition in partitions.items():
        metrics.lag.labels(name).set(lag.get(name, 0))
        metrics.position.labels(name).set(partition.position)
        if partition.aggregator is not None:
            metrics.windows_open.labels(name).set(len(partition.aggregator))
        newest = [one.progress.newest_ms for one in partition.groups if one.progress.newest_ms is not None]
        if newest:
            metrics.newest_event.labels(name).set(max(newest) / 1000)
    for group in groups:
        _show_group(group.metrics, group.states(partitions.values()))
    metrics.bootstrap_partitions.set(sum(partition.in_history for partition in partitions.values()))
    quality = {group.name: group.quality.show(group.states(partitions.values())) for group in groups}
    champion = groups[0].champion.model
    found = {
        "model": champion.sha256 if champion else None,
        "partitions": {name: _of(partition, lag.get(name, 0)) for name, partition in partitions.items()},
        "training": {
            "running": trainings.running,
            "ended": trainings.ended,
            "promoted": trainings.promoted,
            "last_reason": trainings.last_reason,
            "failed_in_a_row": trainings.failed_in_a_row,
        },
        "quality": quality[""],
    }
    if len(groups) > 1:
        found["groups"] = {
            shown_group(group.name): _of_group(group, partitions.values()) | {"quality": quality[group.name]}
            for group in groups
        }
    return found


def _show_group(metrics: Metrics, states: Collection[Partition]) -> None:
    """Updates the gauges of one group, from its states in all partitions."""
    for state in states:
        metrics.series.labels(state.name).set(state.forecaster.series_count)
        metrics.state_bytes.labels(state.name).set(state.forecaster.state_bytes)
        metrics.series_bytes.set(state.forecaster.bytes_per_series)
        if state.drift is not None:
            metrics.drift.labels(state.name).set(state.drift.statistic)
    shadows = [state.shadow for state in states if state.shadow is not None]
    metrics.shadow_running.set(bool(shadows))
    if shadows:
        score = TrialScore.of(shadows)
        metrics.shadow_events.set(score.compared)
        metrics.shadow_gain.set(score.gain)
        metrics.shadow_e_value.labels("for").set(score.better)
        metrics.shadow_e_value.labels("against").set(score.worse)
    metrics.evicted.set(sum(state.forecaster.evicted_total for state in states))


def _of_group(group: GroupParts, partitions: Collection[Partition]) -> dict[str, Any]:
    """Returns the status of a group over all partitions."""
    states, model = group.states(partitions), group.champion.model
    return {
        "model": model.sha256 if model else None,
        "horizon": model.config.horizon if model else None,
        "events": sum(state.progress.events for state in states),
        "series": sum(state.forecaster.series_count for state in states),
        "trials": [found for found in map(_trial, states) if found is not None],
    }


def _of(partition: Partition, lag: int) -> dict[str, Any]:
    """Returns the status of a partition; counts are those of all groups, model and tests those of group ""."""
    newest = [one.progress.newest_ms for one in partition.groups if one.progress.newest_ms is not None]
    return {
        "position": partition.position,
        "lag": lag,
        "events": sum(one.progress.events for one in partition.groups),
        "series": sum(one.forecaster.series_count for one in partition.groups),
        "model": partition.forecaster.model.sha256,
        "newest_event_ms": max(newest, default=None),
        "drift": None if partition.drift is None else partition.drift.statistic,
        "trial": _trial(partition),
    }


def _trial(partition: Partition) -> dict[str, Any] | None:
    if partition.shadow is None:
        return None
    facts = {"model": partition.shadow.model.sha256, "role": "former" if partition.guard else "challenger"}
    return facts | asdict(TrialScore.of([partition.shadow]))
