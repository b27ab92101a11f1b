"""Updates the gauges and the status of the engine once a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from forecaster import Model
from service.engine.trials import TrialScore
from service.monitoring.metrics import Metrics
from service.monitoring.quality import QualityMetrics
from service.partition import Partition
from service.trainer.supervisor import Trainings


def show(
    metrics: Metrics,
    partitions: Mapping[str, Partition],
    lag: Mapping[str, int],
    champion: Model | None,
    trainings: Trainings,
    levels: QualityMetrics,
) -> dict[str, Any]:
    """Updates the gauges of all partitions.

    Args:
        metrics: the metrics to update.
        partitions: the served partitions.
        lag: distance of each partition from the end of its source, in units of its positions.
        champion: the model for the next batch.
        trainings: the trainings of this process so far.
        levels: updates the quality metrics.

    Returns:
        The status as JSON values.
    """
    for name, partition in partitions.items():
        metrics.lag.labels(name).set(lag.get(name, 0))
        metrics.position.labels(name).set(partition.position)
        metrics.series.labels(name).set(partition.forecaster.series_count)
        metrics.state_bytes.labels(name).set(partition.forecaster.state_bytes)
        metrics.series_bytes.set(partition.forecaster.bytes_per_series)
        if partition.aggregator is not None:
            metrics.windows_open.labels(name).set(len(partition.aggregator))
        if partition.drift is not None:
            metrics.drift.labels(name).set(partition.drift.statistic)
        if partition.progress.newest_ms is not None:
            metrics.newest_event.labels(name).set(partition.progress.newest_ms / 1000)
    shadows = [partition.shadow for partition in partitions.values() if partition.shadow is not None]
    metrics.shadow_running.set(bool(shadows))
    if shadows:
        score = TrialScore.of(shadows)
        metrics.shadow_events.set(score.compared)
        metrics.shadow_gain.set(score.gain)
        metrics.shadow_e_value.labels("for").set(score.better)
        metrics.shadow_e_value.labels("against").set(score.worse)
    metrics.bootstrap_partitions.set(sum(partition.in_history for partition in partitions.values()))
    metrics.evicted.set(sum(partition.forecaster.evicted_total for partition in partitions.values()))
    return {
        "model": champion.sha256 if champion else None,
        "partitions": {name: _of(partition, lag.get(name, 0)) for name, partition in partitions.items()},
        "training": {
            "running": trainings.running,
            "ended": trainings.ended,
            "promoted": trainings.promoted,
            "last_reason": trainings.last_reason,
            "failed_in_a_row": trainings.failed_in_a_row,
        },
        "quality": levels.show(partitions.values()),
    }


def _of(partition: Partition, lag: int) -> dict[str, Any]:
    return {
        "position": partition.position,
        "lag": lag,
        "events": partition.progress.events,
        "series": partition.forecaster.series_count,
        "model": partition.forecaster.model.sha256,
        "newest_event_ms": partition.progress.newest_ms,
        "drift": None if partition.drift is None else partition.drift.statistic,
        "trial": _trial(partition),
    }


def _trial(partition: Partition) -> dict[str, Any] | None:
    if partition.shadow is None:
        return None
    facts = {"model": partition.shadow.model.sha256, "role": "former" if partition.guard else "challenger"}
    return facts | asdict(TrialScore.of([partition.shadow]))
