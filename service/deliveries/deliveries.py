"""Passes committed units to producers, and their deliveries to the spools of the targets."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from service.deliveries.delivery import KINDS, CommittedEvents, Delivery, DeliveryProducer, Target
from service.deliveries.segments import Key, Written
from service.deliveries.sender import Sender
from service.deliveries.spool import DeliverySpool
from service.monitoring.metrics import Metrics
from service.ports import Clock, name_of_run
from service.publication import Listener, Publication, ServedAlerts

if TYPE_CHECKING:
    from forecaster import Forecaster

_log = structlog.get_logger()

_STOP_SECONDS: Final = 2.0  # after a stop request
_END_SECONDS: Final = 60.0  # after the end of the input, when nobody may start the daemon again
_JOIN_SECONDS: Final = 2.0  # for requests that wait for their answers
_CHECK_SECONDS: Final = 0.01


class Route(NamedTuple):
    """A producer and the targets of its deliveries."""

    producer: DeliveryProducer
    targets: Sequence[Target]


class Deliveries(Listener):
    """All producers, spools and senders of a daemon. Without routes, nothing is done and no thread started.

    The methods are called in the engine's thread, except `sync`.

    Args:
        folder: of the spools.
        routes: names of targets are unique.
        metrics: the metrics to update.
        clock: for ages.
    """

    def __init__(self, folder: Path, routes: Sequence[Route], metrics: Metrics, clock: Clock) -> None:
        self._folder, self._routes, self._metrics, self._clock = folder, routes, metrics, clock
        self._spools: dict[str, DeliverySpool] = {}
        self._senders: list[Sender] = []
        self._failing: set[str] = set()

    @property
    def is_on(self) -> bool:
        """Whether there is a target."""
        return bool(self._routes)

    def open(self, output: str) -> None:
        """Opens the spools and starts the threads. A further call does nothing.

        Args:
            output: identity of the output.

        Raises:
            OSError: a spool cannot be opened.
        """
        if self._senders:
            return
        targets = [target for route in self._routes for target in route.targets]
        for target in targets:
            spool = DeliverySpool(self._folder / target.name, target.spool_bytes)
            self._spools.setdefault(target.name, spool).open(output)
        self._senders = [Sender(target, self._spools[target.name], self._metrics, self._clock) for target in targets]
        for sender in self._senders:
            sender.start()
        for kind in KINDS:
            own = [sender for sender in self._senders if sender.target.kind == kind]
            if own:
                self._show(kind, own)

    def _show(self, kind: str, senders: Sequence[Sender]) -> None:
        pending, oldest = self._metrics.deliveries_pending.labels(kind), self._metrics.deliveries_oldest.labels(kind)
        pending.set_function(lambda: sum(sender.spool.pending_bytes for sender in senders))
        oldest.set_function(lambda: max(sender.age for sender in senders))

    def on_restore(self, partition: str, since: int) -> None:
        """Called before a partition is replayed or begins.

        Args:
            partition: with its run.
            since: position from which on its events are delivered if this data folder has never had it: that of the
                snapshot, or the committed one without a snapshot.

        Raises:
            OSError: it cannot be noted.
        """
        for spool in self._spools.values():
            spool.begin(partition, since)

    def on_replayed(self, publication: Publication) -> None:
        """Called for every unit that was observed again; spools what they do not hold yet."""
        self._produce(publication, replayed=True)

    def on_publication(self, publication: Publication) -> None:
        """Spools the deliveries of a committed unit."""
        self._produce(publication, replayed=False)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:  # noqa: ARG002 - of the interface; those being restored may have changed elsewhere
        """Passes the partitions on that are served."""
        for route in self._routes:
            route.producer.on_partitions(restored)

    def on_served(self, served: ServedAlerts) -> None:
        """Passes on what lasts in a partition, and wakes the senders."""
        for route in self._routes:
            route.producer.on_served(served)
        for spool in self._spools.values():
            spool.wake()

    def _produce(self, publication: Publication, *, replayed: bool) -> None:
        unit, decoded = publication.unit, publication.decoded
        key = name_of_run(unit.partition, unit.run), publication.group
        mark = None if decoded.windows is None else decoded.windows.mark_ms
        written = Written(unit.next_position) if mark is None else Written(unit.next_position, mark)
        for producer, targets in self._routes:
            starts = {
                target.name: self._start(target.name, key, publication, written) if replayed else 0
                for target in targets
            }
            events = CommittedEvents(publication, min(starts.values()))
            found: dict[str, list[Delivery]] = {target.name: [] for target in targets}
            for one in producer.deliveries(events):
                if one.event >= starts[one.target]:
                    found[one.target].append(one)
            for target in targets:
                if starts[target.name] < len(decoded):
                    self._append(target, key, written, found[target.name])

    def _start(self, name: str, key: Key, publication: Publication, written: Written) -> int:
        """Returns the index of the first event of a replayed unit that the spool of a target does not have."""
        decoded = publication.decoded
        before = self._spools[name].written(key)
        if decoded.windows is not None and decoded.windows.mark_ms is not None:
            return len(decoded) if written <= before else 0
        return bisect.bisect_left(decoded.positions, before.position)

    def _append(self, target: Target, key: Key, written: Written, deliveries: Sequence[Delivery]) -> None:
        dropped, kind, name = 0, self._metrics.deliveries_dropped.labels(target.kind), target.name
        try:
            dropped = self._spools[name].append(key, written, deliveries, self._clock.wall_ms())
        except OSError as error:
            if name not in self._failing:
                _log.warning("deliveries not stored", target=name, count=len(deliveries), error=str(error))
            self._failing.add(name)
            dropped = len(deliveries)
        else:
            self._failing.discard(name)
            if dropped:
                _log.warning("oldest deliveries dropped", target=name, count=dropped, most_bytes=target.spool_bytes)
        kind.inc(dropped)

    def sync(self) -> None:
        """Makes all spooled deliveries durable; called before a snapshot is written, in any thread.

        Raises:
            OSError: they may not be durable; the snapshot must not be written.
        """
        for spool in self._spools.values():
            spool.sync()

    def close(self, stop: threading.Event) -> None:
        """Sends what is left, for two seconds after a stop request, else for up to a minute; then closes the spools.

        All senders have the same time, however many there are. A target that does not answer is not waited for.
        """
        stopped = stop.is_set()
        for sender in self._senders:
            sender.hurry()
        ends = self._clock.monotonic() + (_STOP_SECONDS if stopped else _END_SECONDS)
        while any(sender.is_busy for sender in self._senders) and (stopped or not stop.is_set()):
            if self._clock.monotonic() >= ends:
                break
            self._clock.sleep(_CHECK_SECONDS)
        for sender in self._senders:
            sender.end()
        ends = self._clock.monotonic() + _JOIN_SECONDS
        for sender in self._senders:
            sender.join(max(0.0, ends - self._clock.monotonic()))
        for spool in self._spools.values():
            spool.close()
        self._senders.clear()
        self._spools.clear()
