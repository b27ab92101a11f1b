"""Counts every publication: events by status, rejects by reason, forecasts, anomalies, silences, stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from forecaster import Forecasts, Status
from service.messages.encode import published_from, revisions
from service.monitoring.metrics import Metrics
from service.publication import Listener, Publication


class PublicationCounts(Listener):
    """Updates the counters of publications.

    Args:
        metrics: the metrics with the counters.
        from_ms: `output.publish_from` by group of series; None: all forecasts are published, but none of a history.
    """

    def __init__(self, metrics: Metrics, from_ms: Mapping[str, int | None]) -> None:
        self._metrics, self._from_ms = metrics, from_ms

    def on_publication(self, publication: Publication) -> None:
        """Counts one unit, at the same cost for one event and for ten thousand."""
        unit, forecasts, own = publication.unit, publication.forecasts, self._metrics.of_group(publication.group)
        rejects = Counter(reject.reason for reject in unit.rejects)
        if tombstones := len(publication.decoded.tombstones):
            rejects["tombstone"] += tombstones
        if filtered := publication.decoded.filtered:
            self._metrics.filtered.inc(sum(count for _, count in filtered))
        from_ms = self._from_ms[publication.group]
        published = published_from(forecasts, from_ms)
        if from_ms is None and unit.of_history:
            published[:] = False
        silences = sum(bool(published[one.event]) for one in forecasts.silences)
        statuses = np.bincount(forecasts.status, minlength=len(Status)).tolist()
        if (windows := publication.decoded.windows) is not None:
            self._metrics.raw_events((windows.taken - windows.repaired, windows.repaired, windows.late))
            for steps, count in sorted(windows.late_steps.items()):
                self._metrics.late_steps.observe(steps, count)
            self._metrics.windows_skipped.inc(windows.skipped)
            self._metrics.windows_dropped.inc(windows.dropped)
            self._metrics.time_marks.inc(unit.mark is not None)
        statuses[Status.DUPLICATE] += len(publication.decoded.duplicates)
        own.batch_published(statuses, rejects, max(0, len(unit.forecasts) - silences), publication.seconds)
        if windows is None and (statuses[Status.LATE] or statuses[Status.REPAIRED]):
            self._count_late(forecasts)
        if unit.of_history:
            self._metrics.bootstrap_events.inc(unit.outcomes.events)
        # Of what is not published there is nothing to alert on.
        self._metrics.revisions.inc(sum(bool(published[at]) for at in revisions(forecasts)))
        own.silences.inc(silences)
        own.anomalies.inc(int(forecasts.flagged[published].sum()))
        self._metrics.position.labels(unit.partition).set(unit.next_position)

    def _count_late(self, forecasts: Forecasts) -> None:
        """Counts how late events are, as far as the interval of their series is known."""
        late = np.isin(forecasts.status, (Status.LATE, Status.REPAIRED)) & (forecasts.interval_ms > 0)
        steps = forecasts.noted_ms[late] / forecasts.interval_ms[late]
        for value, times in zip(*np.unique(steps, return_counts=True), strict=True):
            self._metrics.late_steps.observe(float(value), int(times))
