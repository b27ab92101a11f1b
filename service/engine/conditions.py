"""Detects conditions that need attention although events are forecast: lag, failing trainings, low disk space."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from service.config.monitoring import HealthConfig
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.trainer.supervisor import Trainings


class Conditions:
    """Updates the warnings of the health state once a second.

    Args:
        config: the thresholds; may be replaced.
        folder: `state.data_dir`.
        health: gets the warnings.
        metrics: export the free space.
    """

    def __init__(self, config: HealthConfig, folder: Path, health: Health, metrics: Metrics) -> None:
        self.config = config
        self._folder, self._health, self._metrics = folder, health, metrics

    def update(self, lag: Mapping[str, int], trainings: Trainings) -> None:
        """Updates the warnings.

        Args:
            lag: of every partition, in units of its positions.
            trainings: the trainings of this process so far.
        """
        limit = self.config.max_lag
        behind = {name: by for name, by in lag.items() if limit and by > limit}
        worst = max(behind, key=lambda name: behind[name], default="")
        text = f"{len(behind)} of {len(lag)} partitions, {worst} by {behind[worst]} (limit {limit})" if behind else ""
        self._health.warn("lagging", text)
        failed = trainings.failed_in_a_row
        text = f"{failed} consecutive trainings have failed, the last: {trainings.last_reason}"
        self._health.warn("trainer_failing", text if failed >= self.config.failed_trainings else "")
        self._update_disk()

    def _update_disk(self) -> None:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            self._health.warn("disk_nearly_full", f"{self._folder}: free space is unknown ({error.strerror})")
            return
        self._metrics.disk_free.set(free)
        few = free < self.config.min_free_bytes
        text = f"{self._folder}: {free >> 20} MiB free, expected {self.config.min_free_bytes >> 20} MiB or more"
        self._health.warn("disk_nearly_full", text if few else "")
