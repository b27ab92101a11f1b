"""The ensemble as plain float64 loops over growing lists: experts, tracking, weights, mixture, order.

Inputs are the network's forecasts and the statistics; the output is the expected mixture.
Written from the docstrings of experts.py, calibration.py, weights.py, combine.py and update.py.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import ModelConfig
from forecaster.ensemble.calibration import (
    BOUND,
    ERROR_RATE,
    EXPERT_RATE,
    LEAST_UNIT,
    MAX_ERROR,
    NETWORK_RATE,
    SHARED_RATE,
)
from forecaster.ensemble.combine import WIDER
from forecaster.ensemble.trend import DAMPING_RATE, DOUBT, FARTHEST, LEAST_SPAN, SPAN
from forecaster.ensemble.weights import (
    HALF_SHARP,
    LATE,
    LOSS_RATE,
    NETWORK_ODDS,
    NEW_NETWORK,
    OLD_NETWORK,
    POOLED,
    SHARPNESS,
    YOUNG,
    tracked_horizons,
)
from forecaster.features.outliers import YOUNG_VALUES
from forecaster.layout import layout_of

Array = NDArray[Any]


class NaiveTrend:
    """The lines of trend.py, one per tracked horizon, from the values observed so far, without jumps."""

    def __init__(self, tracked: tuple[int, ...]) -> None:
        self.tracked = tracked
        self.seen: list[tuple[float, float]] = []  # value, steps since the one before
        self.slope = dict.fromkeys(tracked, 0.0)
        self.beyond = dict.fromkeys(tracked, 0.0)
        self.products = dict.fromkeys(tracked, 0.0)
        self.squares = dict.fromkeys(tracked, 0.0)

    def follow(self, value: float, elapsed: float) -> None:
        """Updates the lines by a value; the first ten values are used together."""
        self.seen.append((value, elapsed))
        if len(self.seen) < YOUNG_VALUES:
            return
        for i in range(len(self.seen) - 1 if len(self.seen) > YOUNG_VALUES else 1, len(self.seen)):
            n, diff = i, self.seen[i][0] - self.seen[i - 1][0]
            for k in self.tracked:
                span = max(LEAST_SPAN, SPAN * k)
                alpha = max(2 * (2 * n + 1) / ((n + 1) * (n + 2)), 4 / span - 4 / span**2)
                beta = max(6 / ((n + 1) * (n + 2)), 4 / span**2)
                off = diff - self.beyond[k] - self.slope[k] * self.seen[i][1]
                self.beyond[k] = (alpha - 1) * off
                self.slope[k] += beta * off

    def ahead(self, k: int, scale: float) -> float:
        """Returns the line's value k steps ahead, relative to the last value, in scales."""
        return float(np.clip((self.beyond[k] + k * self.slope[k]) / scale, -FARTHEST, FARTHEST)) if scale > 0 else 0.0

    def damping(self, k: int) -> float:
        """Returns the share of the line's slope that has come true so far."""
        if not self.squares[k] > 0:
            return 0.0
        return float(np.clip((1 + DOUBT) * self.products[k] / self.squares[k] - DOUBT, 0, 1))

    def learn(self, k: int, said: float, came: float, made: int) -> None:
        """Updates the record of the line by a verified forecast."""
        rate = max(1 / made, DAMPING_RATE / math.sqrt(k))
        self.products[k] += (said * float(np.clip(came, -FARTHEST, FARTHEST)) - self.products[k]) * rate
        self.squares[k] += (said * said - self.squares[k]) * rate


