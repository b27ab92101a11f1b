"""Cuts a series of the history into pieces of one interval each, and finds the events that begin a step.

The rule is that of the live path (interval.py): a history whose interval changed is cut where the live path changed the
interval. So 1-minute steps are not merged into 15-minute ones, nor do hourly steps become runs of missing minutes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.features.counters import (
    BEFORE_TS,
    CADENCE,
    DOUBT,
    DOUBT_UNIT,
    GAPS,
    INTERVAL,
    LAST_TS,
    N_GAPS,
    NEVER,
    RUN_TS,
    STEP_TS,
)
from forecaster.features.interval import AGREED, NEW_INTERVAL, SETTLED, place_event
from forecaster.kernels.jit import kernel

Piece = tuple[NDArray[np.int64], int]


@kernel
def _cut(ts: Any, counters: Any, begins: Any, intervals: Any) -> int:
    """Finds where the interval changes.

    Args:
        ts: (n,) times of a series, rising.
        counters: (columns,) counters of a row, as before the first event; overwritten.
        begins, intervals: (n,) the first event of each piece, and its interval; overwritten.

    Returns:
        The number of pieces.
    """
    pieces, run = 1, 0
    begins[0] = 0
    counters[STEP_TS] = counters[LAST_TS] = ts[0]
    for i in range(1, len(ts)):
        _, _, _, note, before = place_event(1, counters, 0, ts[i])
        if note & NEW_INTERVAL != 0:
            intervals[pieces - 1] = before
            if run > begins[pieces - 1]:
                begins[pieces] = run
                pieces += 1
        elif counters[RUN_TS] == ts[i] and counters[CADENCE] & AGREED == 1:
            run = i
    intervals[pieces - 1] = counters[INTERVAL]
    return pieces


@kernel
def _begin_steps(ts: Any, interval: int, first: Any) -> None:
    """Overwrites first (n,) by whether each event begins a step: half an interval or more after the previous step."""
    step = ts[0]
    first[0] = True
    for i in range(1, len(ts)):
        first[i] = ts[i] - step >= (interval + 1) // 2
        if first[i]:
            step = ts[i]


def begin_steps(ts: NDArray[np.int64], interval: int) -> NDArray[np.bool_]:
    """Returns which events (n,) of a piece begin a step; the others belong to the step before."""
    first = np.ones(len(ts), np.bool_)
    if len(ts) > 1 and (np.diff(ts) < (interval + 1) // 2).any():
        _begin_steps(ts, interval, first)
    return first


def pieces(ts: NDArray[np.int64], interval: int, *, configured: bool) -> list[Piece]:
    """Cuts the events of a series where its interval changed.

    Args:
        ts: (n,) times in the order of the stream. An event that is followed by an older one has a wrong time and is
            left out.
        interval: the interval at the end; 0 where it is not known.
        configured: whether the interval is configured; then nothing is cut.

    Returns:
        Event indices (m,) and interval of each piece; the interval is 0 where it has one event only.
    """
    if not len(ts):
        return []
    later = np.minimum.accumulate(ts[::-1])[::-1]  # the oldest time of each event and those after it
    kept = np.flatnonzero(np.append(ts[:-1] < later[1:], [True]))
    if configured or len(kept) < 2:
        return [(kept, interval)]
    times = np.ascontiguousarray(ts[kept])
    gaps = np.diff(times)
    if interval and (abs(gaps - interval) <= interval // 20).all():  # no run ever begins
        return [(kept, interval)]
    counters = np.zeros(GAPS + N_GAPS, np.int64)
    counters[INTERVAL], counters[BEFORE_TS] = interval, NEVER
    counters[CADENCE] = SETTLED if interval else DOUBT * DOUBT_UNIT
    begins, intervals = np.zeros(len(kept), np.int64), np.zeros(len(kept), np.int64)
    count = _cut(times, counters, begins, intervals)
    found = intervals[:count].tolist()
    if abs(found[-1] - interval) <= interval // 4:
        found[-1] = interval
    bounds = [*begins[:count].tolist(), len(kept)]
    return [(kept[a:b], one) for a, b, one in zip(bounds, bounds[1:], found, strict=False)]
