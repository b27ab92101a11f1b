r"""Quality of the published forecasts: interval coverage, width, loss and skill, for a bounded sample of series.

Forecasts wait for their targets in the rings of `pending`. The scored forecast is that of the calibrated ensemble, as
published. The kernel accumulates sums; the reader of the sums takes them from time to time.

    covered    lower quantile <= y <= upper quantile, for every pair of quantiles around the median
    skill      1 - sum |y - median| / sum |y - seasonal naive|   over the same forecasts (season 1 where there is none)

Losses, errors and widths are in units of the series' scale, the mean absolute error of its seasonal naive forecast (the
denominator of MASE, Hyndman & Koehler 2006, as a running mean), so that they can be summed over series. A series that
repeats its season exactly has no scale and counts for coverage only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts, Status
from forecaster.config import ModelConfig
from forecaster.ensemble.weights import tracked_horizons
from forecaster.evaluation.pending import NEVER, SAME_STEP, TARGETS_MOVED, keep_forecast, pinball, waiting_at
from forecaster.evaluation.series_sample import SeriesSample
from forecaster.kernels.jit import inlined, kernel
from forecaster.kernels.postponed import Postponed

USUAL_RATE: Final = 1.0 / 200.0
FIRST: Final = 20  # errors before a series has a scale; until then only coverage is counted
LARGEST: Final = 64.0  # in scales: limit of one error, against outliers
MOST_BYTES: Final = 16 << 20
EXACT: Final = 2.0**24  # float32 holds every integer below
# A series of the sample that is silent for so many events per series is replaced by a new one.
SILENT_ROUNDS: Final = 64


@dataclass(slots=True)
class Quality:
    """Sums over scored forecasts, per tracked horizon (K) and interval (I), narrowest interval last.

    Attributes:
        scored: (K,) verified forecasts.
        covered: (K, I) number of them whose actual is inside the interval.
        scaled: (K,) number of scored ones of series with a scale; the remaining sums are over these.
        width: (K, I) sum of widths. pinball: (K,) sum of mean pinball losses.
        paired: (K,) those for which there is a seasonal naive forecast as well.
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
        """Returns sums that are all zero, for a number of horizons and of intervals."""
        wide = {"covered", "width"}
        return cls(**{f.name: np.zeros((horizons, intervals) if f.name in wide else horizons) for f in fields(cls)})

    def add(self, other: Self, fading: NDArray[np.float64] | None = None) -> None:
        """Adds the sums of `other`, of the same shape; multiplies the present ones by `fading` (K,) first, if given."""
        for f in fields(self):
            mine, more = getattr(self, f.name), getattr(other, f.name)
            if fading is not None:
                mine *= fading[:, None] if mine.ndim == 2 else fading
            mine += more


