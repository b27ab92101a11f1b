"""The naive twin of anomaly scoring for one series: plain Python, float64, from the docstring."""

from __future__ import annotations

import math

DAY_MS = 86_400_000


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
        self.excess = {"low": 0.15, "high": 0.15}
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
        """Returns the share of a tail that lies further out; updates the mean excess."""
        if unit == 0:
            return 0.0
        x = excess / (unit * self.excess[tail])
        self.excess[tail] = max(self.excess[tail] * (1 + 0.05 * (min(x, 8) - 1)), 1e-6)
        return (1 + min(x, 1e6) / 16) ** -16
