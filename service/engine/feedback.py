"""Takes feedback on anomalies (`forecaster anomalies`) between two batches, and repeats it in a replay.

    mute      a false alarm: the threshold of the series is stricter by one, its alerts are over
    confirm   a true one: the threshold is less strict by one
    ack       seen: its alerts are over, the threshold stays

An entry has the committed position of its partition, and is written before it is in force. A snapshot has the number
of the last entry that it includes, and a replay from it repeats the following ones at their positions.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import structlog

from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
from service.registry.feedback import STRICTER, Feedback, FeedbackError, FeedbackStore, Request
from service.snapshots.file import folder_of

_log = structlog.get_logger()


def feedback_file(partition: str) -> Path:
    """Returns the name of the file with the feedback of a partition."""
    name = folder_of(Path(), partition).name
    return Path(f"{name}.json")


def put_in_force(partition: Partition, entry: Feedback) -> None:
    """Puts feedback in force from the position of a partition on; its rows include all events before."""
    series = entry.request.series
    for group in partition.groups:
        if not _has(group, series):
            continue
        group.forecaster.adjust_threshold(series, STRICTER[entry.request.verdict])
        if entry.request.verdict != "confirm":
            group.alerts.acknowledge(series, int(group.forecaster.accepted_ms([series])[0]))
    partition.feedback = entry.number


def _has(group: Partition, series: str) -> bool:
    return group.forecaster.known([series])[0] or series in group.forecaster.strictness


class FeedbackIntake:
    """Takes the requests of a data folder. Used in the loop's thread.

    Args:
        store: of the data folder.
        metrics: counts the feedback.
    """

    def __init__(self, store: FeedbackStore, metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics

    def take(self, partitions: Collection[Partition]) -> None:
        """Puts all requests in force that wait; called between two batches, with all partitions that are read."""
        try:
            for path, request in self._store.requests():
                if request is None or not self._put_in_force(request, partitions):
                    error = "the file is no request" if request is None else "no series of this name has a state here"
                    _log.warning("feedback not taken", file=str(path), error=error)
                self._store.drop(path)
        except (FeedbackError, OSError) as error:
            _log.warning("feedback waits", error=str(error))

    def _put_in_force(self, request: Request, partitions: Collection[Partition]) -> bool:
        known = [
            one for one in partitions
            if one.recorded and not one.ahead and any(_has(group, request.series) for group in one.groups)
        ]  # fmt: skip
        for partition in known:
            marked = None if partition.aggregator is None else partition.aggregator.marked
            mark_ms = None if marked is None or marked.position != partition.position else marked.time_ms
            name, position = feedback_file(partition.name), partition.position
            entry = self._store.add(name, request, partition.run, position, mark_ms)
            if entry is None:
                continue
            put_in_force(partition, entry)
            partition.snapshot_due = 0.0  # so that an instance that takes the partition over has it
            self._metrics.feedback.labels(request.verdict).inc()
            _log.info("feedback in force", partition=partition.name, position=position, series=request.series,
                      verdict=request.verdict, reason=request.reason)  # fmt: skip
        return bool(known)
