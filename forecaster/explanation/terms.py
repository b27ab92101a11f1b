r"""The terms of a forecast: what each member says, what it weighs, and what the calibration adds.

With b the newest value, m the members' forecasts, w their weights, o the offsets of the calibration in the unit of the
data (ensemble/combine.py), for every horizon and quantile:

    forecast = b + sum of w_i (m_i - b) + sum of w_i o_i + adjustment

A simple member forecasts one value for all quantiles: its error and its offsets make quantiles of it. The adjustment is
the widening of a series of few steps, the ordering of quantiles that cross, and the limits; mostly it is 0 but for
rounding, as the kernel computes in float32, in scales around b. `recombined` repeats the operations of the kernel in
their order, with the rounding of a fused multiply-add: the result is the forecast bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.ensemble.combine import WIDER
from forecaster.ensemble.experts import PER_SEASON, SEASONAL_FROM, TREND
from forecaster.ensemble.weights import YOUNG
from forecaster.explanation.row_twin import RowTwin
from forecaster.explanation.situation import Situation
from forecaster.features.counters import OBSERVED
from forecaster.features.head_inputs import SEASONAL
from forecaster.features.outliers import YOUNG_VALUES
from forecaster.features.step_inputs import LAST, SCALE, TINY
from forecaster.observe.forecast import LARGEST
from forecaster.observe.observed_rows import limits

Floats = NDArray[np.float32]


def fma(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a b + c of float32 numbers, rounded once.

    The product is exact in float64. The sum is rounded to odd there, from which rounding to float32 gives what a single
    rounding would (Boldo and Melquiond 2008).
    """
    product, term = np.asarray(a, np.float64) * b, np.asarray(c, np.float64)
    total = np.asarray(product + term)
    part = total - product
    error = (product - (total - part)) + (term - part)
    even = (total.view(np.int64) & 1) == 0
    inexact = even & (error != 0.0) & np.isfinite(total)
    odd = np.where(inexact, np.nextafter(total, np.where(error > 0.0, np.inf, -np.inf)), total)
    return odd.astype(np.float32)


@dataclass(frozen=True)
class Terms:
    """The terms of one forecast as the kernel has them: float32, in scales around the newest value.

    H horizons, Q quantile levels, M members, K tracked horizons.

    Attributes:
        network: (H, Q) forecast of member 0, the network.
        points: (M, H) forecasts of the simple members; row 0 is 0.
        weights: (M, H) weights, interpolated between tracked horizons.
        factors: (2, M, H) weights, in the unit of the offsets, of the offsets at the tracked horizon before a horizon
            and at that after it.
        offsets: (K, M, Q) of the calibration.
        tracked: the tracked horizons.
        wider: by which the quantiles of a series of few steps are further from the median.
        anchor, ref, scale, bounds: what makes values of the data of them: anchor + ref + scale * number, within bounds.
        median: index of the level 0.5.
    """

    network: Floats
    points: Floats
    weights: Floats
    factors: Floats
    offsets: Floats
    tracked: tuple[int, ...]
    wider: np.float32
    anchor: float
    ref: np.float32
    scale: np.float32
    bounds: tuple[float, float]
    median: int

    @property
    def base(self) -> float:
        """The newest value, in the unit of the data."""
        return self.anchor + float(self.ref)

    def members(self) -> NDArray[np.float64]:
        """Returns the forecasts of the members in the unit of the data, (M, H, Q); simple ones have equal quantiles."""
        found = np.repeat(self.points[:, :, None], self.network.shape[1], 2).astype(np.float64)
        found[0] = self.network
        members: NDArray[np.float64] = self.base + float(self.scale) * found
        return members

    def correction(self) -> NDArray[np.float64]:
        """Returns what the calibration adds to the sum of the weighted members, in the unit of the data, (H, Q)."""
        total = np.zeros(self.network.shape)
        for first, last, index, count in self._ranges():
            for late in range(count):
                part = self.factors[late, :, first:last].astype(np.float64)
                total[first:last] += np.einsum("mh,mq->hq", part, self.offsets[index + late].astype(np.float64))
        total *= float(self.scale)
        return total

    def mixture(self) -> NDArray[np.float64]:
        """Returns base + sum of weight (member - base), in the unit of the data, (H, Q)."""
        total: NDArray[np.float64] = np.einsum(
            "mh,mhq->hq", self.weights.astype(np.float64), self.members() - self.base
        )
        return self.base + total

    def recombined(self) -> NDArray[np.float64]:
        """Returns the forecast in the unit of the data, (H, Q), by the operations of the kernel in their order."""
        q = self.network
        if len(self.offsets):
            point = np.zeros(self.points.shape[1], np.float32)
            for weight, points in zip(self.weights[1:], self.points[1:], strict=True):
                point = fma(weight, points, point)
            q = fma(q, self.weights[0][:, None], point[:, None])
            for first, last, index, count in self._ranges():
                for late in range(count):
                    for factor, offset in zip(self.factors[late], self.offsets[index + late], strict=True):
                        q[first:last] = fma(factor[first:last, None], offset[None], q[first:last])
            if self.wider != 1.0:
                middle = q[:, self.median : self.median + 1].copy()
                q = fma(q - middle, np.full((1, 1), self.wider), middle)
            q[:, self.median :] = np.maximum.accumulate(q[:, self.median :], axis=1)
            q[:, : self.median + 1] = np.minimum.accumulate(q[:, self.median :: -1], axis=1)[:, ::-1]
        value = fma(q, np.full((1, 1), self.scale), np.full((1, 1), self.ref))
        value = np.minimum(np.maximum(value, np.float32(-LARGEST)), np.float32(LARGEST))
        found: NDArray[np.float64] = np.minimum(np.maximum(self.anchor + value.astype(np.float64), self.bounds[0]),
                                                self.bounds[1])  # fmt: skip
        return found

    def _ranges(self) -> list[tuple[int, int, int, int]]:
        """Returns of every tracked horizon: the horizons up to the next one, from 0 on; its index; 2, of the last 1."""
        last = len(self.tracked) - 1
        return (
            [
                (k - 1, self.tracked[index + 1] - 1 if index < last else k, index, 1 if index == last else 2)
                for index, k in enumerate(self.tracked)
            ]
            if len(self.offsets)
            else []
        )


