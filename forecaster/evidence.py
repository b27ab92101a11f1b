r"""Which of two forecasters is better, by a test that may be looked at after every event.

For events i = 1, 2, ... with losses a_i and b_i, the differences d_i = (a_i - b_i) / (a_i + b_i) lie in [-1, 1]. The
hypothesis "up to now b was on average not better than a, given what was known before each event" is tested by

    E_t = mean over l of exp(l S_t - psi(l) V_t),   S_t = sum d_i,   V_t = sum (d_i - mean of d before i)^2
    psi(l) = (-log(1 - c l) - c l) / c^2,   c = 2

E_t is an e-process: under the hypothesis the probability that it ever reaches 1/alpha is at most alpha, whenever one
looks and whenever one stops, without any assumption on the stream (Choe & Ramdas 2023, Comparing Sequential
Forecasters, Theorem 2; Howard, Ramdas, McAuliffe & Sekhon 2021, Time-uniform confidence sequences, Table 3;
Waudby-Smith & Ramdas 2023 for the betting view of it). The mean over l keeps that and needs no guess of the effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RANGE: Final = 2.0
# From large effects that show within tens of events to 1 % that takes thousands; below 1 / RANGE.
BETS: Final = (0.4, 0.25, 0.15, 0.08, 0.04, 0.02, 0.01, 0.005)


def _psi(bet: float) -> float:
    return (-math.log(1.0 - RANGE * bet) - RANGE * bet) / RANGE**2


@dataclass(slots=True)
class Evidence:
    """What the differences so far say.

    Attributes:
        count: how many. total: S_t. spread: V_t.
    """

    count: int = 0
    total: float = 0.0
    spread: float = 0.0

    def add(self, losses: NDArray[np.float64]) -> None:
        """Takes in losses (n, 2); rows with nan are left out. How they are split over calls does not matter.

        A loss that is infinite is the worst there is; two of them are equal.
        """
        losses = losses[~np.isnan(losses).any(axis=1)]
        if not len(losses):
            return
        endless = np.isinf(losses)
        a, b = np.where(endless.any(axis=1, keepdims=True), endless.astype(np.float64), losses).T
        d = np.divide(a - b, a + b, out=np.zeros(len(losses)), where=a + b > 0.0)
        sums = np.cumsum(np.concatenate(([self.total], d)))  # one chain of additions, however it is split
        before = self.count + np.arange(len(d))
        mean = np.divide(sums[:-1], before, out=np.zeros(len(d)), where=before > 0)
        self.spread = float(np.cumsum(np.concatenate(([self.spread], (d - mean) ** 2)))[-1])
        self.total, self.count = float(sums[-1]), self.count + len(d)

    @property
    def better(self) -> float:
        """E_t against "the second is not better than the first"; at most 1e300."""
        return self._process(self.total)

    @property
    def worse(self) -> float:
        """E_t against "the second is not worse than the first"; at most 1e300."""
        return self._process(-self.total)

    @property
    def gain(self) -> float:
        """Mean difference: by what share of the sum of both losses the second is better."""
        return self.total / self.count if self.count else 0.0

    def _process(self, total: float) -> float:
        return sum(math.exp(min(690.0, bet * total - _psi(bet) * self.spread)) for bet in BETS) / len(BETS)
