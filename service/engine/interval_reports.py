"""What events say of the times of their series: counted, and logged once per series and change.

Nothing of it is state: a replay does not report again what was published before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog

from forecaster import Forecasts, Note

if TYPE_CHECKING:
    from service.monitoring.metrics import Metrics

_log = structlog.get_logger()


def report_times(metrics: Metrics, partition: str, series: Sequence[str], forecasts: Forecasts) -> None:
    """Reports changes of intervals, intervals that are not those of the data, wrong times, and events of one step.

    Args:
        metrics: where they are counted.
        partition, series: where the events came from, and the series of each.
        forecasts: of the same events.
    """
    notes = forecasts.notes
    if not notes.any():
        return
    metrics.same_step_events.inc(int(np.count_nonzero(notes & Note.SAME_STEP)))
    for at in np.flatnonzero(notes & ~np.uint8(Note.SAME_STEP)).tolist():
        note, other, interval = int(notes[at]), int(forecasts.noted_ms[at]), int(forecasts.interval_ms[at])
        where = {"partition": partition, "series": series[at], "origin": _time(int(forecasts.origin_ms[at]))}
        if note & Note.NEW_INTERVAL:
            metrics.interval_changes.inc()
            _log.info("interval changed", interval_ms=interval, before_ms=other, **where)
        if note & Note.CONTRADICTED:
            metrics.interval_contradictions.inc()
            _log.warning("events keep another interval than is configured", configured_ms=interval, got_ms=other,
                         expected="model.interval as the events are, with a new state.data_dir", **where)  # fmt: skip
        if note & Note.REOPENED:
            metrics.series_reopened.inc()
            _log.warning("series goes on behind a time from the future", wrong=_time(other), **where)


def _time(ms: int) -> str:
    """As forecasts have it."""
    return f"{np.datetime64(ms, 'ms')}Z"
