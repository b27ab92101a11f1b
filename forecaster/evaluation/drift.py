"""Drift: whether one-step forecasts have become worse than they used to be, by a cumulative sum of their errors.

    x = |error| / (usual * share), at most 5             usual: exponential mean over about 300 of |error| / share
    g = max(0, g + (x - 1 - 0.25) / n)                   n series with a say

g is the one-sided Page-Hinkley statistic (Page 1954, Continuous inspection schemes; Hinkley 1971), in steps of all
series: errors twice as large as usual, everywhere, add 0.75 per step. Single outliers decay, a lasting change does not.

The share is what follows the season of the errors. A period is the longest season of the model, or the local day
where that lasts a day or more or there is none; it is divided into 24 phases. Per series and phase there are three sums
of earlier visits, of which each visit keeps 29/30: number n and size e of the errors, and what was usual meanwhile u.
With r = e / u of the phase and R that of all phases,

    share = (8 R + n r) / ((8 + n) R),   at least 1/20

It is 1 in the first period, behind which u is set to the mean error of the period, and it does not move during a visit.
Where errors double in all phases e and u do, and shares stay as they are: that is found by the usual error alone.
An alarm says that errors are larger for good; so that one change brings one alarm, the usual error counts as the mean
of 8 errors behind it.

One error counts as at most ten usual ones in the sums and the usual error, so a wrong value moves neither by more than
a bounded step, once a series has a say. A pure function of the events: a replay finds the same.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts
from forecaster.evaluation.pending import Prequential, part_of
from forecaster.features.calendar import DAY_MS, calendar_table, local_time
from forecaster.kernels.jit import inlined, kernel
from forecaster.state.checkpoint import checked

SLACK: Final = 0.25
LARGEST: Final = 5.0
USUAL_RATE: Final = 1.0 / 300.0
# Errors of a series before it has a say: its usual error is not known, and the model has hardly seen it.
FIRST: Final = 50
# Errors that the usual error counts as known by behind an alarm.
AGAIN: Final = 8
# One error is at most so many usual ones in what is learnt of the usual error.
LEARNT: Final = 10.0
PHASES: Final = 24
# Visits of a phase that are remembered, errors of it by which its share is half its own, and the least share.
VISITS: Final = 30.0
HALF_OWN: Final = 8.0
LEAST: Final = 0.05
# Of the visits: before the first one.
_NEVER: Final = -(1 << 62)
_COUNT, _SIZE, _USUAL = 0, 1, 2


@inlined
def _share(phases: Any, s: int, phase: int) -> float:
    """Errors of a phase over those of all, as far as they are known; see above."""
    size = usual = 0.0
    for p in range(PHASES):
        size += phases[s, p, _SIZE]
        usual += phases[s, p, _USUAL]
    count, own = phases[s, phase, _COUNT], phases[s, phase, _USUAL]
    if not (size > 0.0 and usual > 0.0 and own > 0.0):
        return 1.0
    ratio = phases[s, phase, _SIZE] / own / (size / usual)
    return max((HALF_OWN + count * ratio) / (HALF_OWN + count), LEAST)  # type: ignore[no-any-return]


@inlined
def _enter(phases: Any, seasonal: Any, usual: Any, s: int, before: int, now: int) -> None:
    """Adds a visit to what is known of its phase, before the next one begins; behind the first period shares begin.

    Args:
        phases, seasonal, usual: as in `DriftSeries`, overwritten at `s`.
        before, now: visits.
    """
    for c in range(3):
        phases[s, before % PHASES, c] = phases[s, before % PHASES, c] * (1.0 - 1.0 / VISITS) + phases[s, PHASES, c]
        phases[s, PHASES, c] = 0.0
    if seasonal[s, 0] == 1 and now >= seasonal[s, 1]:
        seasonal[s, 0] = 2
        count = size = 0.0
        for p in range(PHASES):
            count += phases[s, p, _COUNT]
            size += phases[s, p, _SIZE]
        if count > 0.0:
            usual[s] = size / count
            for p in range(PHASES):
                phases[s, p, _USUAL] = phases[s, p, _COUNT] * usual[s]


class DriftSeries(NamedTuple):
    """What the test holds of every series of its sample, all overwritten.

    Attributes:
        usual, last: (slots,) float64 mean error, and last one above 0.
        count: (slots, 2) int64 errors, and how many the mean is of.
        visit: (slots,) int64 number of the phase that the series is in, counted from 1970 on.
        seasonal: (slots, 2) int64 0 before a series has a say, 1 in its first period, 2 behind it, and the visit that
            ends the first period.
        phases: (slots, PHASES + 1, 3) float64 errors, their sum, and that of the usual error, in earlier visits of
            every phase; the last of them are those of the present visit.
    """

    usual: Any
    last: Any
    count: Any
    visit: Any
    seasonal: Any
    phases: Any


@kernel
def _observe_errors(
    slot: Any, error: Any, ts: Any, interval: Any, season: int, clock: Any, series: Any, sums: Any
) -> None:
    """Moves the statistic on, in the order of the events.

    Args:
        slot, error, ts, interval: (n,); nan errors are left out.
        season: steps of the period, 0 for a day. clock: local time, see calendar.py.
        series: `DriftSeries` as a plain tuple, see kernels/operands.py.
        sums: (2,) the statistic and the number of series that have a say, overwritten.
    """
    state = DriftSeries(*series)
    usual, last, count = state.usual, state.last, state.count
    visit, seasonal, phases = state.visit, state.seasonal, state.phases
    for i in range(len(slot)):
        e, s = error[i], slot[i]
        if not np.isfinite(e):
            continue
        period = season * interval[i]
        if period <= 0 or (period >= DAY_MS and 4 * interval[i] <= DAY_MS):
            period = DAY_MS
        now = local_time(clock, ts[i]) * PHASES // period
        if now != visit[s]:
            _enter(phases, seasonal, usual, s, visit[s], now)
            visit[s] = now
        if count[s, 0] == FIRST:
            sums[1] += 1.0
            seasonal[s, 0], seasonal[s, 1] = 1, now + PHASES
        share = 1.0
        if count[s, 0] >= FIRST:
            if seasonal[s, 0] == 2:
                share = _share(phases, s, now % PHASES)
            reference = usual[s] * share
            x = LARGEST if e > 0.0 else 1.0
            if reference > 0.0:
                x = min(e / reference, LARGEST)
            sums[0] = max(0.0, sums[0] + (x - 1.0 - SLACK) / sums[1])
            before = last[s]
            if e > 0.0:
                last[s] = e
            # where there was no error before, one alone says nothing of what is usual
            e = min(e, LEARNT * reference) if reference > 0.0 else min(e, before)
            phases[s, PHASES, _COUNT] += 1.0
            phases[s, PHASES, _SIZE] += e
            phases[s, PHASES, _USUAL] += usual[s]
        count[s, 0] += 1
        count[s, 1] += 1
        usual[s] += (e / share - usual[s]) * max(1.0 / count[s, 1], USUAL_RATE)


class DriftTest:
    """The test over the stream of one forecaster.

    Args:
        limit: series in the sample: the first so many.
        seasons: of the forecaster's model, in steps.
        timezone: whose days are meant where the period is a day.
    """

    def __init__(self, limit: int, seasons: tuple[int, ...] = (), timezone: str = "UTC") -> None:
        self._scorer = Prequential(limit, (1,), (0.5,), 1)
        self._season, self._clock = max(seasons, default=0), calendar_table(timezone, "")
        self._sums = np.zeros(2)
        self._make(limit)

    def _make(self, limit: int) -> None:
        self._usual, self._last, self._count = np.zeros(limit), np.zeros(limit), np.zeros((limit, 2), np.int64)
        self._visit, self._seasonal = np.full(limit, _NEVER), np.zeros((limit, 2), np.int64)
        self._phases = np.zeros((limit, PHASES + 1, 3))

    @property
    def statistic(self) -> float:
        """g, in steps of all series."""
        return float(self._sums[0])

    def observe(self, batch: Batch, forecasts: Forecasts, levels: tuple[float, ...]) -> None:
        """Takes in events and what was forecast from them; how they are split over calls does not matter."""
        slot = self._scorer.slots(batch.series)
        mine = np.flatnonzero(slot >= 0)
        if not len(mine):
            return
        median = int(np.argmin(np.abs(np.array(levels) - 0.5)))
        point = forecasts.quantiles[mine, :1, median : median + 1][None]
        value = np.asarray(batch.value, np.float64)[mine]
        notes = forecasts.notes[mine] if len(forecasts.notes) else None
        loss = self._scorer.score(slot[mine], forecasts.status[mine], forecasts.steps[mine], value, point, notes)
        ts, interval = forecasts.origin_ms[mine], forecasts.interval_ms[mine]
        series = self._usual, self._last, self._count, self._visit, self._seasonal, self._phases
        _observe_errors(slot[mine], 2.0 * loss[:, 0], ts, interval, self._season, self._clock, series, self._sums)

    def reset(self) -> None:
        """Starts the sum anew, after an alarm, from errors as they are now."""
        self._sums[0] = 0.0
        np.minimum(self._count[:, 1], AGAIN, out=self._count[:, 1])

    def state(self) -> dict[str, NDArray[Any]]:
        """All state as arrays (copies)."""
        used = len(self._scorer.index)
        arrays = {f"scorer.{name}": array for name, array in self._scorer.state().items()}
        mine = {name: array[:used].copy() for name, array in self._arrays().items()}
        return arrays | mine | {"sums": self._sums.copy()}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What has a row per series."""
        return {
            "usual": self._usual,
            "last": self._last,
            "count": self._count,
            "visit": self._visit,
            "seasonal": self._seasonal,
            "phases": self._phases,
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over what `state` gave; a sample that was larger than the limit now stays as large.

        Raises:
            CheckpointError: it is no such state.
        """
        with checked("the state of the drift test"):
            scorer = Prequential(self._scorer.limit, (1,), (0.5,), 1)
            scorer.restore({name[7:]: array for name, array in arrays.items() if name.startswith("scorer.")})
            used = len(scorer.index)
            parts = {
                name: part_of(arrays, name, (used, *mine.shape[1:]), mine.dtype)
                for name, mine in self._arrays().items()
            }
            sums = part_of(arrays, "sums", (2,), np.float64)
            _check(parts, sums)
            self._make(max(used, scorer.limit))
            for name, mine in self._arrays().items():
                mine[:used] = parts[name]
            self._scorer, self._sums = scorer, sums


def _check(parts: dict[str, NDArray[Any]], sums: NDArray[np.float64]) -> None:
    """Whether a test can have come to these numbers.

    Raises:
        ValueError: no test can.
    """
    for name, array in {**parts, "sums": sums}.items():
        if name not in {"visit", "seasonal"} and not (np.isfinite(array).all() and (array >= 0).all()):
            msg = f"{name}: got numbers below 0 or not finite, expected sums of sizes of errors"
            raise ValueError(msg)
    if not np.isin(parts["seasonal"][:, 0], (0, 1, 2)).all() or (parts["count"][:, 1] > parts["count"][:, 0]).any():
        msg = "seasonal, count: got a kind of period, or a mean of more errors than there were, that there is not"
        raise ValueError(msg)
    expected = int((parts["count"][:, 0] > FIRST).sum())
    if sums[1] != expected:
        msg = f"sums: got {sums[1]:g} series with a say, expected {expected} by their counts"
        raise ValueError(msg)
