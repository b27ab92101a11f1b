"""The naive twin of anomaly scoring for one series: plain Python, float64, from the docstring."""

from __future__ import annotations

import math

DAY_MS = 86_400_000
SHAPES = {0.25: 0.01, 1.0: 0.06, 4.0: 0.3, 16.0: 0.63}  # k and first weight


class NaiveJudge:
    """Scores values by the quantiles forecast for them.

    Args:
        levels: of the quantiles.
        side, smooth_events, threshold, clear, quiet_events, per_day, min_deviation, min_relative: see
            `forecaster.AnomalyConfig`.
    """

    def __init__(self, levels, side, smooth_events, threshold, clear, quiet_events, per_day,
                 min_deviation, min_relative):  # fmt: skip
        self.levels, self.side, self.per_day = list(levels), side, per_day
        self.threshold, self.clear, self.quiet_events = threshold, clear, quiet_events
        self.min_deviation, self.min_relative = min_deviation, min_relative
        self.rate = 2 / (smooth_events + 1)
        self.median = {"low": 0.1, "high": 0.1}
        self.usual = {"low": None, "high": None}
        self.weights = {side: list(SHAPES.values()) for side in ("low", "high")}
        self.mean, self.wait, self.flags = 0.5, 0, {}

    def judge(self, quantiles, y, scale, ts):
        """Returns (score, flagged, whether an alarm ends) of the value `y` at `ts`."""
        u = self.level(quantiles, y, scale)
        score = {"both": abs(2 * u - 1), "high": u, "low": 1 - u}[self.side]
        if self.rate < 1:
            self.mean += (score - self.mean) * self.rate
            x = (self.mean - 0.5) / math.sqrt(self.rate / (12 * (2 - self.rate)))
            odds = (1 + abs(1.5976 * x + 0.07056 * x**3) / 64) ** 64
            score = odds / (1 + odds) if x >= 0 else 1 / (1 + odds)
        flagged, day, ended = False, ts // DAY_MS, False
        median = quantiles[self.levels.index(0.5)]
        far = abs(y - median) >= max(self.min_deviation, self.min_relative * abs(median))
        if far and score >= self.threshold:
            if self.wait == 0 and self.flags.get(day, 0) < self.per_day:
                flagged = True
                self.flags[day] = self.flags.get(day, 0) + 1
            self.wait = self.quiet_events
        elif (score < self.clear or not far) and self.wait:
            self.wait -= 1
            ended = self.wait == 0
        return score, flagged, ended

    def level(self, q, y, scale):
        """Returns the level of `y` among the quantiles."""
        shared = [level for level, value in zip(self.levels, q, strict=True) if value == y]
        if shared:
            return sorted([shared[0], 0.5, shared[-1]])[1]
        unit = max(q[-1] - q[0], scale / 2)
        if y < q[0]:
            return self.levels[0] * self.beyond("low", q[0] - y, unit)
        if y > q[-1]:
            return 1 - (1 - self.levels[-1]) * self.beyond("high", y - q[-1], unit)
        j = next(j for j in range(len(q)) if q[j] > y)
        share = (y - q[j - 1]) / (q[j] - q[j - 1])
        return self.levels[j - 1] + (self.levels[j] - self.levels[j - 1]) * share

    def beyond(self, tail, excess, unit):
        """Returns the share of a tail that lies further out; updates its excesses and its weights."""
        usual, weights = self.usual[tail], self.weights[tail]
        if usual is None:
            usual = 0.1 * unit
        if unit + usual == 0:
            self.usual[tail] = excess
            return 0.0
        z = min(excess / ((unit + usual) * self.median[tail]), 1e6)
        slopes = [k * (2 ** (1 / k) - 1) for k in SHAPES]
        beyond = [(1 + c * z / k) ** -k for k, c in zip(SHAPES, slopes, strict=True)]
        density = [c * (1 + c * min(z, 30) / k) ** (-k - 1) for k, c in zip(SHAPES, slopes, strict=True)]
        likely = [w * f for w, f in zip(weights, density, strict=True)]
        shares = zip(likely, SHAPES.values(), strict=True)
        self.weights[tail] = [0.997 * one / sum(likely) + 0.003 * first for one, first in shares]
        self.median[tail] = max(self.median[tail] * 1.08 ** (1 if z > 1 else -1), 1e-6)
        self.usual[tail] = max(usual * 1.08 ** (1 if excess > usual else -1), 1e-6 * unit)
        return sum(w * p for w, p in zip(weights, beyond, strict=True))