def interval_pairs(levels: tuple[float, ...]) -> list[tuple[int, int, float]]:
    """Returns pairs of quantiles around the median, widest first: lower index, upper index, nominal coverage."""
    last = len(levels) - 1
    return [(j, last - j, round(levels[last - j] - levels[j], 6)) for j in range(len(levels) // 2)]


@inlined
def _as_published(y: Any, kept: Any, s: int, place: int, levels: int) -> Any:
    """Returns the value in the precision of a kept forecast: rounded to float32 if all its quantiles are float32.

    The forecast of a constant series of 0.1 is the float32 nearest to 0.1, which must cover it. A forecast of a large
    level with small changes needs float64, and so does the value.
    """
    for j in range(levels):
        quantile = kept[s, place, j]
        if np.float64(np.float32(quantile)) != quantile or abs(quantile) >= EXACT:
            return y
    return np.float64(np.float32(y))


@inlined
def _restart(made: Any, ring: Any, errors: Any, s: int) -> None:
    """Removes forecasts, values and scale of a series, whose steps have other times or numbers from here on."""
    made[s, :] = NEVER
    ring[s, :] = np.nan
    errors[s] = 0


class ScoredEvents(NamedTuple):
    """A batch of n events with their forecasts, read-only.

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
    """State of every series of the sample, all overwritten.

    Attributes:
        made: (slots, P) int64, step at which the forecast in a place was made; P is the sum of the tracked horizons.
        kept: (slots, P, Q + 1) float64, its quantiles and the seasonal naive point.
        ring: (slots, season) float64, values by step. seen: (slots,) int64, last step.
        usual, errors: (slots,) scale and number of errors that it averages.
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

    Groups are passed as plain tuples, see kernels/operands.py.

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
    losses, paired, error, naive_error = total_of.pinball, total_of.paired, total_of.error, total_of.naive_error
    Q, season, pairs = len(levels), ring.shape[1], covered.shape[1]
    for i in range(len(slot)):
        s = slot[i]
        if s < 0:
            continue
        moved = notes[i] & TARGETS_MOVED != 0
        if moved:  # also by a repaired event, which is not scored itself
            _restart(made, ring, errors, s)
        if status[i] > 1:
            continue
        step, y = steps[i], np.float64(value[i])
        again = notes[i] & SAME_STEP != 0 and step == seen[s]  # only the first value of a step is scored
        # a step that is not above the newest one: the series was forgotten and starts anew
        if moved or (step <= seen[s] and not again):
            _restart(made, ring, errors, s)
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
                place = waiting_at(made, s, at, step, k)
                at += k
                if place < 0:
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
                    total += pinball(miss, levels[j])
                losses[index] += total / Q
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
            place = keep_forecast(made, kept, s, at, step, k, quantiles[i, k - 1])
            kept[s, place, Q] = ring[s, (step + k) % season]  # one or several seasons before the target
            at += k


_observed = Postponed(_observe_forecasts)  # no forecast waits for it


class QualityWatch:
    """Scores the published forecasts of one forecaster. It is no part of its state and starts empty with the process.

    Args:
        config: of the network.
        limit: series in the sample, at most; fewer where they would take more than 16 MiB.

    Attributes:
        tracked: horizons that are scored, in steps. intervals: as returned by `interval_pairs`.
        sums: those since the last `take`.
    """

    def __init__(self, config: ModelConfig, limit: int) -> None:
        self.tracked, self.intervals = tracked_horizons(config.horizon), interval_pairs(config.quantiles)
        self._levels, self._tracked = np.array(config.quantiles, np.float64), np.array(self.tracked, np.int64)
        self._median, self._season = config.quantiles.index(0.5), min(config.seasons, default=1)
        places, levels = sum(self.tracked), len(config.quantiles) + 1
        most = MOST_BYTES // (places * (8 + 8 * levels) + 8 * self._season)
        self._sample = SeriesSample(max(1, min(limit, most)))
        self._made = np.empty((0, places), np.int64)
        self._kept = np.empty((0, places, levels), np.float64)
        self._ring = np.empty((0, self._season), np.float64)
        self._seen, self._last = np.empty(0, np.int64), np.empty(0, np.int64)
        self._usual, self._errors = np.empty(0), np.empty(0, np.int64)
        self._events = self._checked_at = 0
        self.sums, self._limit = self._nothing(), limit

    def restarted(self, config: ModelConfig) -> QualityWatch:
        """Returns a watch for a network of another shape; this one, where what it scores is the same.

        Args:
            config: of the network whose forecasts are scored from now on.
        """
        other = QualityWatch(config, self._limit)
        same = (other.tracked, other.intervals, other._season) == (self.tracked, self.intervals, self._season)
        return self if same and np.array_equal(other._levels, self._levels) else other

    def _nothing(self) -> Quality:
        return Quality.nothing(len(self.tracked), len(self.intervals))

    def take(self) -> Quality:
        """Returns the sums since the last call and resets them."""
        taken, self.sums = self.sums, self._nothing()
        return taken

    def observe(self, batch: Batch, forecasts: Forecasts, series: int) -> None:
        """Scores forecasts whose targets arrive with these events, and keeps the new forecasts.

        Args:
            batch: events that the forecaster observed. forecasts: its forecasts.
            series: number of all series, in the sample or not.
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
        _observed(events, self._levels, self._tracked, self._median, held, sums)

    def _slots(self, names: Sequence[str], series: int) -> NDArray[np.int64]:
        """Returns the slot of every series; drops series that have fallen silent where new ones find no room."""
        sample = self._sample
        if sample.is_full and self._events - self._checked_at > SILENT_ROUNDS * series:
            self._checked_at = self._events
            sample.drop(np.flatnonzero(self._events - self._last > SILENT_ROUNDS * series).tolist())
        if added := sample.add(names):
            for name in ("_made", "_kept", "_ring", "_seen", "_last", "_usual", "_errors"):
                setattr(self, name, sample.enlarged(getattr(self, name), max(added) + 1))
            self._made[added], self._ring[added], self._seen[added], self._errors[added] = NEVER, np.nan, 0, 0
        return sample.slots(names)
