"""Counts every publication: events by status, rejects by reason, forecasts, anomalies, silences, stages."""

from __future__ import annotations

from collections import Counter

import numpy as np

from forecaster import Status
from service.monitoring.metrics import Metrics
from service.publication import Listener, Publication


class PublicationCounts(Listener):
    """Updates the counters of publications.

    Args:
        metrics: the metrics with the counters.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_publication(self, publication: Publication) -> None:
        """Counts one unit, at the same cost for one event and for ten thousand."""
        unit, forecasts = publication.unit, publication.forecasts
        rejects = Counter(reject.reason for reject in unit.rejects)
        if tombstones := len(publication.decoded.tombstones):
            rejects["tombstone"] += tombstones
        if filtered := publication.decoded.filtered:
            self._metrics.filtered.inc(sum(count for _, count in filtered))
        silences = len(forecasts.silences)
        statuses = np.bincount(forecasts.status, minlength=len(Status)).tolist()
        if (windows := publication.decoded.windows) is not None:
            statuses[Status.LATE] += windows.late
            self._metrics.window_events.inc(windows.taken)
            self._metrics.windows_skipped.inc(windows.skipped)
            self._metrics.windows_dropped.inc(windows.dropped)
            self._metrics.time_marks.inc(windows.mark_ms is not None)
        self._metrics.batch_published(statuses, rejects, len(unit.forecasts) - silences, publication.seconds)
        self._metrics.silences.inc(silences)
        self._metrics.anomalies.inc(int(forecasts.flagged.sum()))
        self._metrics.position.labels(unit.partition).set(unit.next_position)
