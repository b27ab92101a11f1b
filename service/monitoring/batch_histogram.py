"""A histogram that adds n equal observations at the cost of one."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class BatchHistogram(Collector):
    """A histogram that adds n equal observations at the cost of one, which prometheus_client does not support.

    Args:
        name, text: name and help of the metric.
        registry: the registry to register with.
        buckets: upper bounds, rising, without infinity.
    """

    def __init__(self, name: str, text: str, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, list(buckets)
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, value: float, times: int) -> None:
        """Adds `times` observations of the same value."""
        with self._lock:
            self._counts[bisect.bisect_left(self._bounds, value)] += times
            self._sum += value * times

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yields the histogram with cumulative buckets, as Prometheus requires."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        bounds = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, itertools.accumulate(counts)), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=total)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Yields the empty histogram for the registry."""
        return self.collect()
