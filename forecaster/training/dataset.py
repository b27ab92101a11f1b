"""Converts a history to series on regular grids with the inputs of every step, and draws windows from them.

The inputs are computed by the functions of the live path (step_inputs.py), so that the inputs of a training step equal
those of the forecast at that step. Missing grid points become missing steps, as on the live path. No window spans a gap
longer than `max_gap`, where the live path restarts a row. Where the interval of a series changed (cadence.py), another
series begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import TrainingError
from forecaster.features.anchor import LARGE
from forecaster.features.calendar import calendar_table
from forecaster.features.profile import RingShape
from forecaster.features.step_inputs import N_STATISTICS
from forecaster.layout import Layout
from forecaster.state.history import History
from forecaster.training.cadence import begin_steps, pieces
from forecaster.training.prepare_kernel import GridSteps, StepInputs, bin_floats, prepare_kernel

MOST_STEPS = 4_000_000  # of a data set, about 240 bytes each while it is built; the oldest events beyond are left out
BURN_STEPS = 8  # steps at the start of a stream without loss, in which the hidden state forms


@dataclass(frozen=True)
class Dataset:
    """Steps of all series, one series after the other.

    Attributes:
        x: (N, n_x) float32 inputs. y: (N,) values, nan where missing. ts: (N,) int64 epoch ms.
        stats: (N, 3) float64 level, scale and last value after the step.
        start, end: (N,) int64, first step of the step's series and the one after its last.
        interval: (N,) int64 milliseconds.
        segment: (M, 2) int64, stretches without a restart inside: first step, step after the last.
        cutoff_ms: steps from here on are held out.
        future: flat, the known future values of events (F, horizon each); one number if F = 0, as in the next three.
        future_at: (N,) int64, offset of the newest event's values in it. since: (N,) int64, steps since that event.
        future_stats: (N, 2F) float64 level and scale of every known-future covariate after the step.
        lags: (N,) values that lags read, with outliers replaced, then bins (`prepare_kernel.steps_ring`); by default y.

    Values of a series are float64, relative to an anchor of its own (anchor.py).
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    ts: NDArray[np.int64]
    stats: NDArray[np.float64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    interval: NDArray[np.int64]
    segment: NDArray[np.int64]
    cutoff_ms: int
    future: NDArray[np.float32] = field(default_factory=lambda: np.zeros(1, np.float32))
    future_at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    since: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    future_stats: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    lags: NDArray[Any] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.lags):
            object.__setattr__(self, "lags", self.y)


