"""Slow, plain twin of the observe kernel: float64, plain loops, lists that only grow. Written from the docstrings."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from naive_network import calendar, cell_step, clip, head, squash, unpack
from naive_time import NaiveTime
from numpy.typing import NDArray

from forecaster import Model, ModelConfig, Status
from forecaster.layout import WARM_STEPS, layout_of

Array = NDArray[Any]


@dataclass
class Row:
    """The state of a series."""

    value: list[float] = field(default_factory=list)  # per step, outliers replaced, nan = missing
    bins: dict[int, float] = field(default_factory=dict)  # means of the values of bins, by number
    covariate: list[list[float]] = field(default_factory=list)  # per step, scaled, nan = missing
    time: NaiveTime = field(default_factory=lambda: NaiveTime(configured=False))
    observed: int = 0
    level: float = 0.0
    scale: float = 0.0
    last: float = 0.0
    cov_level: list[float] = field(default_factory=list)
    cov_scale: list[float] = field(default_factory=list)
    future_level: list[float] = field(default_factory=list)
    future_scale: list[float] = field(default_factory=list)
    h: list[Array] = field(default_factory=list)
    c: list[Array] = field(default_factory=list)
    model: str = ""
    expected: Array | None = None  # quantiles forecast for the next value
    replaced: dict[int, float] = field(default_factory=dict)  # step -> value that was replaced
    rate: float = 0.0  # of extreme values
    share: float = 0.0  # long-term share of runs of extreme values
    lasting: float | None = None  # share of runs of extreme values that lasted
    reach: float | None = None  # distance from the forecast of the extreme values that lasted
    run: tuple[float, float] | None = None  # first value of the run of extreme values, and its forecast
    judged: bool = True  # whether it is known if the run lasted

    @property
    def interval(self) -> int:
        """Returns the milliseconds between two steps."""
        return self.time.interval


class Naive:
    """The naive twin of `Forecaster`: one event at a time, without bounds on memory."""

    def __init__(self, model: Model) -> None:
        self.config: ModelConfig = model.config
        self.layout = layout_of(model.config)
        self.rows: dict[str, Row] = {}
        self.count, self.share, self.unit = 0, 0.1, 0.0  # series with a known scale, and the means
        self.adopt(model)
        longest = max(self.config.seasons, default=0)
        self.level_rate, self.scale_rate = 1.0 / max(32, longest), 1.0 / max(128, 2 * longest)

    def adopt(self, model: Model) -> None:
        """Puts other weights into force."""
        self.model, self.p = model.sha256, unpack(self.layout, model.params.astype(np.float64))

    def _restart(self, row: Row) -> None:
        row.h = [np.zeros(self.layout.hidden) for _ in range(self.layout.layers)]
        row.c = [np.zeros(self.layout.hidden) for _ in range(self.layout.layers)]

    def _begin_step(self, row: Row, value: float) -> None:
        """Adds a step; writes the mean of the bin that begins to be read."""
        ring, n = self.layout.ring, len(row.value)
        first = n - ring.full
        if ring.width > 1 and first >= 0 and first % ring.width == 0:
            known = [v for v in row.value[first : first + ring.width] if not math.isnan(v)]
            row.bins[first // ring.width] = sum(known) / len(known) if known else math.nan
        row.value.append(value)

    def _read(self, row: Row, now: int, t: int) -> float:
        """Returns the value of step t as it is read at step `now`."""
        if t < 0:
            return math.nan
        return row.value[t] if now - t < self.layout.ring.full else row.bins[t // self.layout.ring.width]

    def _step(self, row: Row, t: int, ts: int, gap: float) -> Array:
        """Steps the network at step t; returns the head's input."""
        u = 1.0 / row.scale if row.scale > 1e-30 else 0.0

        def lag(k: int) -> float:
            return self._read(row, t, t - k)

        def relative(k: int) -> float:
            return 0.0 if math.isnan(lag(0)) or math.isnan(lag(k)) else squash((lag(0) - lag(k)) * u)

        missing = math.isnan(lag(0))
        x = [0.0 if missing else squash((lag(0) - row.level) * u), relative(1)]
        x += [relative(season) for season in self.config.seasons]
        x += [float(missing), squash(gap - 1.0)]
        if self.config.calendar:
            x += calendar(ts)
        for v in row.covariate[t]:
            x += [0.0, 1.0] if math.isnan(v) else [v, 0.0]
        top = np.array(x)
        for i in range(self.layout.layers):
            row.h[i], row.c[i] = cell_step(self.config.cell, self.p, f"layer{i}", top, row.h[i], row.c[i])
            top = row.h[i]
        return top

    def _head_features(self, row: Row, ts: int, future: Array) -> Array:
        u = 1.0 / row.scale if row.scale > 1e-30 else 0.0
        newest, out = len(row.value) - 1, []

        def seen(t: int) -> float:
            return self._read(row, newest, t)

        gone = [0.0 if math.isnan(seen(newest - k)) else clip((seen(newest - k) - row.last) * u) for k in range(12)]
        known = [row.last, *(seen(newest - k) for k in range(6) if not math.isnan(seen(newest - k)))]
        moved = sum(min(abs(a - b) * u, 16.0) for a, b in itertools.pairwise(known)) / 5
        recent = [*gone[1:4], sum(gone[:6]) / 6, sum(gone) / 12, moved]
        for h in range(1, self.config.horizon + 1):
            place = [h / self.config.horizon, 1 / h, math.sqrt(h / self.config.horizon)]
            shifts, target = [], list[float]()
            for season in self.config.seasons:
                one = newest + h - season
                while one > newest:
                    one -= season
                a, b, now = seen(one), seen(one - season), seen(newest - season)
                a, b = (b if math.isnan(a) else a), (a if math.isnan(b) else b)
                target += [0.0 if math.isnan(v) else clip((v - row.last) * u) for v in (a, b)]
                shifts.append(0.0 if math.isnan(now) else clip((row.last - now) * u))
                target.append(shifts[-1] / math.sqrt(h))
                phases = min(4, 2 * max(self.config.seasons) // season)
                same = [seen(one - p * season) for p in range(phases)]
                same = [clip((v - row.last) * u) for v in same if not math.isnan(v)]
                target.append(sum(same) / max(len(same), 1))
                # neighbours: of the targets before and after, and the value before the first of them
                around = [newest - season + (0 if h == 1 else 1 + (h - 2) % season), newest + 1 - season + h % season]
                near = [target[-4] if math.isnan(v) else clip((v - row.last) * u) for v in map(seen, around)]
                target.append(sum(near) / 2)
            for j, ahead in enumerate(future):
                v, scale = float(ahead[h - 1]), row.future_scale[j]
                if not math.isfinite(v):
                    target += [0.0, 1.0]
                else:
                    target += [squash((v - row.future_level[j]) / scale) if scale > 1e-30 else 0.0, 0.0]
            if self.config.calendar:
                dates = calendar(ts + h * row.interval)
                for sine, cosine in zip(dates[::2], dates[1::2], strict=True):
                    target += [sine, cosine, 2 * sine * cosine, cosine**2 - sine**2]
            out.append([*place, clip((row.level - row.last) * u), *shifts, *recent, *target])
        return np.array(out)

    def _observe_value(self, row: Row, y: float) -> None:
        if row.observed == 0:
            row.level, row.scale = y, 0.0
        else:
            gone = y - row.level
            if row.observed >= 10 and row.scale > 1e-30:
                gone = max(-64 * row.scale, min(64 * row.scale, gone))
            row.scale += (abs(gone) - row.scale) * max(1.0 / row.observed, self.scale_rate)
            row.level += gone * max(1.0 / (row.observed + 1), self.level_rate)
        row.last = y
        row.observed += 1

    def _take_in(self, row: Row, y: float) -> None:
        """Adds the value of a new step, or its replacement."""
        self._begin_step(row, y)
        if row.observed < 10:
            self._judge_young(row)
            return
        now, q = len(row.value) - 1, row.expected
        error = 0.2 * row.scale
        center = row.level if q is None else q[self.config.quantiles.index(0.5)]
        if abs(center - row.last) <= 0.05 * row.scale:
            center = row.last
        far = abs(y - center) > 40 * row.scale
        if q is None:
            extreme = far
        else:
            if len(q) > 1:
                z = [math.sqrt(math.pi / 2) * NormalDist().inv_cdf(a) for a in self.config.quantiles]
                error = max(error, (q[-1] - q[0]) / (z[-1] - z[0]))
            times = 15 if far else 25
            extreme = y > q[-1] + times * error or y < q[0] - times * error
        frequent, routine = row.rate >= 0.15, row.share >= 0.017
        rare = row.rate < 0.06 and row.share < 0.0135
        weight = min(row.observed + 200, 1000)
        runs = row.share * weight
        row.rate += (extreme - row.rate) / 20
        row.share += ((extreme and row.run is None) - row.share) / weight
        returned = False
        if row.run is not None and not row.judged:
            lasted = abs(y - row.run[1]) > 0.25 * abs(row.run[0] - row.run[1])
            row.lasting = lasted / 3 if row.lasting is None else row.lasting + (lasted - row.lasting) / 6
            row.judged, returned = True, not lasted
            if lasted:
                distance = abs(row.run[0] - row.run[1])
                if row.reach is None:
                    row.reach = distance
                elif distance > row.reach:
                    row.reach = min(distance, 2 * row.reach)
                else:
                    row.reach += (distance - row.reach) / 6
            then = max((t for t in range(now) if not math.isnan(row.value[t])), default=-1)
            if returned and rare and then > now - self.layout.ring.length and row.value[then] == row.run[0]:
                row.replaced[then] = row.run[0]
                row.replaced = dict(sorted(row.replaced.items())[-4:])
                row.value[then] = row.run[1]
        if not extreme:
            row.run = None
        elif row.run is None:
            row.run, row.judged = (y, center), False
        if extreme and not self._is_pattern(row, y, center, runs):
            recent = [t for t in row.replaced if now - t <= 4]
            stray = self._stray(row, [*recent, now], y, center)
            recent = [t for t in recent if t != stray]
            known = (routine or (row.lasting or 0.0) >= 0.44) and (
                row.reach is None or abs(y - center) <= 2 * row.reach
            )
            if len(recent) >= 3 and stray != now:
                self._accept_change(row, recent, y, center)
            elif not frequent and not returned and not known:
                row.replaced[now] = y
                row.replaced = dict(sorted(row.replaced.items())[-4:])
                row.value[now] = y = center
        self._observe_value(row, y)

    def _is_pattern(self, row: Row, y: float, center: float, runs: float) -> bool:
        """Returns whether an extreme value repeats that of a season ago, which is restored."""
        now = len(row.value) - 1

        def near(v: float | None) -> bool:
            return v is not None and abs(y - v) < 0.5 * abs(y - center)

        def used(t: int) -> float | None:
            return self._read(row, now, t) if t >= max(0, now - self.layout.ring.reach + 1) else None

        for season in self.config.seasons:
            once, twice = now - season, now - 2 * season
            if near(used(once)):
                return True
            repeated = near(row.replaced.get(twice)) or near(used(twice))
            if near(row.replaced.get(once)) and (runs <= 2.5 or repeated):
                value = row.replaced.pop(once)
                if season < self.layout.ring.length:
                    row.value[once] = value
                return True
        return False

    def _stray(self, row: Row, steps: list[int], y: float, center: float) -> int | None:
        """Returns the step of the furthest value if it is the only one on its side of the forecast."""
        values = {t: row.replaced.get(t, y) for t in steps}
        furthest = max(reversed(steps), key=lambda t: abs(values[t] - center))
        side = [t for t in steps if (values[t] > center) == (values[furthest] > center)]
        return furthest if len(steps) > 1 and side == [furthest] else None

    def _accept_change(self, row: Row, recent: list[int], y: float, center: float) -> None:
        """Restores replaced values that were right, and computes level and scale from them."""
        now, values = len(row.value) - 1, [*(row.replaced[t] for t in recent), y]
        middle = float(np.mean(sorted(values)[1:-1]))
        apart = float(np.mean([abs(v - middle) for v in values]))
        for t in recent:
            row.value[t] = row.replaced.pop(t)
        agree = apart <= 0.25 * abs(middle - center)
        if agree:
            row.level = middle
        if agree or min(values) < center < max(values):
            changes = [abs(row.value[t] - row.value[t - 1]) for t in (now, now - 1, now - 2)]
            row.scale = max(row.scale, min(0.0 if math.isnan(c) else c for c in changes))

    def _judge_young(self, row: Row) -> None:
        """Judges all of the first ten values again."""
        for t in list(row.replaced):
            row.value[t] = row.replaced.pop(t)
        oldest = len(row.value) - self.layout.ring.length  # the oldest that a row holds
        there = [t for t, v in enumerate(row.value) if not math.isnan(v) and t >= oldest]
        values = sorted(row.value[t] for t in there)
        center, n, limit = float(np.median(values)), len(values), math.inf
        gone = sorted(abs(v - center) for v in values)
        apart = float(np.median(gone))
        if n == 2:
            small, large = sorted(values, key=abs)
            if abs(large) > max(100 * abs(small), 900) and small != 0:
                center, limit = small, 0.0
        elif n >= 3 and apart > 1e-30:
            limit = (15 + 60 / (n - 2)) * apart
        elif n >= 5 and gone[n - 1 - n // 4] == 0:
            limit = 0.0
        for t in reversed(there):
            if abs(row.value[t] - center) > limit:
                row.replaced[t] = row.value[t]
                fits = [row.value[s] for s in there if s < t and abs(row.value[s] - center) <= limit]
                row.value[t] = math.nan if t < len(row.value) - 1 else fits[-1] if fits else center
        seen = row.observed + 1
        row.observed = 0
        for t in there:
            if not math.isnan(row.value[t]):
                self._observe_value(row, row.value[t])
        row.observed = seen
        if row.observed == 10 and row.scale > 1e-30:
            self.count += 1
            share = row.scale / (abs(row.level) + row.scale)
            self.share += (share - self.share) * max(1 / (self.count + 4), 1 / 64)
            self.unit += (row.scale - self.unit) * max(1 / self.count, 1 / 64)

    def _young_forecast(self, row: Row) -> Array | None:
        """Returns the forecast of a row without a scale, from the changes of the other series; None if unknown."""
        n = row.observed
        if n == 0:
            return None
        unit = (abs(row.last) * self.share / (1 - self.share) or self.unit) * max(0.0, (1 / n - 0.1) / 0.9)
        z = np.array([math.sqrt(math.pi / 2) * NormalDist().inv_cdf(a) for a in self.config.quantiles])
        return row.last + unit * np.sqrt(np.arange(1, self.config.horizon + 1))[:, None] * z

    def _scale_covariates(self, row: Row, raw: list[float]) -> list[float]:
        out, rate = [], max(1.0 / (len(row.value)), self.level_rate)
        for j, v in enumerate(raw):
            if not math.isfinite(v):
                out.append(math.nan)
                continue
            if math.isnan(row.cov_level[j]):
                row.cov_level[j] = v
            row.cov_scale[j] += (abs(v - row.cov_level[j]) - row.cov_scale[j]) * rate
            row.cov_level[j] += (v - row.cov_level[j]) * rate
            scale = row.cov_scale[j]
            out.append(squash((v - row.cov_level[j]) / scale) if scale > 1e-30 else 0.0)
        return out

    def _follow_future(self, row: Row, future: Array) -> None:
        rate = max(1.0 / len(row.value), self.level_rate)
        for j, known in enumerate(future.astype(float).tolist()):
            finite = [v for v in known if math.isfinite(v)]
            if finite:
                if math.isnan(row.future_level[j]):
                    row.future_level[j] = finite[0]
                row.future_scale[j] += (abs(finite[0] - row.future_level[j]) - row.future_scale[j]) * rate
                row.future_level[j] += (finite[0] - row.future_level[j]) * rate

    def observe(
        self, series: str, ts: int, value: float, raw: list[float], future: Array
    ) -> tuple[int, Array | None, Row]:
        """Observes an event with known future values (names, horizon) -> status, quantiles, the row after it.

        Duplicates and late events have no quantiles (None).
        """
        config, width = self.config, len(self.config.covariates)
        nothing = [math.nan] * width
        if new := series not in self.rows:
            row = self.rows[series] = Row(time=NaiveTime(bool(config.interval_ms), config.interval_ms))
            row.cov_level, row.cov_scale, row.model = [math.nan] * width, [0.0] * width, self.model
            row.future_level, row.future_scale = [math.nan] * len(future), [0.0] * len(future)
            self._restart(row)
        row = self.rows[series]
        kind, missing, gap, note, last_ts = row.time.place(ts)
        if kind in {"duplicate", "late"}:
            return (Status.DUPLICATE if kind == "duplicate" else Status.LATE), None, row
        if kind == "same":
            return self._same_step(row, ts, value, future)
        if not new:
            if row.model != self.model:
                row.model = self.model
                self._restart(row)
                if missing <= config.max_gap:
                    self._encode_again(row, last_ts)
            if missing > config.max_gap:
                self._restart(row)
                missing = missing if missing < 1000 else 1000 + (missing - 1000) % self.layout.ring.width
                for _ in range(missing):
                    self._begin_step(row, math.nan)
                row.covariate += [nothing] * missing
            else:
                for k in range(missing):
                    self._begin_step(row, math.nan)
                    row.covariate.append(nothing)
                    self._step(row, len(row.value) - 1, last_ts + (k + 1) * row.interval, 1.0)
        if missing or note & {"new", "reopened"}:
            row.expected = None
        seen = float(value) if abs(value) <= np.finfo(np.float32).max else math.nan
        if math.isfinite(seen):
            self._take_in(row, seen)
        else:
            self._begin_step(row, seen)
        row.covariate.append(self._scale_covariates(row, raw))
        self._follow_future(row, future)
        top = self._step(row, len(row.value) - 1, ts, gap)
        q = head(self.p, config.quantiles, top, self._head_features(row, ts, future))
        status = Status.OK if math.isfinite(seen) else Status.MISSING
        return self._answer(row, q, status)

    def _answer(self, row: Row, q: Array, status: int) -> tuple[int, Array | None, Row]:
        """Returns status and quantiles for the network's output `q`; sets the quantiles that judge the next value."""
        quantiles: Array | None = row.last + row.scale * q
        if row.scale <= 1e-30:
            quantiles = self._young_forecast(row)
            status = Status.UNKNOWN if quantiles is None else status
        row.expected = None if quantiles is None else quantiles[0]
        return status, quantiles, row

    def _encode_again(self, row: Row, newest_ts: int) -> None:
        """Steps the network over the last steps, the newest of which is at `newest_ts`."""
        n = len(row.value)
        for t in range(max(0, n - WARM_STEPS), n):
            self._step(row, t, newest_ts + (t - n + 1) * row.interval, 1.0)

    def _same_step(self, row: Row, ts: int, value: float, future: Array) -> tuple[int, Array, Row]:
        """Observes another event of the newest step: its value replaces the step's; the state is not stepped again."""
        seen = float(value) if abs(value) <= np.finfo(np.float32).max else math.nan
        far = row.observed >= 10 and abs(seen - row.value[-1]) > 40 * row.scale
        if math.isfinite(seen) and not far:
            before, row.value[-1] = row.value[-1], seen
            if math.isnan(before):
                self._observe_value(row, seen)
            else:
                most = 16 * row.scale if row.scale > 1e-30 else math.inf
                row.level += max(-most, min(most, seen - before)) * max(1.0 / row.observed, self.level_rate)
                row.last = seen
        if row.model != self.model:
            row.model = self.model
            self._restart(row)
            self._encode_again(row, row.time.step)
        top = row.h[-1] if row.h else self._step(row, len(row.value) - 1, ts, 1.0)
        q = head(self.p, self.config.quantiles, top, self._head_features(row, ts, future))
        return self._answer(row, q, Status.OK if math.isfinite(seen) else Status.MISSING)
