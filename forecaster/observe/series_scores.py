r"""Recent scores of every series: coverage, error and skill of its 1-step-ahead forecasts, and its flagged events.

A list of 100,000 series ordered by their quality needs a figure of each of them, where `evaluation/quality.py` has sums
over a sample. Every figure is a mean over about the last `WINDOW` scored events of the series,

    figure += (x - figure) * max(1 / n, 1 / WINDOW)        n: scored events of the series so far

    covered      x = 1[lower quantile <= y <= upper quantile], outermost quantiles
    error        x = |y - median|, naive error x = |y - seasonal naive|, of the shortest season (1 without one)
    skill        1 - error / naive error
    flagged      x = 1 where the event is flagged; over all observed events

An event is scored where the step before it has a forecast. Errors count for the skill where there is a seasonal naive
forecast as well, and an event counts as `LARGEST` recent naive errors at most. Differences within the rounding of
float32, in which values and most forecasts are kept, are no errors. Scores are no part of the state: they
start empty, cost one call per batch, and change no forecast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Forecasts, Note, Status
from forecaster.features.counters import LAST_TS, STEPS
from forecaster.features.profile import lag_value
from forecaster.kernels.buffers import reserve
from forecaster.kernels.jit import kernel
from forecaster.kernels.operands import Ring
from forecaster.kernels.postponed import Postponed
from forecaster.state.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW: Final = 200.0
UNKNOWN: Final = int(Status.UNKNOWN)
LARGEST: Final = 64.0
ROUNDING: Final = 2.0**-22  # of float32 numbers, relative: a series that repeats its season exactly has no error
SAME_STEP, MOVED = int(Note.SAME_STEP), int(Note.NEW_INTERVAL | Note.REOPENED | Note.RENUMBERED)
MEDIAN, LOW, HIGH = 0, 1, 2  # columns of `waiting`
SEEN, SCORED, PAIRED = 0, 1, 2  # columns of `counts`
COVERED, ERROR, NAIVE, FLAGGED = 0, 1, 2, 3  # columns of `means`


class RecentScores(NamedTuple):
    """Figures of n series, in the order of `Forecaster.series`.

    Attributes:
        series: their identifiers.
        scored: (n,) int64, events that were scored. last_ms: (n,) int64, time of the newest event.
        covered: (n,) share of the scored events inside the outermost interval, nan without one.
        error, naive_error: (n,) mean absolute errors of the median and of seasonal naive, in units of the values, nan
            without one. skill: (n,) nan where there is none.
        flagged: (n,) share of the events that were flagged.
        nominal: nominal coverage of the outermost interval.
    """

    series: list[str]
    scored: NDArray[np.int64]
    last_ms: NDArray[np.int64]
    covered: NDArray[np.float64]
    error: NDArray[np.float64]
    naive_error: NDArray[np.float64]
    skill: NDArray[np.float64]
    flagged: NDArray[np.float64]
    nominal: float


@kernel
def _score_events(events: Any, picked: Any, state: Any, ring: Any, season: int) -> None:
    """Scores the forecasts whose targets arrive with these events, and keeps the new ones, in the order of the events.

    Args:
        events: rows, status, notes, steps, value and flagged (n,), quantiles (n, H, Q), read-only.
        picked: (3,) indices of the median, the lowest and the highest quantile.
        state: `waiting` (rows, 3), `counts` (rows, 3) and `means` (rows, 4), overwritten.
        ring: the rings of all rows after the last of these events, as (flat array, floats of a row, start in a row,
            length, full, width, bins, held, reach, steps of every row, anchor of every row).
        season: steps of the season of seasonal naive.
    """
    rows, status, notes, steps, value, flagged, quantiles = events
    waiting, counts, means = state
    flat, stride, start, length, full, width, bins, held, reach, now, anchor = ring
    for i in range(len(rows)):
        r, step = rows[i], steps[i]
        if notes[i] & MOVED != 0:  # also by a repaired event, which is not scored itself
            waiting[r, :] = np.nan
        if status[i] > 1 and status[i] != UNKNOWN:
            continue
        again = notes[i] & SAME_STEP != 0 and step == counts[r, SEEN]
        if (step <= counts[r, SEEN] and not again) or counts[r, SEEN] == 0:  # the row belongs to a series that starts
            counts[r, SCORED], counts[r, PAIRED] = 0, 0
            waiting[r, :], means[r, :] = np.nan, 0.0
        y, median = np.float64(value[i]), waiting[r, MEDIAN]
        rate = max(1.0 / step, 1.0 / WINDOW)
        means[r, FLAGGED] += (flagged[i] - means[r, FLAGGED]) * rate
        if np.isfinite(y) and np.isfinite(median) and step == counts[r, SEEN] + 1:  # not the second value of a step
            counts[r, SCORED] += 1
            rate = max(1.0 / counts[r, SCORED], 1.0 / WINDOW)
            low, high, single = waiting[r, LOW], waiting[r, HIGH], np.float64(np.float32(y))
            # The forecast of a constant 0.1 is the float32 number nearest to it, and covers it.
            as_single = np.float64(np.float32(low)) == low and np.float64(np.float32(high)) == high
            inside = low <= y <= high or (as_single and low <= single <= high)
            means[r, COVERED] += ((1.0 if inside else 0.0) - means[r, COVERED]) * rate
            back, at = now[r] - step + season, r * stride
            before = np.nan
            if now[r] >= step and now[r] - step < length:
                rings = Ring(flat, at + start, length, now[r] - 1, full, width, at + bins, held, reach)
                before = np.float64(lag_value(rings, back)) + anchor[r]
            if np.isfinite(before):
                counts[r, PAIRED] += 1
                rate = max(1.0 / counts[r, PAIRED], 1.0 / WINDOW)
                naive, error = abs(y - before), abs(y - median)
                rounding = abs(y) * (ROUNDING if as_single else 0.0)
                naive *= 1.0 if naive > rounding else 0.0
                error *= 1.0 if error > rounding else 0.0
                if counts[r, PAIRED] > 1 and means[r, NAIVE] > 0.0:
                    most = LARGEST * means[r, NAIVE]
                    naive, error = min(naive, most), min(error, most)
                means[r, ERROR] += (error - means[r, ERROR]) * rate
                means[r, NAIVE] += (naive - means[r, NAIVE]) * rate
        counts[r, SEEN] = step
        for j in range(3):
            waiting[r, j] = quantiles[i, 0, picked[j]]


_scored = Postponed(_score_events)  # no forecast waits for it


class SeriesScorer:
    """Scores all series of a table.

    Args:
        table: the rows. quantiles: levels of the forecasts. seasons: of the network.
    """

    def __init__(self, table: Table, quantiles: tuple[float, ...], seasons: tuple[int, ...]) -> None:
        self._table, self._season = table, min(seasons, default=1)
        last = len(quantiles) - 1
        self._nominal = round(quantiles[last] - quantiles[0], 6)
        self._picked = np.array([quantiles.index(0.5), 0, last], np.int64)
        self._waiting = reserve(table.max_series, 3, np.float64)
        self._counts = reserve(table.max_series, 3, np.int64)
        self._means = reserve(table.max_series, 4, np.float64)

    def observe(self, rows: NDArray[np.int64], value: NDArray[np.float64], forecasts: Forecasts) -> None:
        """Scores a batch of events that the table has observed.

        Args:
            rows: (n,) of every event. value: (n,) nan where missing. forecasts: of the batch.
        """
        table, layout = self._table, self._table.layout
        value = np.where(forecasts.status == Status.OK, value, np.nan)
        shape, at = layout.ring, table.ring_at
        ring = (
            table.hidden.reshape(-1), table.hidden.shape[1], at, shape.length, shape.full, shape.width,
            at + shape.length, max(shape.held, 1), shape.reach, table.counters[:, STEPS],
            table.stats[:, table.anchor_at],
        )  # fmt: skip
        notes = forecasts.notes if len(forecasts.notes) else np.zeros(len(rows), np.uint8)
        events = rows, forecasts.status, notes, forecasts.steps, value, forecasts.flagged, forecasts.quantiles
        _scored(events, self._picked, (self._waiting, self._counts, self._means), ring, self._season)

    def read(self, series: Sequence[str] | None = None) -> RecentScores:
        """Returns the figures of these series, as far as they have a row; None: of all.

        Called from another thread, it may see a partial update of a batch.
        """
        index = self._table.index
        chosen = list(index.items()) if series is None else [(one, index[one]) for one in series if one in index]
        rows = np.array([row for _, row in chosen], np.int64)
        counts, means = self._counts[rows], self._means[rows]
        scored, paired = counts[:, SCORED], counts[:, PAIRED] > 0
        naive = np.where(paired, means[:, NAIVE], np.nan)
        error = np.where(paired, means[:, ERROR], np.nan)
        # A series that repeats its season exactly has no skill; one that is forecast exactly as well is no worse.
        skill = np.where(naive > 0.0, 1.0 - error / np.where(naive > 0.0, naive, 1.0), np.nan)
        return RecentScores(
            [name for name, _ in chosen], scored, self._table.counters[rows, LAST_TS],
            np.where(scored > 0, means[:, COVERED], np.nan), error, naive, skill,
            means[:, FLAGGED].copy(), self._nominal,
        )  # fmt: skip
