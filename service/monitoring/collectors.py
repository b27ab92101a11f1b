"""Collectors that run at a scrape: metrics of this process, and metrics of exported series.

Only the metrics of exported series have a label with the name of a series; `[metrics]` bounds their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.monitoring.exported_series import ExportedSeries, Shown, breach

_LONGEST_NAME: Final = 256  # characters of a label; longer names are truncated
_LABELS: Final = ["partition", "series"]
_FAMILIES: Final = {
    "value": ("series_value", "Value of the last event of an exported series.", []),
    "forecast": ("series_forecast", "Forecast of an exported series, by steps ahead.", ["horizon", "quantile"]),
    "anomaly": ("series_anomaly_score", "Anomaly score of the last event of an exported series.", []),
    "time": ("series_event_timestamp_seconds", "Event time of the last event of an exported series.", []),
    "chance": ("threshold_breach_probability", "Probability that a series crosses a limit in time.", ["limit"]),
    "when": ("threshold_breach_seconds", "Expected seconds until the crossing, given that there is one.", ["limit"]),
}  # fmt: skip


class SeriesCollector(Collector):
    """Gauges of the series that `exports` selects.

    Args:
        registry: the registry to register with.

    Attributes:
        exports: the exported series, set by the engine; None until then.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.exports: ExportedSeries | None = None
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yields the families without samples."""
        yield from _families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the families with the last forecast of every exported series."""
        found = _families()
        if self.exports is not None:
            reported: set[tuple[str, ...]] = set()
            for row in self.exports.rows():
                if tuple(_labels(row)) not in reported:  # two long names may be equal once truncated
                    reported.add(tuple(_labels(row)))
                    _add(found, row)
            for row, threshold in self.exports.watched():
                labels = [*_labels(row), threshold.label]
                if tuple(labels) in reported:
                    continue
                reported.add(tuple(labels))
                answer = breach(row, threshold)
                if answer is not None:
                    found["chance"].add_metric(labels, answer[0])
                    found["when"].add_metric(labels, answer[1])
        yield from found.values()


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        key: GaugeMetricFamily(f"forecaster_{name}", text, labels=[*_LABELS, *more])
        for key, (name, text, more) in _FAMILIES.items()
    }


def _labels(row: Shown) -> list[str]:
    """Returns the labels of a series; invalid Unicode is replaced, because the page could not be encoded otherwise."""
    return [text.encode("utf-8", "replace").decode()[:_LONGEST_NAME] for text in (row.partition, row.series)]


def _add(found: dict[str, GaugeMetricFamily], row: Shown) -> None:
    series = _labels(row)
    if not math.isnan(row.value):
        found["value"].add_metric(series, row.value)
    if not math.isnan(row.anomaly):
        found["anomaly"].add_metric(series, row.anomaly)
    found["time"].add_metric(series, row.timestamp_ms / 1000)
    if not row.known:
        return
    last, middle = len(row.levels) - 1, row.levels.index(0.5)
    for horizon in _horizons(len(row.quantiles)):
        for j in sorted({0, middle, last}):
            labels = [*series, str(horizon), f"{row.levels[j]:g}"]
            found["forecast"].add_metric(labels, float(row.quantiles[horizon - 1, j]))


def _horizons(horizon: int) -> list[int]:
    """Returns the powers of two up to the horizon, and the horizon."""
    return sorted({horizon, *(1 << power for power in range(horizon.bit_length()) if 1 << power < horizon)})


def process_registry() -> CollectorRegistry:
    """Creates a registry with memory, file descriptors, processor time and garbage collection of this process.

    The global registry of prometheus_client is not used, so that a second daemon in one process (in tests) does not
    collide with the metrics of the first.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
