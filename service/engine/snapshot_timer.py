"""Takes snapshots of the running engine: one per partition and period, written in the background."""

from __future__ import annotations

from collections.abc import Collection

from service.config.sections import Config
from service.partitions.partition import Partition
from service.ports import Clock, Transport
from service.snapshots.partition_state import snapshots_of
from service.snapshots.store import SnapshotStore
from service.snapshots.writer import SnapshotWriter


class SnapshotTimer:
    """Schedules snapshots. Used in the loop's thread only.

    Args:
        config: has the time between two snapshots; replaced by `configure`.
        store: of the snapshots.
        writer: writes the snapshots.
        clock: measures the period.
    """

    def __init__(self, config: Config, store: SnapshotStore, writer: SnapshotWriter, clock: Clock) -> None:
        self._every, self._store, self._writer, self._clock = config.state.snapshot_every, store, writer, clock

    def configure(self, config: Config) -> None:
        """Changes the time between two snapshots."""
        self._every = config.state.snapshot_every

    def restart(self, partition: Partition, transport: Transport) -> None:
        """Makes the next snapshot of the partition due one period from now; releases what none needs."""
        self.release(partition, transport)
        partition.snapshot_due = self._clock.monotonic() + self._every

    def take_if_due(self, partition: Partition, transport: Transport) -> None:
        """Takes a snapshot at exactly the committed position, if due.

        It stays due while the previous one is written.
        """
        if self._clock.monotonic() < partition.snapshot_due or self._writer.busy:
            return
        self.restart(partition, transport)
        self._writer.submit(snapshots_of([partition], self._store))

    def take_last(self, partitions: Collection[Partition], transport: Transport) -> bool:
        """Writes a snapshot of every partition and waits for it; returns whether all were written."""
        self._writer.wait()
        complete = self._writer.write_now(snapshots_of(partitions, self._store))
        for partition in partitions:  # otherwise many short runs would never release records
            self.release(partition, transport)
        return complete

    def release(self, partition: Partition, transport: Transport) -> None:
        """Lets the transport delete the records and time marks that no snapshot needs."""
        needed = self._store.oldest_needed(partition.name)
        if needed is not None:
            transport.release(partition.name, needed)
