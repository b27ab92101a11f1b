"""Changes the anomaly rules (`[anomaly]`) between two batches, with a snapshot before the next commit."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from service.config.sections import Config
from service.partitions.partition import Partition
from service.snapshots.partition_state import snapshots_of
from service.snapshots.writer import SnapshotWriter

_log = structlog.get_logger()


class AnomalyRules:
    """Puts anomaly rules in force.

    Rows hold state that depends on the rules. A restart replays from the snapshot that is written here, with its rules,
    so it does not need the position of the change. If the snapshot cannot be written, the rules stay unchanged, and the
    next call tries again.

    Args:
        config: of a group, has its configured rules; replaced by `configure`.
        writer: of the snapshots.
        group: the group.
    """

    def __init__(self, config: Config, writer: SnapshotWriter, group: str = "") -> None:
        self._wanted, self._writer, self._group = config.anomaly, writer, group

    def configure(self, config: Config) -> None:
        """Replaces the configured rules."""
        self._wanted = config.anomaly

    def put_in_force(self, partitions: Collection[Partition]) -> None:
        """Changes the rules of the group in all partitions where they differ from the configured ones."""
        for partition in partitions:
            group = partition.of_group(self._group)
            before = group.flags
            if before.settings == self._wanted:
                continue
            self._writer.wait()
            group.flags = before.with_settings(self._wanted)
            group.flags.judge(group.forecaster)
            snapshots = snapshots_of([partition], self._writer.store)  # none for a partition without forecasts
            if snapshots and not self._writer.write_now(snapshots):
                group.flags = before
                before.judge(group.forecaster)
                continue
            _log.info("anomaly rules changed", partition=partition.name, position=partition.position)
