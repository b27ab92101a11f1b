"""The step of an event, and the interval of a series: learnt from its first gaps, then kept up to date.

A row has these columns for it (counters.py), all int64:

    LAST_TS     time of the newest event
    STEP_TS     time of the first event of the newest step; an event closer to it than half an interval belongs to
                that step, and the last value of a step counts
    INTERVAL    milliseconds between two steps; 0 while not known
    GAPS        while the first `N_GAPS` gaps are being learnt: these gaps, sorted; their lower median is the interval.
                Afterwards the gaps of the run below: the first one, then the newest others
    RUN_TS      time of the newest step of the run
    BEFORE_TS   while the newest time is in doubt: the newest time that is not
    CADENCE     the counters below, packed into one number

**The interval changes** when a run of gaps agrees on another one. A run begins with any gap that is more than a 20th
off the interval; its steps are counted in that gap X, and events within X/8 of a step belong to it (two scrapers of one
series). A step agrees with the run if its gap is within a quarter of X, and closer to X than to the interval. A gap of
two to four X is a missing event and is ignored; anything else ends the run. The lower median of its gaps becomes the
interval when this many steps agree:

    6     X is more than 4.5 intervals
    24    X is within a quarter of the interval
    12    else: missing events or bursts must not be mistaken for another interval

A configured interval is never changed: a disagreement of the gaps is noted once per row.

**A time is in doubt** after the first event of a series and after a gap of more than `JUMP` missing steps, until
`DOUBT` - 1 further steps followed, or `FAR_DOUBT` - 1 after more than `FAR` missing steps. While it is, `REOPENED_BY`
late events, each newer than the previous one and than the last time not in doubt, show that the series continues in the
past: the newest time was wrong, and the last of them is the next step. An event of the year 9999 costs its series two
events, and so does a clock that was wrong for an hour of minutes.

The interval itself may be wrong, so that many events of the series lie within a gap of few steps. Any other gap that is
not the interval's, every gap during a run, and every gap while the first ones are learnt therefore put the time in
doubt until the next step, and one late event more, `REOPENED_BY` + 1, shows that the series continues in the past: more
than regular events within `JUMP` steps can be.

All of it is a function of the events of one series, in order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from forecaster.features.counters import (
    BEFORE_TS,
    CADENCE,
    DOUBT,
    DOUBT_UNIT,
    GAPS,
    INTERVAL,
    LAST_TS,
    LEARNT,
    LEARNT_UNIT,
    N_GAPS,
    OBSERVED,
    RUN_TS,
    STEP_TS,
)
from forecaster.features.step_inputs import LAG_LIMIT, LAST, LEVEL, SCALE, TINY, observe_value
from forecaster.kernels.jit import inlined

STEP, SAME, DUPLICATE, LATE = 0, 1, 2, 3  # kind of an event: of a new step, of the newest one, or ignored
# Notes on an event: batch.Note, as literals.
SAME_STEP, NEW_INTERVAL, CONTRADICTED, REOPENED = 1, 2, 4, 8

JUMP = 3  # missing steps in a row; an event after more of them has a time in doubt
FAR, FAR_DOUBT = 1000, 61  # as DOUBT, after more missing steps
REOPENED_BY = 3
LONG_RUN, MIDDLE_RUN, NEAR_RUN = 6, 12, 24
LONGER = 4.5
MOST_MERGED = 11  # events that belong to one step of a run
MOST_MISSING = 4  # steps from one event of a run to the next

# Counters in CADENCE: steps that agree, events merged into the newest step of the run, late events that agree; the
# others are defined in counters.py.
AGREED_UNIT, AGREED = 1, 31
MERGED_UNIT, MERGED = 32, 15
LATE_UNIT, LATES = 1 << 12, 3
DOUBTS = 63
REPORTED = 1 << 20  # it was noted that the gaps contradict a configured interval
SETTLED = N_GAPS * LEARNT_UNIT  # no run, no doubt


@inlined
def learn_gap(counters: Any, w: int, known: int, gap: int) -> None:
    """Inserts a gap into the sorted first ones; the interval becomes their lower median.

    counters[w:] is the row, `known` the number of earlier gaps.
    """
    first = w + GAPS
    place = first + known
    while place > first and counters[place - 1] > gap:
        counters[place] = counters[place - 1]
        place -= 1
    counters[place] = gap
    counters[w + INTERVAL] = counters[first + known // 2]


@inlined
def median_of_run(counters: Any, w: int, agreed: int) -> int:
    """Returns the lower median of the gaps of a run; their order in the row is lost."""
    first, count = w + GAPS, min(agreed, N_GAPS)
    for end in range(1, count):
        gap, place = counters[first + end], first + end
        while place > first and counters[place - 1] > gap:
            counters[place] = counters[place - 1]
            place -= 1
        counters[place] = gap
    return counters[first + (count - 1) // 2]  # type: ignore[no-any-return]


@inlined
def needed(run: int, interval: int) -> int:
    """Returns how many steps must agree on `run` before it replaces the interval."""
    if abs(run - interval) <= interval // 4:
        return NEAR_RUN
    return LONG_RUN if run / interval > LONGER else MIDDLE_RUN


@inlined
def follow_run(learns: int, counters: Any, w: int, ts: int, agreed: int, merged: int) -> tuple[int, int]:
    """Adds an event to the run of gaps that disagree with the interval, or begins one.

    Args:
        learns: 0: only the first gap is stored.
        counters, w: the row, before its times are updated; overwritten.
        ts: of the event.
        agreed, merged: of the run; agreed is 0 where there is none.

    Returns:
        Both, after the event.
    """
    interval = counters[w + INTERVAL]
    if agreed > 0:
        run, gap = counters[w + GAPS], ts - counters[w + RUN_TS]
        if gap <= run // 8:
            merged += 1
            if merged <= MOST_MERGED:
                return agreed, merged
        elif abs(gap - run) <= min(run // 4, abs(run - interval) // 2):
            if learns == 1:
                counters[w + GAPS + 1 + (agreed - 1) % (N_GAPS - 1)] = gap
            counters[w + RUN_TS] = ts
            return agreed + 1, 0
        else:
            steps = (gap + run // 2) // run
            if 2 <= steps <= MOST_MISSING and abs(gap - steps * run) <= run // 8:
                counters[w + RUN_TS] = ts
                return agreed, 0
    gap = ts - counters[w + LAST_TS]
    if abs(ts - counters[w + STEP_TS] - interval) <= interval // 20 or abs(gap - interval) <= interval // 20:
        return 0, 0
    counters[w + GAPS] = gap
    counters[w + RUN_TS] = ts
    return 1, 0


@inlined
def is_near(counters: Any, w: int, ts: int) -> bool:
    """Returns whether an event may belong to the newest step of the row, which must have one. Changes nothing."""
    return counters[w + LAST_TS] < ts and ts - counters[w + STEP_TS] < (counters[w + INTERVAL] + 1) // 2  # type: ignore[no-any-return]


@inlined
def place_event(learns: int, counters: Any, w: int, ts: int) -> tuple[int, int, float, int, int]:
    """Determines the step of an event of a row that has earlier ones, and updates the row's times.

    Args:
        learns: 0 where the interval is configured.
        counters, w: the row is counters[w:], overwritten.
        ts: event time, epoch milliseconds.

    Returns:
        STEP, SAME, DUPLICATE or LATE; missing steps before it; its time gap in intervals after these; its note; and the
        number of the note: the previous interval, or the one on which the gaps agree, or the time that was wrong.
    """
    interval, cadence = counters[w + INTERVAL], counters[w + CADENCE]
    gap = ts - counters[w + STEP_TS]
    if gap == interval and cadence & ~REPORTED == SETTLED and ts > counters[w + LAST_TS]:  # nearly all events
        counters[w + STEP_TS] = counters[w + LAST_TS] = ts
        return STEP, 0, 1.0, 0, 0
    agreed, merged = cadence // AGREED_UNIT & AGREED, cadence // MERGED_UNIT & MERGED
    learnt, late, doubt = cadence // LEARNT_UNIT & LEARNT, cadence // LATE_UNIT & LATES, cadence // DOUBT_UNIT & DOUBTS
    reported, note, noted, missing = cadence & REPORTED, 0, 0, 0

    if ts <= counters[w + LAST_TS]:
        if ts == counters[w + LAST_TS]:
            return DUPLICATE, 0, 1.0, 0, 0
        if doubt == 0 or ts <= counters[w + BEFORE_TS]:
            return LATE, 0, 1.0, 0, 0
        late += 1
        if late < (REOPENED_BY if doubt > 1 else REOPENED_BY + 1):
            counters[w + BEFORE_TS] = ts
            counters[w + CADENCE] = cadence + LATE_UNIT
            return LATE, 0, 1.0, 0, 0
        note, noted = REOPENED, counters[w + LAST_TS]
        counters[w + LAST_TS] = counters[w + STEP_TS] = counters[w + BEFORE_TS]
        gap = ts - counters[w + STEP_TS]
        agreed = merged = doubt = 0
        if learnt < N_GAPS:  # the known gaps include the one to the wrong time
            learnt = 0

    kind, before, run_before = STEP, counters[w + LAST_TS], agreed
    learning = learns == 1 and learnt < N_GAPS
    if learning:
        gap = ts - before
        learn_gap(counters, w, learnt, gap)
        learnt += 1
        interval = counters[w + INTERVAL]
        ahead = gap // interval - 1
    else:
        agreed, merged = follow_run(learns, counters, w, ts, agreed, merged)
        if agreed > 0 and agreed >= needed(counters[w + GAPS], interval):
            if learns == 1:
                note |= NEW_INTERVAL
                noted = interval
                interval = median_of_run(counters, w, agreed)
                counters[w + INTERVAL] = interval
                gap = ts - before
            elif not reported:
                note |= CONTRADICTED
                noted, reported = counters[w + GAPS], REPORTED
            agreed = merged = 0
        if not note & NEW_INTERVAL:
            if gap < (interval + 1) // 2 and not note & REOPENED:
                kind = SAME
                note |= SAME_STEP
            missing = max(0, (gap + interval // 2) // interval - 1)
        ahead = missing
    late = 0
    if ahead > JUMP:
        if doubt <= 1:
            counters[w + BEFORE_TS] = before
        doubt = max(doubt, FAR_DOUBT if ahead > FAR else DOUBT)
    elif kind == STEP:
        doubt -= 1
        if doubt <= 1:
            doubt = 1 if run_before > 0 or agreed > 0 or missing > 0 or learning else 0
            if doubt == 1:
                counters[w + BEFORE_TS] = before
    if kind == STEP:
        counters[w + STEP_TS] = ts
    counters[w + LAST_TS] = ts
    run = agreed * AGREED_UNIT + merged * MERGED_UNIT
    counters[w + CADENCE] = run + learnt * LEARNT_UNIT + late * LATE_UNIT + doubt * DOUBT_UNIT + reported
    return kind, missing, gap / interval - missing, note, noted


@inlined
def replace_value(
    y: float, Y: Any, place: int, counters: Any, w: int, D: Any, d: int, level_rate: float, scale_rate: float
) -> None:
    """Replaces the value of the newest step: Y[place], the last value, and the level by the bounded change of value.

    The scale is unchanged. A step without a value is observed instead. Args as of `observe_value`; all is overwritten.
    """
    before, observed = np.float64(Y[place]), counters[w + OBSERVED]
    Y[place] = y
    if math.isnan(before):
        observe_value(y, observed, D, d, level_rate, scale_rate)
        counters[w + OBSERVED] = observed + 1
        return
    moved = y - before
    if D[d + SCALE] > TINY:
        most = LAG_LIMIT * D[d + SCALE]
        moved = min(max(moved, -most), most)
    D[d + LEVEL] += moved * max(1.0 / observed, level_rate)
    D[d + LAST] = y
