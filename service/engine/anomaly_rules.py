"""Changes the anomaly rules (`[anomaly]`) between two batches, with a snapshot before the next commit."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from service.config.sections import Config
from service.partition import Partition
from service.snapshots.partition_state import snapshots_of
from service.snapshots.store import SnapshotStore
from service.snapshots.writer import SnapshotWriter

_log = structlog.get_logger()


class AnomalyRules:
    """Puts anomaly rules in force.

    Rows hold state that depends on the rules. A restart replays from the snapshot that is written here, with its rules,
    so it does not need the position of the change. If the snapshot cannot be written, the rules stay unchanged, and the
    next call tries again.

    Args:
        config: has the configured rules; replaced by `configure`.
        store, writer: of the snapshots.
    """

    def __init__(self, config: Config, store: SnapshotStore, writer: SnapshotWriter) -> None:
        self._wanted, self._store, self._writer = config.library_anomaly(), store, writer

    def configure(self, config: Config) -> None:
        """Replaces the configured rules."""
        self._wanted = config.library_anomaly()

    def put_in_force(self, partitions: Collection[Partition]) -> None:
        """Changes the rules of all partitions where they differ from the configured ones."""
        for partition in partitions:
            before = partition.forecaster.anomaly
            if before == self._wanted:
                continue
            self._writer.wait()
            partition.forecaster.judge_by(self._wanted)
            snapshots = snapshots_of([partition], self._store)  # none for a partition without forecasts
            if snapshots and not self._writer.write_now(snapshots):
                partition.forecaster.judge_by(before)
                continue
            _log.info("anomaly rules changed", partition=partition.name, position=partition.position)
