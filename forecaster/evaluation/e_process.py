r"""E-processes for which of two forecasters is better: two tests valid after every event; a verdict needs both.

For events i = 1, 2, ... with losses a_i and b_i, in units of the usual loss of the series:

**Most events.** The differences d_i = (a_i - b_i) / (a_i + b_i) lie in [-1, 1]. The hypothesis "up to now the mean
of the conditional expectations of d was not above 0" is tested by

    E_t = mean over l of exp(l S_t - psi(l) V_t),   S_t = sum d_i,   V_t = sum (d_i - mean of d before i)^2
    psi(l) = (-log(1 - c l) - c l) / c^2,   c = 2

E_t is an e-process: under the hypothesis the probability that it ever reaches 1/alpha is at most alpha, for any times
of evaluation and any stopping rule, without any assumption on the stream (Choe & Ramdas 2023, Comparing Sequential
Forecasters, Theorem 2; Howard, Ramdas, McAuliffe & Sekhon 2021, Time-uniform confidence sequences, Table 3;
Waudby-Smith & Ramdas 2023 for the betting view). The mean over l preserves this and needs no guess of the effect size.
It does not test the mean loss: a forecaster that is often slightly better and rarely far worse has a mean d above 0.

**The mean loss.** With m the mean of all losses so far and differences D_i = min(a_i - b_i, 10 m), clipped only on the
side that favours b,

    M_t = sqrt(r / (W_t + r)) exp(max(0, T_t)^2 / (2 (W_t + r))),   r = (10 m)^2
    T_t = sum D_i - 10 m,   W_t = sum D_i^2 + (10 m)^2

the normal mixture of Robbins (1970), in its self-normalised form (de la Pena, Lai & Shao 2009). No test of a mean is
valid for every stream of unbounded losses: M_t is an e-process where D is symmetric around its mean, and approximately
where thousands of events make its sum symmetric (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, Time-uniform
central limit theory). The term 10 m stands for one future event at which the loss of b exceeds that of a by ten mean
losses.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

RANGE: Final = 2.0
# From large effects, detected within tens of events, to 1 %, which takes thousands; below 1 / RANGE.
BETS: Final = (0.4, 0.25, 0.15, 0.08, 0.04, 0.02, 0.01, 0.005)
LARGEST: Final = 10.0  # in mean losses: limit of one event for a side, and the reserve against a future one
_MAX_COUNT: Final = 1 << 53  # every integer below is exact in a float


def _psi(bet: float) -> float:
    return (-math.log(1.0 - RANGE * bet) - RANGE * bet) / RANGE**2


@dataclass(slots=True)
class EProcess:
    """The two tests over the losses so far, in both directions.

    Attributes:
        count: number of pairs. total: S_t. spread: V_t.
        size: sum of the means of both losses; where one is infinite, the other is used.
        won, won_squares: sums of D_i and D_i^2. lost, lost_squares: the same of b_i - a_i.
        first, second: sums of a_i and b_i.
    """

    count: int = 0
    total: float = 0.0
    spread: float = 0.0
    size: float = 0.0
    won: float = 0.0
    won_squares: float = 0.0
    lost: float = 0.0
    lost_squares: float = 0.0
    first: float = 0.0
    second: float = 0.0

    def add(self, losses: NDArray[np.float64]) -> None:
        """Adds losses (n, 2); rows with nan are left out. The result does not depend on how they are split over calls.

        An infinite loss is worse than every finite one; two infinite losses are equal.
        """
        losses = losses[~np.isnan(losses).any(axis=1)]
        if not len(losses):
            return
        infinite = np.isinf(losses)
        a, b = np.where(infinite.any(axis=1, keepdims=True), infinite.astype(np.float64), losses).T
        d = np.divide(a - b, a + b, out=np.zeros(len(losses)), where=a + b > 0.0)
        sums = _chain(self.total, d)
        before = self.count + np.arange(len(d))
        mean = np.divide(sums[:-1], before, out=np.zeros(len(d)), where=before > 0)
        self.spread = float(_chain(self.spread, (d - mean) ** 2)[-1])
        self._add_means(losses, infinite)
        self.total, self.count = float(sums[-1]), self.count + len(d)

    def _add_means(self, losses: NDArray[np.float64], infinite: NDArray[np.bool_]) -> None:
        """Updates the sums of the test of the mean loss."""
        both = infinite[:, 0] & infinite[:, 1]
        finite = np.where(both[:, None], 0.0, np.where(infinite, losses[:, ::-1], losses))
        sizes = _chain(self.size, finite.mean(axis=1))[1:]
        limit = LARGEST * sizes / (self.count + 1.0 + np.arange(len(losses)))
        a, b = np.where(both[:, None], 0.0, losses).T
        for side, difference in (("won", a - b), ("lost", b - a)):
            part = np.minimum(difference, limit)
            with np.errstate(over="ignore"):
                setattr(self, side, float(_chain(getattr(self, side), part)[-1]))
                setattr(self, f"{side}_squares", float(_chain(getattr(self, f"{side}_squares"), part**2)[-1]))
        self.size = float(sizes[-1])
        self.first, self.second = float(_chain(self.first, a)[-1]), float(_chain(self.second, b)[-1])

    @property
    def better(self) -> float:
        """The lesser of E_t and M_t against "the second is not better than the first"; at most 1e300."""
        return min(self._relative_e_value(self.total), self.lower)

    @property
    def worse(self) -> float:
        """The lesser of E_t and M_t against "the second is not worse than the first"; at most 1e300."""
        return min(self._relative_e_value(-self.total), self._mean_e_value(self.lost, self.lost_squares))

    @property
    def lower(self) -> float:
        """M_t alone against "the mean loss of the second is not lower"; at most 1e300."""
        return self._mean_e_value(self.won, self.won_squares)

    @property
    def gain(self) -> float:
        """Mean of d: how much better the second is, as a share of the sum of both losses."""
        return self.total / self.count if self.count else 0.0

    def _relative_e_value(self, total: float) -> float:
        return sum(math.exp(min(690.0, bet * total - _psi(bet) * self.spread)) for bet in BETS) / len(BETS)

    def _mean_e_value(self, total: float, squares: float) -> float:
        reserve = LARGEST * self.size / max(1, self.count)
        excess, spread = max(0.0, total - reserve), squares + 2.0 * reserve**2
        if not (math.isfinite(excess) and math.isfinite(spread) and spread > 0.0):
            return 0.0 if self.count else 1.0
        return reserve / math.sqrt(spread) * math.exp(min(690.0, excess**2 / (2.0 * spread)))

    def to_list(self) -> list[Any]:
        """Returns the state as a JSON-able list, exact."""
        count, *sums = astuple(self)
        return [count, *(number.hex() for number in sums)]

    @classmethod
    def from_list(cls, values: Any) -> Self:
        """Restores the state from a list of `to_list`.

        Raises:
            ValueError: it is no such list.
        """
        names = cls.__slots__
        if not isinstance(values, list) or len(values) != len(names) or not isinstance(values[0], int):
            msg = f"evidence: got {values!r}, expected a count and {len(names) - 1} sums"
            raise ValueError(msg)
        self = cls(values[0], *map(float.fromhex, values[1:]))
        non_negative = (self.spread, self.size, self.won_squares, self.lost_squares, self.first, self.second)
        valid = (
            0 <= self.count < _MAX_COUNT and abs(self.total) <= self.count and all(one >= 0.0 for one in non_negative)
        )
        if not valid or math.isnan(self.won) or math.isnan(self.lost):
            msg = f"evidence: got {values!r}, expected sums that {self.count} pairs of losses can have"
            raise ValueError(msg)
        return self


def _chain(start: float, terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns running sums from `start` on: one chain of additions, the same for any split of terms over calls."""
    return np.cumsum(np.concatenate(([start], terms)))
