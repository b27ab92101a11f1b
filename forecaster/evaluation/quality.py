r"""How good the forecasts that were given turned out to be: coverage, width, loss and skill, for a bounded sample.

What was forecast at step n for a tracked horizon k waits in place n mod k of a ring and is scored when the value of
step n + k arrives, never earlier (prequential evaluation, Dawid 1984). It is the calibrated mixture that is scored,
as it was published. The kernel adds up; whoever reads the sums takes them once in a while.

    covered    lower quantile <= y <= upper quantile, for every pair of quantiles around the median
    skill      1 - sum |y - median| / sum |y - seasonal naive|   over the same forecasts (season 1 where there is none)

Losses, errors and widths are in units of the series' own scale, the usual error of its seasonal naive forecast one
step ahead (the denominator of MASE, Hyndman & Koehler 2006, as a running mean): so series can be added up. A series
that never departs from its season has no scale and counts for coverage alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts, Status
from forecaster.config import ModelConfig
from forecaster.ensemble.weights import tracked_horizons
from forecaster.evaluation.pending import AFRESH, NEVER, SAME_STEP
from forecaster.kernels.jit import inlined, kernel

USUAL_RATE: Final = 1.0 / 200.0
FIRST: Final = 20  # errors from which a scale is made; before them nothing is added up but coverage
LARGEST: Final = 64.0  # scales: an outlier says no more than that
MOST_BYTES: Final = 16 << 20
EXACT: Final = 2.0**24  # float32 holds every whole number below
# A series of the sample that was silent while every other one had so many events gives its place to a new one.
SILENT_ROUNDS: Final = 64


@dataclass(slots=True)
class Quality:
    """Sums over scored forecasts, per tracked horizon (K) and interval (I), narrowest interval last.

    Attributes:
        scored: (K,) verified forecasts.
        covered: (K, I) of them inside the interval.
        scaled: (K,) of the scored ones those of series with a scale; the next four are about them.
        width: (K, I) sum of widths. pinball: (K,) sum of mean pinball losses.
        paired: (K,) those for which a seasonal naive forecast is known as well.
        error, naive_error: (K,) sums of absolute errors of the median and of seasonal naive, over the paired ones.
    """

    scored: NDArray[np.float64]
    covered: NDArray[np.float64]
    scaled: NDArray[np.float64]
    width: NDArray[np.float64]
    pinball: NDArray[np.float64]
    paired: NDArray[np.float64]
    error: NDArray[np.float64]
    naive_error: NDArray[np.float64]

    @classmethod
    def nothing(cls, horizons: int, intervals: int) -> Self:
        """All sums zero."""
        wide = {"covered", "width"}
        return cls(**{f.name: np.zeros((horizons, intervals) if f.name in wide else horizons) for f in fields(cls)})

    def add(self, other: Self, fading: NDArray[np.float64] | None = None) -> None:
        """Adds sums of the same shape; what was there is multiplied by `fading` (K,) first, if given."""
        for f in fields(self):
            mine, more = getattr(self, f.name), getattr(other, f.name)
            if fading is not None:
                mine *= fading[:, None] if mine.ndim == 2 else fading
            mine += more


def interval_pairs(levels: tuple[float, ...]) -> list[tuple[int, int, float]]:
    """Pairs of quantiles around the median, widest first: index of the lower, of the upper, share between them."""
    last = len(levels) - 1
    return [(j, last - j, round(levels[last - j] - levels[j], 6)) for j in range(len(levels) // 2)]


@inlined
def _as_published(y: Any, kept: Any, s: int, place: int, levels: int) -> Any:
    """The value with the digits of the forecast in a place: rounded to float32 where that holds all its quantiles.

    A constant series of 0.1 is forecast as the float32 next to 0.1, and covered by it. A forecast of a large level
    with small changes needs float64, and so does the value.
    """
    for j in range(levels):
        quantile = kept[s, place, j]
        if np.float64(np.float32(quantile)) != quantile or abs(quantile) >= EXACT:
            return y
    return np.float64(np.float32(y))


class ScoredEvents(NamedTuple):
    """A batch of n events with what was forecast from them, only read.

    Attributes:
        slot: (n,) int64, -1 outside the sample. status, notes: (n,) uint8. steps: (n,) int64. value: (n,) float64.
        quantiles: (n, H, Q).
    """

    slot: Any
    status: Any
    notes: Any
    steps: Any
    value: Any
    quantiles: Any


class QualitySeries(NamedTuple):
    """What is held of every series of the sample, all overwritten.

    Attributes:
        made: (slots, P) int64, step at which the forecast in a place was made; P is the sum of the tracked horizons.
        kept: (slots, P, Q + 1) float64, its quantiles and the seasonal naive point.
        ring: (slots, season) float64, values by step. seen: (slots,) int64, last step.
        usual, errors: (slots,) scale and how many errors it was made from.
    """

    made: Any
    kept: Any
    ring: Any
    seen: Any
    usual: Any
    errors: Any


class QualitySums(NamedTuple):
    """The arrays of `Quality`, all added to."""

    scored: Any
    covered: Any
    scaled: Any
    width: Any
    pinball: Any
    paired: Any
    error: Any
    naive_error: Any


@kernel
def _observe_forecasts(events: Any, levels: Any, tracked: Any, median: int, series: Any, sums: Any) -> None:
    """Scores forecasts whose targets arrive and keeps the new ones, in the order of the events.

    Groups come as plain tuples, see kernels/operands.py.

    Args:
        events: `ScoredEvents`.
        levels: (Q,). tracked: (K,) int64. median: index of level 1/2.
        series: `QualitySeries`, overwritten.
        sums: `QualitySums`, added to.
    """
    batch, state, total_of = ScoredEvents(*events), QualitySeries(*series), QualitySums(*sums)
    slot, status, notes, steps, value = batch.slot, batch.status, batch.notes, batch.steps, batch.value
    made, kept, ring, seen = state.made, state.kept, state.ring, state.seen
    usual, errors, quantiles = state.usual, state.errors, batch.quantiles
    scored, covered, scaled, width = total_of.scored, total_of.covered, total_of.scaled, total_of.width
    pinball, paired, error, naive_error = total_of.pinball, total_of.paired, total_of.error, total_of.naive_error
    Q, season, pairs = len(levels), ring.shape[1], covered.shape[1]
    for i in range(len(slot)):
        s = slot[i]
        if s < 0 or status[i] > 1:
            continue
        step, y = steps[i], np.float64(value[i])
        again = notes[i] & SAME_STEP != 0 and step == seen[s]  # the first value of a step was scored
        if notes[i] & AFRESH != 0 or (step <= seen[s] and not again):  # or the series was forgotten and begins again
            made[s, :] = NEVER
            ring[s, :] = np.nan
            errors[s] = 0
        elif step - seen[s] > season:
            ring[s, :] = np.nan
        else:
            for skipped in range(seen[s] + 1, step):
                ring[s, skipped % season] = np.nan
        seen[s] = step
        scale = usual[s] if errors[s] >= FIRST else 0.0
        at = 0
        if np.isfinite(y) and not again:
            for index in range(len(tracked)):
                k = tracked[index]
                place = at + step % k
                at += k
                if made[s, place] != step - k:
                    continue
                scored[index] += 1.0
                seen_as = _as_published(y, kept, s, place, Q)
                for j in range(pairs):
                    if kept[s, place, j] <= seen_as <= kept[s, place, Q - 1 - j]:
                        covered[index, j] += 1.0
                if not scale > 0.0:
                    continue
                scaled[index] += 1.0
                total = 0.0
                for j in range(Q):
                    miss = min(max((y - np.float64(kept[s, place, j])) / scale, -LARGEST), LARGEST)
                    total += miss * levels[j] if miss >= 0.0 else miss * (levels[j] - 1.0)
                pinball[index] += total / Q
                for j in range(pairs):
                    gap = np.float64(kept[s, place, Q - 1 - j]) - np.float64(kept[s, place, j])
                    width[index, j] += min(gap / scale, LARGEST)
                if np.isfinite(kept[s, place, Q]):
                    paired[index] += 1.0
                    error[index] += min(abs(y - np.float64(kept[s, place, median])) / scale, LARGEST)
                    naive_error[index] += min(abs(y - np.float64(kept[s, place, Q])) / scale, LARGEST)
            before = np.float64(ring[s, step % season])
            if np.isfinite(before):
                errors[s] += 1
                if errors[s] == 1:
                    usual[s] = abs(y - before)
                else:
                    usual[s] += (abs(y - before) - usual[s]) * max(1.0 / errors[s], USUAL_RATE)
        if np.isfinite(y) or not again:
            ring[s, step % season] = y
        at = 0
        for index in range(len(tracked)):
            k = tracked[index]
            place = at + step % k
            made[s, place] = step
            for j in range(Q):
                kept[s, place, j] = quantiles[i, k - 1, j]
            kept[s, place, Q] = ring[s, (step + k) % season]  # a season before the target, or several
            at += k


class QualityWatch:
    """Scores the published forecasts of one forecaster. Not part of its state: it starts anew with the process.

    Args:
        config: of the network.
        limit: series in the sample, at most; fewer where they would take more than 16 MiB.

    Attributes:
        tracked: horizons that are scored, in steps. intervals: as of `interval_pairs`.
        sums: since they were last taken.
    """

    def __init__(self, config: ModelConfig, limit: int) -> None:
        self.tracked, self.intervals = tracked_horizons(config.horizon), interval_pairs(config.quantiles)
        self._levels, self._tracked = np.array(config.quantiles, np.float64), np.array(self.tracked, np.int64)
        self._median, self._season = config.quantiles.index(0.5), min(config.seasons, default=1)
        places, levels = sum(self.tracked), len(config.quantiles) + 1
        self._limit = max(1, min(limit, MOST_BYTES // (places * (8 + 8 * levels) + 8 * self._season)))
        self._index: dict[str, int] = {}
        self._free: list[int] = []
        self._made = np.empty((0, places), np.int64)
        self._kept = np.empty((0, places, levels), np.float64)
        self._ring = np.empty((0, self._season), np.float64)
        self._seen, self._last = np.empty(0, np.int64), np.empty(0, np.int64)
        self._usual, self._errors = np.empty(0), np.empty(0, np.int64)
        self._events = self._looked = 0
        self.sums = self._nothing()

    def _nothing(self) -> Quality:
        return Quality.nothing(len(self.tracked), len(self.intervals))

    def take(self) -> Quality:
        """The sums since the last call."""
        taken, self.sums = self.sums, self._nothing()
        return taken

    def observe(self, batch: Batch, forecasts: Forecasts, series: int) -> None:
        """Takes in events and what was answered.

        Args:
            batch: as the forecaster was given it. forecasts: what it answered.
            series: how many series there are, in the sample or not.
        """
        slot = self._slots(batch.series, series)
        first, self._events = self._events, self._events + len(batch)
        mine = slot >= 0
        if not mine.any():
            return
        self._last[slot[mine]] = first
        value = np.where(forecasts.status == Status.OK, batch.value, np.nan)
        notes = forecasts.notes if len(forecasts.notes) else np.zeros(len(batch), np.uint8)
        events = slot, forecasts.status, notes, forecasts.steps, value, forecasts.quantiles
        held = self._made, self._kept, self._ring, self._seen, self._usual, self._errors
        sums = tuple(getattr(self.sums, name) for name in QualitySums._fields)
        _observe_forecasts(events, self._levels, self._tracked, self._median, held, sums)

    def _slots(self, names: Any, series: int) -> NDArray[np.int64]:
        index = self._index
        room = self._limit - len(index)
        if not room and self._events - self._looked > SILENT_ROUNDS * series:
            room = self._make_room(series)
        if room:
            for name in dict.fromkeys(names):
                if name not in index and len(index) < self._limit:
                    index[name] = self._free.pop() if self._free else len(index)
                    self._begin(index[name])
        return np.array([index.get(name, -1) for name in names], np.int64)

    def _make_room(self, series: int) -> int:
        """Drops series that have fallen silent; how many."""
        self._looked = self._events
        silent = self._events - self._last > SILENT_ROUNDS * series
        for name in [name for name, slot in self._index.items() if silent[slot]]:
            self._free.append(self._index.pop(name))
        return len(self._free)

    def _begin(self, slot: int) -> None:
        """An empty place; the arrays grow to hold it."""
        if slot >= len(self._made):
            more = min(self._limit, max(16, 2 * len(self._made))) - len(self._made)
            for name in ("_made", "_kept", "_ring", "_seen", "_last", "_usual", "_errors"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate((array, np.zeros((more, *array.shape[1:]), array.dtype))))
        self._made[slot], self._ring[slot], self._seen[slot], self._errors[slot] = NEVER, np.nan, 0, 0
