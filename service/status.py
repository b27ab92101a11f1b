"""What the loop says about itself once a second: gauges, and the status as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forecaster import Model
from service.metrics import Metrics
from service.partition import Partition
from service.trainer import Trainings


def show(
    metrics: Metrics,
    partitions: Mapping[str, Partition],
    lag: Mapping[str, int],
    champion: Model | None,
    trainings: Trainings,
) -> dict[str, Any]:
    """Renews the gauges of all partitions.

    Args:
        metrics: whose gauges.
        partitions: those that are read.
        lag: how far each is behind the end of its source, in the units of its positions.
        champion: the model that the next batch is forecast with.
        trainings: of this process so far.

    Returns:
        The status, JSON-able.
    """
    for name, partition in partitions.items():
        metrics.lag.labels(name).set(lag.get(name, 0))
        metrics.position.labels(name).set(partition.position)
        metrics.series.labels(name).set(partition.forecaster.series_count)
        metrics.state_bytes.labels(name).set(partition.forecaster.state_bytes)
        metrics.series_bytes.set(partition.forecaster.bytes_per_series)
        if partition.progress.newest_ms is not None:
            metrics.newest_event.labels(name).set(partition.progress.newest_ms / 1000)
    metrics.evicted.set(sum(partition.forecaster.evicted_total for partition in partitions.values()))
    return {
        "model": champion.sha256 if champion else None,
        "partitions": {name: _of(partition, lag.get(name, 0)) for name, partition in partitions.items()},
        "training": {
            "running": trainings.running,
            "ended": trainings.ended,
            "promoted": trainings.promoted,
            "last_reason": trainings.last_reason,
        },
    }


def _of(partition: Partition, lag: int) -> dict[str, Any]:
    return {
        "position": partition.position,
        "lag": lag,
        "events": partition.progress.events,
        "series": partition.forecaster.series_count,
        "model": partition.forecaster.model.sha256,
        "newest_event_ms": partition.progress.newest_ms,
    }
