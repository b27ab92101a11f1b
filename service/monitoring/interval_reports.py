"""Counts and logs notes of the forecasts on intervals and event times, once per series and change.

This is not part of the state: a replay does not report notes again that were published before it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import structlog

from forecaster import Note
from service.monitoring.metrics import Metrics
from service.publication import Listener, Publication

_log = structlog.get_logger()

_REPORTED: Final = np.uint8(Note.NEW_INTERVAL | Note.CONTRADICTED | Note.REOPENED)


class IntervalReports(Listener):
    """Reports changed intervals, intervals that contradict the data, wrong times, and events of one step.

    Args:
        metrics: the metrics to update.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_publication(self, publication: Publication) -> None:
        """Reports the notes of the forecasts of one unit."""
        notes, metrics = publication.forecasts.notes, self._metrics
        if not notes.any():
            return
        metrics.same_step_events.inc(int(np.count_nonzero(notes & Note.SAME_STEP)))
        for at in np.flatnonzero(notes & _REPORTED).tolist():
            self._report(publication, at)

    def _report(self, publication: Publication, at: int) -> None:
        """Reports the notes of one event, by its index."""
        forecasts, metrics = publication.forecasts, self._metrics
        note, other, interval = (int(c[at]) for c in (forecasts.notes, forecasts.noted_ms, forecasts.interval_ms))
        series, origin = publication.decoded.series[at], _time(int(forecasts.origin_ms[at]))
        where = {"partition": publication.partition, "series": series, "origin": origin}
        if note & Note.NEW_INTERVAL:
            metrics.interval_changes.inc()
            _log.info("interval changed", interval_ms=interval, before_ms=other, **where)
        if note & Note.CONTRADICTED:
            metrics.interval_contradictions.inc()
            _log.warning("observed interval differs from the configured one", configured_ms=interval, got_ms=other,
                         expected="model.interval as observed, with a new state.data_dir", **where)  # fmt: skip
        if note & Note.REOPENED:
            metrics.series_reopened.inc()
            _log.warning("series continues before a wrong future event time", wrong=_time(other), **where)


def _time(ms: int) -> str:
    """Formats a time like the published forecasts."""
    return f"{np.datetime64(ms, 'ms')}Z"
