"""Drift test: a cumulative sum that detects when errors of 1-step-ahead forecasts have become larger than usual.

    x = |error| / (usual * share), at most 5             usual: exponential mean over about 300 of |error| / share
    g = max(0, g + (x - 1 - 0.25) / n)                   n = number of tested series

g is the one-sided Page-Hinkley statistic (Page 1954, Continuous inspection schemes; Hinkley 1971), in steps of all
series: errors twice as large as usual, everywhere, add 0.75 per step. Single outliers decay, a lasting change does not.

A series is tested after its first 50 errors. The share models the seasonality of the errors. A period is the longest
season of the model, or the local day where that season lasts a day or more or there is none; it has 24 phases. Per
series and phase there are three sums over earlier visits, multiplied by 29/30 at each visit: the number n and the sum e
of the errors, and the sum u of the usual errors. With r = e / u of the phase and R the same ratio of all phases,

    share = (8 R + n r) / ((8 + n) R),   at least 1/20

It is 1 in the first period, after which the usual error is set to the mean error of the period, and it is constant
during a visit. Where errors double in all phases, e and u double and shares do not change: the usual error detects it.
An alarm means that errors have become larger permanently. After it the usual error counts as a mean of 8 errors, so
that one change raises one alarm.

One error counts as at most ten usual ones in the sums and the usual error, so that a wrong value changes a tested
series' sums and usual error by a bounded step. The test is a pure function of the events: a replay gives equal alarms.
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
# Errors of a series before it is tested: its usual error is not known, and its forecasts are still unsettled.
FIRST: Final = 50
# Number of errors that the usual error counts as a mean of after an alarm.
COUNT_AFTER_ALARM: Final = 8
# Limit of one error, in usual errors, in updates of the usual error.
MAX_LEARNT_ERROR: Final = 10.0
PHASES: Final = 24
# Memory of a phase in visits, number of its errors at which its own ratio weighs a half, and the least share.
MEMORY: Final = 30.0
HALF_WEIGHT: Final = 8.0
LEAST_SHARE: Final = 0.05
# Visit number before the first visit.
_NEVER: Final = -(1 << 62)
_COUNT, _SIZE, _USUAL = 0, 1, 2


@inlined
def _share(phases: Any, s: int, phase: int) -> float:
    """Returns the share of a phase: its errors relative to those of all phases, shrunk to 1; see above."""
    size = usual = 0.0
    for p in range(PHASES):
        size += phases[s, p, _SIZE]
        usual += phases[s, p, _USUAL]
    count, own = phases[s, phase, _COUNT], phases[s, phase, _USUAL]
    if not (size > 0.0 and usual > 0.0 and own > 0.0):
        return 1.0
    ratio = phases[s, phase, _SIZE] / own / (size / usual)
    return max((HALF_WEIGHT + count * ratio) / (HALF_WEIGHT + count), LEAST_SHARE)  # type: ignore[no-any-return]


@inlined
def _finish_visit(phases: Any, seasonal: Any, usual: Any, s: int, before: int, now: int) -> None:
    """Adds a finished visit to the sums of its phase; after the first period, starts the shares.

    Args:
        phases, seasonal, usual: as in `DriftSeries`, overwritten at `s`.
        before, now: numbers of the finished visit and of the one that begins.
    """
    for c in range(3):
        phases[s, before % PHASES, c] = phases[s, before % PHASES, c] * (1.0 - 1.0 / MEMORY) + phases[s, PHASES, c]
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
    """State of the test for every series of its sample, all overwritten.

    Attributes:
        usual, last: (slots,) float64 mean error, and last error above 0.
        count: (slots, 2) int64 number of errors, and number that the mean counts as.
        visit: (slots,) int64 number of the present visit, in phases since 1970.
        seasonal: (slots, 2) int64 0 before a series is tested, 1 in its first period, 2 after it; and the visit that
            ends the first period.
        phases: (slots, PHASES + 1, 3) float64 number of errors, their sum, and the sum of the usual errors, in earlier
            visits of every phase; the last row is that of the present visit.
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
    """Updates the statistic, in the order of the events.

    Args:
        slot, error, ts, interval: (n,); nan errors are left out.
        season: steps of the period, 0 for a day. clock: local time, see calendar.py.
        series: `DriftSeries` as a plain tuple, see kernels/operands.py.
        sums: (2,) the statistic and the number of tested series, overwritten.
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
            _finish_visit(phases, seasonal, usual, s, visit[s], now)
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
            # if all errors were 0 before, a single one is no estimate of the usual error
            e = min(e, MAX_LEARNT_ERROR * reference) if reference > 0.0 else min(e, before)
            phases[s, PHASES, _COUNT] += 1.0
            phases[s, PHASES, _SIZE] += e
            phases[s, PHASES, _USUAL] += usual[s]
        count[s, 0] += 1
        count[s, 1] += 1
        usual[s] += (e / share - usual[s]) * max(1.0 / count[s, 1], USUAL_RATE)


class DriftTest:
    """The drift test over the stream of one forecaster.

    Args:
        limit: series in the sample, the first ones of the stream.
        seasons: of the forecaster's model, in steps.
        timezone: of the local day, where the period is a day.
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
        """Observes events and their forecasts; the result does not depend on how they are split over calls.

        Args:
            batch: n events.
            forecasts: of these events, as `Forecaster.observe` returned them.
            levels: of their quantiles.
        """
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
        """Resets the sum after an alarm and lets the usual error adapt to the present errors."""
        self._sums[0] = 0.0
        np.minimum(self._count[:, 1], COUNT_AFTER_ALARM, out=self._count[:, 1])

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns all state as arrays by name (copies); shapes and dtypes are private to `restore`."""
        used = len(self._scorer.index)
        arrays = {f"scorer.{name}": array for name, array in self._scorer.state().items()}
        mine = {name: array[:used].copy() for name, array in self._arrays().items()}
        return arrays | mine | {"sums": self._sums.copy()}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays with a row per series."""
        return {
            "usual": self._usual,
            "last": self._last,
            "count": self._count,
            "visit": self._visit,
            "seasonal": self._seasonal,
            "phases": self._phases,
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restores what `state` returned; a sample larger than the present limit keeps its size.

        Args:
            arrays: by name, in the shapes of `state`; copied.

        Raises:
            CheckpointError: the arrays are not such a state.
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
    """Raises an error where no test can have such a state.

    Raises:
        ValueError: the numbers are not a possible state.
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
