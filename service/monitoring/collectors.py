"""What is collected at the moment of a scrape: figures of this process, and of single series.

The metrics of single series are the only ones with a label that names one, bounded by `[metrics]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.monitoring.exported_series import ExportedSeries, Shown, breach

_LONGEST_NAME: Final = 256  # characters of a label; a name beyond is cut
_WHO: Final = ["partition", "series"]
_FAMILIES: Final = {
    "value": ("series_value", "Value of the last event of an exported series.", []),
    "forecast": ("series_forecast", "Forecast of an exported series, by steps ahead.", ["horizon", "quantile"]),
    "anomaly": ("series_anomaly_score", "Anomaly score of the last event of an exported series.", []),
    "time": ("series_event_timestamp_seconds", "Event time of the last event of an exported series.", []),
    "chance": ("threshold_breach_probability", "Chance that a series crosses a limit in time.", ["limit"]),
    "when": ("threshold_breach_seconds", "Expected time to the crossing, if there is one.", ["limit"]),
}  # fmt: skip


class SeriesCollector(Collector):
    """Gauges of the series that `exports` shows; none until there is one.

    Args:
        registry: where they are shown.

    Attributes:
        exports: what to show, set by the engine.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.exports: ExportedSeries | None = None
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families without samples."""
        yield from _families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families with what was last forecast."""
        found = _families()
        if self.exports is not None:
            told: set[tuple[str, ...]] = set()
            for row in self.exports.rows():
                if tuple(_who(row)) not in told:  # two long names may be one when cut
                    told.add(tuple(_who(row)))
                    _add(found, row)
            for row, threshold in self.exports.watched():
                labels = [*_who(row), threshold.label]
                if tuple(labels) in told:
                    continue
                told.add(tuple(labels))
                answer = breach(row, threshold)
                if answer is not None:
                    found["chance"].add_metric(labels, answer[0])
                    found["when"].add_metric(labels, answer[1])
        yield from found.values()


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        key: GaugeMetricFamily(f"forecaster_{name}", text, labels=[*_WHO, *more])
        for key, (name, text, more) in _FAMILIES.items()
    }


def _who(row: Shown) -> list[str]:
    """The labels; what is no Unicode is replaced, as the page could not be written else."""
    return [text.encode("utf-8", "replace").decode()[:_LONGEST_NAME] for text in (row.partition, row.series)]


def _add(found: dict[str, GaugeMetricFamily], row: Shown) -> None:
    who = _who(row)
    if not math.isnan(row.value):
        found["value"].add_metric(who, row.value)
    if not math.isnan(row.anomaly):
        found["anomaly"].add_metric(who, row.anomaly)
    found["time"].add_metric(who, row.timestamp_ms / 1000)
    if not row.known:
        return
    last, middle = len(row.levels) - 1, row.levels.index(0.5)
    for horizon in _horizons(len(row.quantiles)):
        for j in sorted({0, middle, last}):
            labels = [*who, str(horizon), f"{row.levels[j]:g}"]
            found["forecast"].add_metric(labels, float(row.quantiles[horizon - 1, j]))


def _horizons(horizon: int) -> list[int]:
    """1, 2, 4, ... and the last one."""
    return sorted({horizon, *(1 << power for power in range(horizon.bit_length()) if 1 << power < horizon)})


def process_registry() -> CollectorRegistry:
    """A fresh registry with memory, file descriptors, processor time and garbage collection of this process.

    Fresh, unlike the global one of prometheus_client, so that a second daemon in one process (in tests) does not
    meet the metrics of the first.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