class NaiveEnsemble:
    """One series on its grid; each step calls `learn`, `learn_trend`, `follow`, `mix` and `keep`."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.tracked, self.ring = tracked_horizons(config.horizon), layout_of(config).ring
        self.levels = np.array(config.quantiles)
        self.median = config.quantiles.index(0.5)
        normal = [NormalDist().inv_cdf(a) for a in config.quantiles]
        self.normal = math.sqrt(math.pi / 2) * np.array(normal)
        self.members = [("network", 0), ("trend", 0)]
        self.members += [(kind, s) for s in config.seasons for kind in ("plain", "adjusted", "two")]
        self.y: list[float] = []
        self.network: list[Array | None] = []
        self.trend = NaiveTrend(self.tracked)
        self.said: list[tuple[float, float, dict[int, float]] | None] = []  # last value, scale, the line's values
        self.offset: dict[tuple[int, int], Array] = {}
        self.error: dict[tuple[int, int], float] = {}
        self.loss: dict[tuple[int, int], float] = {}
        self.adopted = 0
        self.unit = 0.0  # scale of errors, losses and the experts' offsets

    def adopt(self) -> None:
        """Puts new weights into force from the next step on."""
        self.adopted = len(self.y)
        for k in self.tracked:
            known = [self.loss[k, i] for i in range(len(self.members)) if (k, i) in self.loss]
            if known:
                good = max(NEW_NETWORK * min(known), OLD_NETWORK * self.loss.get((k, 0), 0.0))
                self.loss[k, 0] = min(self.loss.get((k, 0), math.inf), good)

    def keep(self, network: Array | None, ref: float, scale: float) -> None:
        """Stores the network's forecast of the newest step as halves, in units of `scale` around `ref`."""
        if network is not None:
            units = (network - ref) / scale if scale > 0 else np.zeros_like(network)
            network = ref + scale * units.astype(np.float16).astype(np.float64)
        self.network.append(network)
        said = {k: float(np.float16(self.trend.ahead(k, scale))) for k in self.tracked}
        self.said.append(None if network is None else (ref, scale, said))

    def follow(self, value: float) -> None:
        """Updates the trend by the value of the newest step, which `self.y` already holds."""
        if not math.isnan(value):
            known = [step for step, v in enumerate(self.y[:-1]) if not math.isnan(v)]
            self.trend.follow(value, len(self.y) - 1 - known[-1] if known else 1)

    def _value(self, step: int) -> float:
        """Returns the value of a step, or the mean of its bin where it lies far back."""
        if not 0 <= step < len(self.y):
            return math.nan
        if len(self.y) - 1 - step < self.ring.full:
            return self.y[step]
        begin = step - step % self.ring.width
        known = [v for v in self.y[begin : begin + self.ring.width] if not math.isnan(v)]
        return sum(known) / len(known) if known else math.nan

    def _past(self, member: tuple[str, int], now: int, k: int) -> float:
        """Returns an expert's forecast of step now - k for step now."""
        kind, season = member
        if kind == "trend":
            made = self.said[now - k]
            return math.nan if made is None else made[0] + made[1] * made[2][k] * self.trend.damping(k)
        origin = self._value(now - k)
        back = season * math.ceil(k / season)
        one = self._value(now - back)
        if kind == "plain":
            return one
        shift = origin - self._value(now - k - season)
        if kind == "adjusted":
            return one + shift
        two = self._value(now - back - season)
        return 0.5 * (one + (one if math.isnan(two) else two) + shift)

    def learn(self, value: float, scale: float) -> None:
        """Scores every forecast for the step of this value, which `self.y` already holds."""
        now = len(self.y) - 1
        if math.isnan(value) or scale <= 0:
            return
        turn = self.unit / scale if self.unit > 0 else 1.0
        self.unit = scale
        for kept in (self.error, self.loss):
            for cell in kept:
                kept[cell] *= turn
        for k, i in self.offset:
            self.offset[k, i] = self.offset[k, i] * (turn if i > 0 else 1.0)
        shared = SHARED_RATE * self.normal * self._too_narrow(value, scale)
        for k in self.tracked:
            if now < k:
                continue
            for i, member in enumerate(self.members):
                n = max(now - self._begin(member, k) + 1, 1)
                if i == 0:
                    made = self.network[now - k]
                    if made is None or now - k < self.adopted:
                        continue
                    gone = np.clip((made[k - 1] - value) / scale, -MAX_ERROR, MAX_ERROR)
                else:
                    past = self._past(member, now, k)
                    if math.isnan(past):
                        continue
                    gone = np.full(len(self.levels), np.clip((past - value) / scale, -MAX_ERROR, MAX_ERROR))
                miss = abs(gone[self.median])
                fresh = (k, i) not in self.error
                error = miss if fresh else self.error[k, i]
                offset = self.offset.get((k, i), np.zeros(len(self.levels)))
                if i == 0:
                    above = gone + offset * self._unit(self.network[now - k][k - 1] / scale, error)
                    rate, bound, pull = NETWORK_RATE, BOUND, shared
                else:
                    above = gone + error * self.normal + offset
                    rate, bound, pull = EXPERT_RATE * error, BOUND * error, np.zeros(len(self.levels))
                loss = float(np.mean(np.maximum(above * (1 - self.levels), -above * self.levels)))
                moved = offset + rate / math.sqrt(k) * (self.levels - (above >= 0)) + pull
                self.offset[k, i] = np.clip(moved, -bound, bound)
                if fresh:
                    self.error[k, i], self.loss[k, i] = miss, loss
                    continue
                self.loss[k, i] += (loss - self.loss[k, i]) * max(1 / n, LOSS_RATE)
                self.error[k, i] += (miss - error) * max(1 / n, ERROR_RATE)

    def learn_trend(self, value: float) -> None:
        """Updates the share of the trend that came true, after `learn`."""
        now = len(self.y) - 1
        for k in self.tracked:
            made = self.said[now - k] if now >= k else None
            if not math.isnan(value) and made is not None and made[1] > 0:
                self.trend.learn(k, made[2][k], (value - made[0]) / made[1], now - k + 1)

    @staticmethod
    def _begin(member: tuple[str, int], k: int) -> int:
        """Returns the step at which a member is first scored."""
        kind, season = member
        if kind in {"network", "trend"}:
            return k
        return season * math.ceil(k / season) if kind == "plain" else season + k

    def _late(self, i: int, k: int) -> float:
        """Returns how much less is known of a member than of members without a season."""
        own, others = (max(len(self.y) - begin, 1) for begin in (self._begin(self.members[i], k), k))
        return 0.0 if own >= YOUNG else 1 / own - 1 / min(others, YOUNG)

    def _loss(self, i: int, k: int) -> float:
        return self.loss[k, i] + LATE * self._late(i, k) * max(self.loss[k, i], self.loss.get((k, 0), 0.0))

    def _too_narrow(self, value: float, scale: float) -> float:
        """Returns the excess of the verified network quantiles' misses over their levels, relative to their width."""
        now, found = len(self.y) - 1, list[Array]()
        for k in self.tracked:
            made = self.network[now - k] if now >= k else None
            if made is None or now - k < self.adopted:
                continue
            gone = np.clip((made[k - 1] - value) / scale, -MAX_ERROR, MAX_ERROR)
            error = self.error.get((k, 0), abs(gone[self.median]))
            offset = self.offset.get((k, 0), np.zeros(len(self.levels)))
            found.append(self.levels - (gone + offset * self._unit(made[k - 1] / scale, error) >= 0))
        wide = np.mean(found, 0) @ self.normal if found else 0.0
        return float(wide / (1e-30 + self.normal @ self.normal))

    def _unit(self, quantiles: Array, error: float) -> float:
        """Returns the mean absolute error implied by a network forecast, in the units of its quantiles."""
        width = (quantiles[-1] - quantiles[0]) / (self.normal[-1] - self.normal[0])
        return float(np.nanmax([width, LEAST_UNIT * error]))

    def _weights(self, k: int) -> Array | None:
        if not any((k, i) in self.loss for i in range(len(self.members))):
            return None
        n = len(self.y) - k
        weights = np.zeros(len(self.members))
        for i in range(len(self.members)):
            excesses = {at: self._excess(at, i) for at in self.tracked if (at, i) in self.loss}
            if k in excesses:
                excess = (1 - POOLED) * excesses[k] + POOLED * sum(excesses.values()) / len(excesses)
                odds = NETWORK_ODDS if i == 0 else 1.0
                weights[i] = odds * (1 + SHARPNESS * n / (n + HALF_SHARP) * excess / 16) ** -16.0
        return weights / weights.sum()

    def _excess(self, k: int, member: int) -> float:
        """Returns the share by which a member's loss exceeds the best one's at a horizon."""
        losses = {i: self._loss(i, k) for i in range(len(self.members)) if (k, i) in self.loss}
        return losses[member] / min(losses.values()) - 1

    def mix(self, network: Array, points: Array, ref: float, scale: float) -> Array:
        """Returns the mixed forecast of the newest step.

        Args:
            network: (horizon, levels) of the network, in units of the data.
            points: (members, horizon) points of the experts around `ref` in scales; row 0 is not used.
            ref: last observed value.
            scale: of the series; 0 means there is none.
        """
        offsets: dict[int, Array] = {}
        weights: dict[int, Array] = {}
        before = None
        for k in self.tracked:
            offsets[k] = np.zeros((len(self.members), len(self.levels)))
            for i in range(len(self.members)):
                if (k, i) in self.error:
                    offsets[k][i] = self.offset[k, i] + (0.0 if i == 0 else self.error[k, i]) * self.normal
                    offsets[k][i] *= 1 + WIDER * self._late(i, k)
                elif before is not None:
                    offsets[k][i] = offsets[before][i] * (math.sqrt(k / before) if i > 0 else 1.0)
                elif i > 0:
                    offsets[k][i] = self.normal
            found = self._weights(k)
            if found is None:
                found = np.eye(len(self.members))[0] if before is None else weights[before]
            weights[k] = found
            before = k
        out = np.zeros_like(network)
        for h in range(1, self.config.horizon + 1):
            low = max(k for k in self.tracked if k <= h)
            high = min(k for k in self.tracked if k >= h)
            part = (h - low) / (high - low) if high > low else 0.0
            w = weights[low] + part * (weights[high] - weights[low])
            o = offsets[low] + part * (offsets[high] - offsets[low])
            member = o + points[:, h - 1, None]
            if scale > 0:
                own = (network[h - 1] - ref) / scale
                member[0] = own + o[0] * self._unit(own, self.error.get((low, 0), math.nan))
            mixed = w @ member
            steps = len(self.y)
            if steps < YOUNG:
                wider = 1 + WIDER * (1 / steps - 1 / YOUNG)
                mixed = mixed[self.median] + (mixed - mixed[self.median]) * wider
            upper = np.maximum.accumulate(mixed[self.median :])
            lower = np.minimum.accumulate(mixed[: self.median + 1][::-1])[::-1]
            out[h - 1] = ref + scale * np.concatenate([lower[:-1], upper])
        return out
