"""Ensemble weights: the weight of every member at every tracked horizon, averaged over series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.ensemble.combine import ensemble_constants
from forecaster.ensemble.names import member_names
from forecaster.ensemble.weights import gather_losses, tracked_horizons, weigh
from forecaster.features.counters import STEPS
from forecaster.forecaster import Forecaster
from forecaster.kernels.jit import kernel


@kernel
def _mean_weights(
    hidden: Any, losses: int, begins: Any, steps: Any, tracked: Any, one: Any, counts: Any, out: Any
) -> None:
    """Overwrites out (K, M) by the mean weights over rows that have verified forecasts, nan where none has.

    one (16*M + 16,) float32 and counts (K,) zeros are scratch.
    """
    K, M = out.shape
    out[:, :] = 0.0
    for r in range(len(steps)):
        gather_losses(M, tracked, steps[r], hidden[r], losses, begins, 0, one, 0, 16 * M)
        weigh(M, one, 0, 16 * M)
        for index in range(K):
            if one[16 * M + index] > 0.0:
                counts[index] += 1
                for i in range(M):
                    out[index, i] += one[16 * i + index]
    for index in range(K):
        for i in range(M):
            out[index, i] = out[index, i] / counts[index] if counts[index] > 0 else np.nan


def mixture_weights(forecaster: Forecaster, limit: int = 1000) -> NDArray[np.float64]:
    """Returns the mean weight of every member at every tracked horizon over the first `limit` rows.

    Args:
        forecaster: not changed.
        limit: number of rows, at most.

    Returns:
        Shape (tracked horizons, members), rows that sum to 1; nan where no forecast has been verified yet.
    """
    config, table = forecaster.config, forecaster._table  # noqa: SLF001 - only the forecaster holds the rows
    tracked, members = tracked_horizons(config.horizon), len(member_names(config))
    if not config.mixture:
        return np.ones((len(tracked), 1))
    used, out = min(limit, table.used), np.empty((len(tracked), members))
    losses = table.ensemble_at + table.layout.ensemble.losses
    steps = np.ascontiguousarray(table.counters[:used, STEPS])
    scratch, counts = np.zeros(16 * members + 16, np.float32), np.zeros(len(tracked), np.int64)
    begins = ensemble_constants(table.layout.ensemble, config.seasons)[2][0].astype(np.float32)
    _mean_weights(table.hidden[:used], losses, begins, steps, np.array(tracked, np.int64), scratch, counts, out)
    return out
