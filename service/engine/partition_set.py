"""The partitions of this process: those served, those being restored, and those that have left."""

from __future__ import annotations

import functools
import gc
from collections.abc import Collection, Sequence
from typing import Final

import structlog

from service.config.sections import Config
from service.engine.left_partitions import LeftPartitions
from service.engine.restore import Restorer
from service.engine.restore_queue import RestoreQueue
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
from service.partitions.schedule import Schedule
from service.ports import Clock, Transport
from service.publication import Listener, ServedAlerts
from service.snapshots.store import SnapshotStore

_log = structlog.get_logger()
_SHOWN: Final = 20  # names in a log line


class PartitionSet:
    """The partitions of one start of the engine. Used in the loop's thread only.

    Args:
        transport: started; has the partitions of this process.
        restorer: restores partitions that are new here or whose position has changed.
        store: of the snapshots; releases those of partitions that have left.
        metrics, listeners: informed about the served partitions.
        clock: for the grace period of left partitions.

    Attributes:
        served: the partitions that are read, by name.
        queue: the partitions that are being restored; the others are served meanwhile.
    """

    def __init__(
        self,
        transport: Transport,
        restorer: Restorer,
        store: SnapshotStore,
        metrics: Metrics,
        listeners: Sequence[Listener],
        clock: Clock,
    ) -> None:
        self._transport, self._restorer, self._store = transport, restorer, store
        self._metrics, self._listeners = metrics, listeners
        self._left = LeftPartitions(clock)
        self._generation = -1
        self._assigned: Collection[str] = ()
        self.served: dict[str, Partition] = {}
        self.queue = RestoreQueue()

    @property
    def changed(self) -> bool:
        """Whether the assignment of the transport has changed since the last `take_over`."""
        return self._transport.generation != self._generation

    def take_over(self, config: Config) -> None:
        """Serves the present partitions of the transport.

        A partition that was served here before is used unchanged if its position has not changed. All others are
        restored in batches between the polls; they are not read until they are complete, while the others are.
        """
        transport, before = self._transport, self.served
        self._generation, self.served = transport.generation, {}
        returned = list[Partition]()
        committed = {name: transport.committed(name) for name in sorted(transport.partitions())}
        self._assigned = committed
        self.queue.keep(committed)
        for name, position in committed.items():
            was_here = name in before
            partition = before.pop(name, None) or self._left.take(name)
            marks = functools.partial(transport.marks, name)
            if partition is not None and partition.stands_at(position, transport.run(name), marks):
                self.served[name] = partition
                if not was_here:
                    self._metrics.partition_restored(name)
                    returned.append(partition)
            elif name not in self.queue.names:
                self.queue.begin(name, position, self._restorer.restore(name, self._schedules_of(name, config)))
        self._left.put(before.values())
        for name in before:
            self._metrics.partition_left(name)
            self._store.release(name)
        self._announce(*returned)
        self.schedule(config, self.served.values())

    def restore_next(self) -> Partition | None:
        """Replays one batch of the next partition in turn.

        Returns:
            The partition, if it is restored and served from now on.
        """
        partition = self.queue.step()
        if partition is None:
            return None
        self.served[partition.name] = partition
        self._metrics.partition_restored(partition.name)
        for group in partition.groups:
            if group.quality is not None:
                group.quality.take()  # counted before the restart
        events = sum(group.progress.events for group in partition.groups)
        _log.info("restored", partition=partition.name, position=partition.position, events=events)
        self._announce(partition)
        if not self.queue:
            self._restorer.release()
            gc.collect()  # clients and rows of a restore are cycles, and the collector runs seldom
        return partition

    def _announce(self, *new: Partition) -> None:
        """Informs the listeners about the partitions, and about the alerts that last in new ones."""
        self._transport.pause(self.queue.names)
        states = {
            name: {group.group: group.forecaster for group in partition.groups}
            for name, partition in self.served.items()
        }
        for listener in self._listeners:
            listener.on_partitions(self._assigned, states)
            for partition in new:
                for group in partition.groups:
                    newest, lasting = group.progress.newest_ms or 0, group.alerts.lasting
                    listener.on_served(ServedAlerts(partition.name, partition.run, group.group, newest, lasting,
                                                    of_history=partition.in_history))  # fmt: skip

    def schedule(self, config: Config, partitions: Collection[Partition]) -> None:
        """Puts the settings for training triggers in force."""
        for partition in partitions:
            for group in partition.groups:
                own = config.of_group(group.group)
                group.rules, group.schedule = own.retrain, self._schedule_of(group.name, own)

    def _schedules_of(self, name: str, config: Config) -> dict[str, Schedule]:
        """Returns the schedules of all groups of series of a partition."""
        return {group: self._schedule_of(name, config.of_group(group)) for group in config.group_names}

    def _schedule_of(self, name: str, config: Config) -> Schedule:
        """Returns the schedule of a partition; trainings of the partitions of all processes are staggered."""
        everywhere = sorted(self._transport.all_partitions())
        return Schedule.of(config.retrain, config.state.history_events, everywhere.index(name), len(everywhere))

    def drop_left(self) -> None:
        """Releases the memory of left partitions whose grace period has ended."""
        if gone := self._left.drop():
            gc.collect()
            _log.info("partitions dropped", count=len(gone), names=sorted(gone)[:_SHOWN])

    def close(self) -> None:
        """Ends all restores."""
        self.queue.close()