def terms_of(twin: RowTwin, situation: Situation) -> Terms | None:
    """Reads the terms of the forecast that a twin has just computed from a situation.

    Returns:
        None where the forecast is that of the prior for young series, as the series has no scale yet.
    """
    sizes, S, W = twin.sizes, twin.scratch, twin.weights
    config, ensemble, at = twin.model.config, sizes.ensemble, sizes.scratch
    H, Q, QP = config.horizon, sizes.head.n_q, 16 * sizes.head.q_vectors
    if not situation.stats[SCALE] > TINY and situation.counters[OBSERVED] < YOUNG_VALUES:
        return None
    slots = S[at.s : at.s + H * QP].reshape(H, QP)
    tri = W[sizes.head.tri : sizes.head.tri + QP * QP].reshape(QP, QP)
    network = np.zeros((H, QP), np.float32)
    for slot in range(Q):
        network = fma(slots[:, slot : slot + 1], tri[slot : slot + 1], network)
    M, tracked = max(1, ensemble.members), ensemble.tracked
    low, high = limits(config)
    terms = Terms(
        network[:, :Q].copy(), np.zeros((M, H), np.float32), np.ones((M, H), np.float32),
        np.zeros((2, M, H), np.float32), np.zeros((0, M, Q), np.float32), tracked, np.float32(1.0), situation.anchor,
        np.float32(situation.stats[LAST]), np.float32(min(situation.stats[SCALE], LARGEST)), (low, high),
        ensemble.median,
    )  # fmt: skip
    if not ensemble.members:
        return terms
    K, apart = len(tracked), sizes.features.row
    weights = at.mix + K * M * QP
    factors = weights + M * 16 + 16
    shares = W[ensemble.shares : ensemble.shares + K * apart].reshape(K, apart)[:, :H]
    by_tracked = S[weights : weights + M * 16].reshape(M, 16)[:, :K]
    interpolated = np.zeros((M, H), np.float32)
    for index in range(K):
        interpolated = fma(by_tracked[:, index : index + 1], shares[index : index + 1], interpolated)
    points = np.zeros((M, H), np.float32)
    ahead = S[at.ahead + 16 : at.ahead + 16 + K]
    for index in range(K):
        points[TREND] = fma(np.full(H, ahead[index]), shares[index], points[TREND])
    for member in range(SEASONAL_FROM, M):
        points[member] = _seasonal_points(twin, member, H)
    steps = situation.steps
    wider = 1.0 + WIDER * (1.0 / steps - 1.0 / YOUNG) if steps < YOUNG else 1.0
    return Terms(
        terms.network, points, interpolated,
        S[factors : factors + 2 * M * apart].reshape(2, M, apart)[:, :, :H].copy(),
        S[at.mix : weights].reshape(K, M, QP)[:, :, :Q].copy(), tracked, np.float32(wider), terms.anchor, terms.ref,
        terms.scale, terms.bounds, terms.median,
    )  # fmt: skip


def _seasonal_points(twin: RowTwin, member: int, horizon: int) -> Floats:
    """Returns the forecasts of a seasonal member, as `ensemble.experts.expert_points` computes them."""
    features, S, f = twin.sizes.features, twin.scratch, twin.sizes.scratch.f
    season, kind = divmod(member - SEASONAL_FROM, PER_SEASON)
    one = f + features.target + SEASONAL * season * features.row
    two, shift = one + features.row, S[f + 1 + season]
    points: Floats = S[one : one + horizon].copy()
    if kind == 0:
        return points
    points += shift if kind == 1 else S[two : two + horizon]
    return points if kind == 1 else (points + shift) * np.float32(0.5)
