"""Kernel for `dataset`: the inputs of every step of a data set, computed as on the live path."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.features.known_future import follow_future
from forecaster.features.profile import close_bin
from forecaster.features.step_inputs import N_STATISTICS, observe_value, scale_covariates, step_features
from forecaster.kernels.jit import inlined, kernel
from forecaster.kernels.operands import Block, Ring
from forecaster.kernels.sizes import bind, sized, split
from forecaster.layout import FeatureLayout, Layout, feature_layout, rates


class GridSteps(NamedTuple):
    """Steps of all series on their grids, flat and read-only, but for the bins.

    Attributes:
        y: (N + `bin_floats`,) float64 values that lags read, then bins, see `steps_ring`.
        ts: (N,) int64. gap: (N,) float64 time gaps in intervals.
        cov: (N * C,) float32 raw covariates, one number if C = 0.
        known, known_at, since: `future`, `future_at` and `since` of the data set.
    """

    y: Any
    ts: Any
    gap: Any
    cov: Any
    known: Any
    known_at: Any
    since: Any


class StepInputs(NamedTuple):
    """Outputs of `prepare` for every step, flat.

    Attributes:
        x: (N * n_x,) float32 inputs. stats: (N * 3,) float64.
        future_stats: (N * 2F,) float64, one number where F = 0.
    """

    x: Any
    stats: Any
    future_stats: Any


@sized()
class PrepareLayout(NamedTuple):
    """Sizes of the kernel.

    Attributes:
        features: inputs of the network.
        n_x: inputs of a step.
        level_rate, scale_rate: smallest learning rates of level and scale.
    """

    features: FeatureLayout
    n_x: int
    level_rate: float
    scale_rate: float


def bin_floats(layout: Layout, steps: int) -> int:
    """Returns the numbers behind the values of a data set of so many steps that its bins take."""
    return steps // layout.ring.width + 1 if layout.ring.held else 0


@inlined
def steps_ring(features: FeatureLayout, lags: Any, steps: int, first: int, end: int, at: int) -> Ring:
    """Returns what lags read at step `at` of a data set: all steps of its series, from `first` to `end`, and bins.

    The bins of a series begin at steps + first // width; its last bin, if incomplete, is never read.

    Args:
        features: sizes.
        lags: (steps + `bin_floats`,) values and bins.
        steps: of the data set.
        first, end, at: steps of it.
    """
    return Ring(lags, first, end - first + 1, at - first, features.full, features.width,
                steps + first // features.width, steps + 1, features.reach)  # fmt: skip


def prepare_kernel(layout: Layout) -> tuple[Callable[..., None], NDArray[np.int64]]:
    """Returns the compiled kernel, which serves every layout, and the `numbers` of this one; see `prepare` inside."""
    variant, numbers = split(PrepareLayout(feature_layout(layout), layout.n_x, *rates(layout)))
    return _build(variant), numbers


@functools.lru_cache(maxsize=2)
def _build(variant: PrepareLayout) -> Callable[..., None]:
    @kernel
    def prepare(
        numbers: Any, grid: GridSteps, out: StepInputs, scaled: Any, D: Any, calendar_table: Any, first: int, end: int
    ) -> None:
        """Updates the statistics over steps first..end-1 of one series and writes the inputs of each step.

        Args:
            numbers: sizes and offsets, see kernels/sizes.py.
            grid: read-only; bins are overwritten.
            out: overwritten from `first` to `end`.
            scaled: (N * C,) float32 scratch, one number where C = 0, overwritten by scaled covariates.
            D: (3 + 2C + 2F,) float64 scratch, overwritten.
            calendar_table: local time and holidays.
            first, end: first step of the series, and the one after its last.
        """
        sizes = bind(variant, numbers)
        features, n_x, level_rate, scale_rate = sizes.features, sizes.n_x, sizes.level_rate, sizes.scale_rate
        seasons, calendar, covariates, futures = (
            features.seasons, features.calendar, features.covariates, features.futures,
        )  # fmt: skip
        horizon, followed = features.horizon, covariates + futures
        columns, future_at = N_STATISTICS + 2 * followed, N_STATISTICS + 2 * covariates
        y, ts, since = grid.y, grid.ts, grid.since
        for c in range(columns):
            D[c] = 0.0
        for c in range(followed):
            D[N_STATISTICS + 2 * c] = np.nan
        observed = 0
        for step in range(end - first):
            at = first + step
            ring = steps_ring(features, y, ts.shape[0], first, end, at)
            close_bin(ring)
            if not np.isnan(y[at]):
                observe_value(np.float64(y[at]), observed, D, 0, level_rate, scale_rate)
                observed += 1
            scale_covariates(covariates, grid.cov, at * covariates, D, 0, scaled, at * covariates, step + 1, level_rate)
            if futures > 0:
                if since[at] == 0:
                    follow_future(futures, horizon, grid.known, grid.known_at[at], D, future_at,
                                  max(1.0 / (step + 1), level_rate))  # fmt: skip
                for c in range(2 * futures):
                    out.future_stats[at * 2 * futures + c] = D[future_at + c]
            step_features(seasons, calendar, covariates, ring, Block(D, 0),
                          calendar_table, ts[at], grid.gap[at], Block(scaled, at * covariates),
                          Block(out.x, at * n_x))  # fmt: skip
            for c in range(N_STATISTICS):
                out.stats[at * N_STATISTICS + c] = D[c]

    return prepare
