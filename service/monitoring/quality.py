"""Quality metrics of forecasts against their objectives: counters for windows of any length, and rolling gauges.

The counters let Prometheus compute the burn rate of an objective over an hour and over a day alike; the rolling gauges
show the present value. Both are updated once a second from sums that the kernel keeps. Unknown values are exported as
NaN, so that every time series exists from the start.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from forecaster import Quality, QualityWatch, member_names, mixture_weights, tracked_horizons
from service.config.monitoring import MetricsConfig
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition


class QualityMetrics:
    """Sums the quality over the partitions of a process.

    Args:
        config: window and objectives; may be replaced.
        metrics: the metrics to update.
    """

    def __init__(self, config: MetricsConfig, metrics: Metrics) -> None:
        self.config, self._metrics = config, metrics
        self._rolling: Quality | None = None
        self._shape: tuple[tuple[int, ...], tuple[float, ...]] = ((), ())

    def show(self, partitions: Collection[Partition]) -> dict[str, Any]:
        """Takes the sums of all partitions and updates the metrics.

        Returns:
            The rolling metrics by horizon, as JSON values.
        """
        watches = [partition.quality for partition in partitions if partition.quality is not None]
        # Others, whose network has another shape until their next events, are shown then.
        watches = [one for one in watches if (one.tracked, one.intervals) == (watches[0].tracked, watches[0].intervals)]
        self._show_weights(partitions)
        self._metrics.skill_target.set(self.config.skill_target)
        if not watches:
            return {}
        shape = watches[0].tracked, tuple(share for _, _, share in watches[0].intervals)
        if self._rolling is None or shape != self._shape:
            self._rolling, self._shape = Quality.nothing(len(shape[0]), len(shape[1])), shape
        new = Quality.nothing(len(shape[0]), len(shape[1]))
        for watch in watches:
            new.add(watch.take())
        self._count(watches[0], new)
        self._rolling.add(new, np.exp(-new.scored / self.config.window))
        return self._figures(watches[0], self._rolling)

    def _count(self, watch: QualityWatch, new: Quality) -> None:
        m = self._metrics
        for k, steps in enumerate(watch.tracked):
            horizon = str(steps)
            for counter, amount in (
                (m.scored, new.scored[k]), (m.loss_scored, new.scaled[k]), (m.loss_sum, new.pinball[k]),
                (m.error_sum, new.error[k]), (m.naive_error_sum, new.naive_error[k]),
            ):  # fmt: skip
                counter.labels(horizon).inc(float(amount))
            for i, (_, _, share) in enumerate(watch.intervals):
                m.interval_scored.labels(horizon, f"{share:g}").inc(float(new.scored[k]))
                m.interval_hits.labels(horizon, f"{share:g}").inc(float(new.covered[k, i]))

    def _figures(self, watch: QualityWatch, rolling: Quality) -> dict[str, Any]:
        m, found = self._metrics, dict[str, Any]()
        for _, _, share in watch.intervals:
            m.interval_budget.labels(f"{share:g}").set(1.0 - share + self.config.coverage_tolerance)
        for k, steps in enumerate(watch.tracked):
            horizon = str(steps)
            n, scaled, naive = rolling.scored[k], rolling.scaled[k], rolling.naive_error[k]
            values: dict[str, Any] = {"scored": n, "coverage": {}, "width": {}}
            for i, (_, _, share) in enumerate(watch.intervals):
                level = f"{share:g}"
                values["coverage"][level] = rolling.covered[k, i] / n if n > 0.0 else math.nan
                values["width"][level] = rolling.width[k, i] / scaled if scaled > 0.0 else math.nan
                m.interval_coverage.labels(horizon, level).set(values["coverage"][level])
                m.interval_width.labels(horizon, level).set(values["width"][level])
            values["pinball_loss"] = rolling.pinball[k] / scaled if scaled > 0.0 else math.nan
            values["skill"] = 1.0 - rolling.error[k] / naive if naive > 0.0 else math.nan
            m.loss.labels(horizon).set(values["pinball_loss"])
            m.skill.labels(horizon).set(values["skill"])
            found[horizon] = _plain(values)
        return found

    def _show_weights(self, partitions: Collection[Partition]) -> None:
        """Exports the ensemble weights of the partition with the most series; all partitions share one network."""
        largest = max(partitions, key=lambda partition: partition.forecaster.series_count, default=None)
        if largest is None:
            return
        config, weights = largest.forecaster.config, mixture_weights(largest.forecaster)
        for horizon, row in zip(tracked_horizons(config.horizon), weights, strict=True):
            for member, weight in zip(member_names(config), row, strict=True):
                self._metrics.ensemble_weight.labels(member, str(horizon)).set(float(weight))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Converts numpy numbers to Python floats; nan becomes None."""
    return {
        name: _plain(value) if isinstance(value, dict) else (None if math.isnan(value) else float(value))
        for name, value in values.items()
    }