def _relative(history: History, events: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns values of one series, and those that lags read, relative to its anchor; rounded to float32 if it is 0."""
    value = history.value[events].astype(np.float64)
    lags = value if history.robust is None else history.robust[events].astype(np.float64)
    known = lags[np.isfinite(lags)]
    level = float(np.median(known)) if len(known) else 0.0
    spread = float(np.mean(np.abs(known - level))) if len(known) else 0.0
    if abs(level) > LARGE * spread > 0.0:
        return value - level, lags - level
    return value.astype(np.float32).astype(np.float64), lags.astype(np.float32).astype(np.float64)


def _jumps(
    ts: NDArray[np.int64], interval: int, max_gap: int, ring: RingShape
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Returns the steps from each event to the next, and where the live path would restart the row.

    Lags reach no further back than rings and bins, so that longer gaps are shortened, by whole bins.
    """
    jumps = np.maximum(1, (np.diff(ts) + interval // 2) // interval)
    broken, most = jumps - 1 > max_gap, ring.reach + ring.width
    short = np.where(jumps > most, most + (jumps - most) % ring.width, jumps)
    return np.where(broken, short, jumps), broken


def dataset(history: History, layout: Layout, validation_fraction: float) -> Dataset:
    """Converts every series to its regular grid and computes the inputs of every step.

    The data set has at most about `MOST_STEPS` steps: if gaps would result in more, the same share of the oldest steps
    of each series is left out. A series whose interval changed counts as several.

    Raises:
        TrainingError: no series has two events.
    """
    config, ring = layout.config, layout.ring
    order = np.argsort(history.series, kind="stable")
    serials, begins = np.unique(history.series[order], return_index=True)
    bounds = [*begins.tolist(), len(order)]
    columns: dict[str, list[NDArray[Any]]] = {
        k: [] for k in ("y", "lags", "ts", "gap", "cov", "start", "end", "interval")
    }
    futures = len(config.future_covariates)
    columns |= {"future_at": [], "since": []}
    segments: list[tuple[int, int]] = []
    base, width = 0, len(config.covariates)
    parts: list[tuple[NDArray[np.int64], int]] = []
    for serial, a, b in zip(serials.tolist(), bounds, bounds[1:], strict=False):
        interval = config.interval_ms or history.intervals.get(serial, 0)
        found = pieces(history.timestamp_ms[order[a:b]], interval, configured=config.interval_ms > 0)
        parts += [(order[a:b][events], one) for events, one in found if len(events) > 1 and one > 0]
    begun = [begin_steps(history.timestamp_ms[events], interval) for events, interval in parts]
    total = sum(
        int(_jumps(history.timestamp_ms[events[first]], interval, config.max_gap, ring)[0].sum())
        for (events, interval), first in zip(parts, begun, strict=True)
    )
    share = min(1.0, MOST_STEPS / max(1, total))
    for (every, interval), begin in zip(parts, begun, strict=True):
        events, first = every, begin
        if share < 1.0:
            back = np.cumsum(_jumps(history.timestamp_ms[events[first]], interval, config.max_gap, ring)[0][::-1])
            kept = 1 + int(np.searchsorted(back, share * back[-1], side="right"))
            oldest = int(np.flatnonzero(first)[-kept:][0])
            events, first = events[oldest:], first[oldest:]
        step, (values, robust) = np.cumsum(first) - 1, _relative(history, events)
        events = events[first]
        if len(events) < 2:
            continue
        ts = history.timestamp_ms[events]
        jumps, broken = _jumps(ts, interval, config.max_gap, ring)
        residual = np.diff(ts) / interval - (np.maximum(1, (np.diff(ts) + interval // 2) // interval) - 1)
        place = np.concatenate([[0], np.cumsum(jumps)])
        n = int(place[-1]) + 1
        y, lags = np.full(n, np.nan), np.full(n, np.nan)
        known = np.flatnonzero(np.isfinite(values))  # the last value of a step is used
        y[place[step[known]]], lags[place[step[known]]] = values[known], robust[known]
        grid = np.full(n, -1, np.int64)
        grid[place] = np.arange(len(ts))
        last = np.maximum.accumulate(grid)
        columns["y"].append(y)
        columns["lags"].append(lags)
        columns["ts"].append(ts[last] + (np.arange(n) - place[last]) * interval)
        gap = np.ones(n)
        gap[place[1:]] = residual
        columns["gap"].append(gap)
        cov = np.full((n, width), np.nan, np.float32)
        cov[place] = history.covariates[events]
        if futures:
            columns["future_at"].append(events[last] * (futures * config.horizon))
            columns["since"].append(np.arange(n) - place[last])
        columns["cov"].append(cov)
        for name, value in (("start", base), ("end", base + n), ("interval", interval)):
            columns[name].append(np.full(n, value, np.int64))
        cuts = [0, *place[1:][broken].tolist()]
        ends = [*(place[:-1][broken] + 1).tolist(), n]
        segments += [(base + a, base + b) for a, b in zip(cuts, ends, strict=True)]
        base += n
    if not segments:
        msg = "not enough history: no series has two events; let the stream run for longer"
        raise TrainingError(msg)
    if not futures:
        columns["future_at"], columns["since"] = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    flat = {name: np.concatenate(columns.pop(name)) for name in list(columns)}  # releases the parts one by one
    future = np.zeros(1, np.float32) if history.future is None else history.future.reshape(-1)
    future_stats = np.zeros((base if futures else 1, max(1, 2 * futures)))
    x = np.zeros((base, layout.n_x), np.float32)
    stats = np.zeros((base, N_STATISTICS))
    scaled = np.zeros(max(1, base * width), np.float32)
    flat["lags"] = np.concatenate([flat["lags"], np.full(bin_floats(layout, base), np.nan)])
    prepare, sizes = prepare_kernel(layout)
    scratch = np.zeros(N_STATISTICS + 2 * (width + futures))
    raw = flat["cov"].reshape(-1) if width else np.zeros(1, np.float32)
    days = calendar_table(config.timezone, config.holidays)
    steps = GridSteps(flat["lags"], flat["ts"], flat["gap"], raw, future, flat["future_at"], flat["since"])
    out = StepInputs(x.reshape(-1), stats.reshape(-1), future_stats.reshape(-1))
    for first in np.unique(flat["start"]).tolist():
        prepare(sizes, steps, out, scaled, scratch, days, first, int(flat["end"][first]))
    observed = np.sort(flat["ts"][np.isfinite(flat["y"])])
    if not len(observed):
        msg = "not enough history: every value is missing"
        raise TrainingError(msg)
    cutoff = int(observed[min(len(observed) - 1, int(len(observed) * (1.0 - validation_fraction)))])
    return Dataset(
        x, flat["y"], flat["ts"], stats, flat["start"], flat["end"], flat["interval"],
        np.array(segments, np.int64), cutoff, future, flat["future_at"], flat["since"], future_stats, flat["lags"],
    )  # fmt: skip


@dataclass(frozen=True)
class Windows:
    """A batch of windows, in the form that the chunk kernel takes.

    Attributes:
        first: (B,) int64 first step of each. steps: (B,) number of its steps.
        loss_from: (B,) first step, counted in the window, that has a loss.
        limit: (B,) step of the data set from which on it has no targets.
    """

    first: NDArray[np.int64]
    steps: NDArray[np.int64]
    loss_from: NDArray[np.int64]
    limit: NDArray[np.int64]


def validation_windows(
    data: Dataset, length: int, warm: int, most: int, *, since: int | None = None, until: int | None = None
) -> Windows:
    """Returns windows of `length` steps after the cutoff, each preceded by up to `warm` steps to form the state.

    There are at most `most`, spread evenly over series and time, and possibly none.

    Args:
        data: the data set.
        length, warm, most: see above.
        since: epoch ms of the first step that is scored; the cutoff of the data set by default.
        until: epoch ms from which on there are neither scored steps nor targets; None: the end.
    """
    rows: list[tuple[int, int, int, int]] = []
    for a, b in data.segment.tolist():
        ts = data.ts[a:b]
        first = a + int(np.searchsorted(ts, data.cutoff_ms if since is None else since))
        limit = int(data.end[a])
        if until is not None:
            start = int(data.start[a])
            limit = start + int(np.searchsorted(data.ts[start:limit], until))
        end = min(b, limit)
        for at in range(first, end - 1, length):
            lead = min(warm, at - a)
            if np.isfinite(data.y[at : min(end, at + length)]).any():
                rows.append((at - lead, min(length, end - at) + lead, lead, limit))
    if len(rows) > most:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, most).astype(int)]
    table = np.array(rows, np.int64).reshape(-1, 4)
    return Windows(*(np.ascontiguousarray(table[:, i]) for i in range(4)))


def judging_cutoff(data: Dataset) -> int:
    """Returns the epoch ms that divides the held-out slice into two parts with equally many observed steps.

    The older part selects weights, the newer part evaluates the selected ones: see training/compare.py.
    """
    held = np.sort(data.ts[np.isfinite(data.y) & (data.ts >= data.cutoff_ms)])
    return int(held[len(held) // 2]) if len(held) else data.cutoff_ms


class Streams:
    """The training windows: `batch` streams that advance through the steps before the cutoff, chunk by chunk.

    A stream starts at a random step with a zero hidden state, advances by k1 steps per chunk with its state carried,
    and restarts at the end of its segment or after `CHUNKS` chunks, so that batches vary even with few series.
    Starts are drawn uniformly over steps, so series count in proportion to their lengths; `balance` and `half_life`
    of `TrainConfig` change that: a step at age a of a series of n steps has the weight

        n^-balance * 2^(-a / (half_life * span))

    where the span is that of all steps before the cutoff. Memory: five numbers per segment.
    """

    CHUNKS = 8

    def __init__(
        self, data: Dataset, k1: int, k2: int, batch: int, rng: np.random.Generator,
        *, balance: float = 0.0, half_life: float = 0.0,
    ) -> None:  # fmt: skip
        self._data, self._k1, self._k2, self._rng = data, k1, k2, rng
        segments = []
        for a, b in data.segment.tolist():
            limit = a + int(np.searchsorted(data.ts[a:b], data.cutoff_ms))
            if limit - a > BURN_STEPS + 1:
                segments.append((a, limit))
        self._segments = np.array(segments, np.int64).reshape(-1, 2)
        self._weights = np.cumsum(self._segments[:, 1] - self._segments[:, 0]) if segments else np.zeros(0)
        self._chances: NDArray[np.float64] | None = None
        if segments and (balance or half_life):
            self._chances, self._decay = self._uneven(balance, half_life)
        self.batch = batch
        self._at = np.zeros(batch, np.int64)
        self._stop = np.zeros(batch, np.int64)
        self._left = np.zeros(batch, np.int64)

    @property
    def steps(self) -> int:
        """Number of steps that training can use."""
        return int(self._weights[-1]) if len(self._weights) else 0

    def _uneven(self, balance: float, half_life: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns cumulated weights of the segments, and the exponent of e by which a weight grows within each."""
        data, (first, behind) = self._data, self._segments.T
        lengths = behind - first
        series, which = np.unique(data.start[first], return_inverse=True)
        held = np.bincount(which, lengths, len(series))[which]
        chance = lengths * held**-balance
        oldest, newest = data.ts[first].astype(np.float64), data.ts[behind - 1].astype(np.float64)
        decay = np.zeros(len(first))
        if half_life:
            per_ms = np.log(2.0) / (half_life * max(1.0, newest.max() - oldest.min()))
            decay = np.maximum(per_ms * (newest - oldest), 1e-9)
            # the mean of e^(-d (1 - x)) over x from 0 to 1, times the weight of the segment's last step
            chance = chance * -np.expm1(-decay) / decay * np.exp(-per_ms * (newest.max() - newest))
        return np.cumsum(chance), decay

    def _draw(self) -> tuple[int, int]:
        """Draws a segment and a place in it."""
        if self._chances is None:
            draw = int(self._rng.integers(self.steps))
            segment = int(np.searchsorted(self._weights, draw, side="right"))
            return segment, draw - (int(self._weights[segment - 1]) if segment else 0)
        draw = self._rng.random() * self._chances[-1]
        segment = min(int(np.searchsorted(self._chances, draw, side="right")), len(self._chances) - 1)
        share, decay = self._rng.random(), self._decay[segment]
        if decay > 0:  # the inverse of the distribution function
            share = 1.0 + float(np.log(share + (1.0 - share) * np.exp(-decay))) / decay
        length = int(self._segments[segment, 1] - self._segments[segment, 0])
        return segment, min(length - 1, max(0, int(share * length)))

    def next(self) -> tuple[Windows, NDArray[np.bool_]]:
        """Returns the next chunk of every stream, and which streams restart (their carried state is to be cleared)."""
        k1, k2 = self._k1, self._k2
        fresh = (self._left <= 0) | (self._stop - self._at < BURN_STEPS + 2)
        for i in np.flatnonzero(fresh).tolist():
            segment, place = self._draw()
            a, b = self._segments[segment].tolist()
            self._at[i] = a + min(place, max(0, b - a - k2))
            self._stop[i] = b
            self._left[i] = self.CHUNKS
        steps = np.minimum(k2, self._stop - self._at)
        windows = Windows(
            first=self._at.copy(),
            steps=steps,
            loss_from=np.where(fresh, BURN_STEPS, k2 - k1),
            limit=self._stop.copy(),
        )
        self._at += k1
        self._left -= 1
        return windows, fresh
