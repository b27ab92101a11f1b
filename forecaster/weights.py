"""What the pool relies on: the weight of every member, averaged over series, for a look from outside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster._jit import kernel
from forecaster.config import ModelConfig
from forecaster.forecaster import Forecaster
from forecaster.mixture import tracked_horizons, weigh
from forecaster.table import STEPS


def member_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of the members of the pool, in the order of `mixture_weights`; ("network",) without a mixture."""
    if not config.mixture:
        return ("network",)
    kinds = ("seasonal_naive", "seasonal_level", "two_seasons")
    return ("network", "naive", *(f"{kind}_{season}" for season in config.seasons for kind in kinds))


@kernel
def _mean_weights(hidden: Any, losses: int, steps: Any, tracked: Any, one: Any, out: Any) -> None:
    """Overwrites out (K, M) by the mean weights of rows that have scored forecasts, nan where no row has; one: (M,)."""
    K, M = out.shape
    for index in range(K):
        count = 0
        out[index, :] = 0.0
        for r in range(len(steps)):
            scored = False
            for i in range(M):
                scored = scored or not np.isnan(hidden[r, losses + index * M + i])
            if scored:
                count += 1
                weigh(M, hidden[r], losses + index * M, 1, steps[r] - tracked[index], one, 0, 1)
                for i in range(M):
                    out[index, i] += one[i]
        for i in range(M):
            out[index, i] = out[index, i] / count if count > 0 else np.nan


def mixture_weights(forecaster: Forecaster, limit: int = 1000) -> NDArray[np.float64]:
    """Mean weight of every member at every tracked horizon over the first `limit` rows.

    Returns:
        (tracked horizons, members), rows that add up to 1; nan where nothing has been scored yet.
    """
    config, table = forecaster.config, forecaster._table  # noqa: SLF001 - a look at the rows, which only it holds
    tracked, members = tracked_horizons(config.horizon), len(member_names(config))
    if not config.mixture:
        return np.ones((len(tracked), 1))
    used, out = min(limit, table.used), np.empty((len(tracked), members))
    losses = table.pool_at + table.shape.pool.losses
    steps = np.ascontiguousarray(table.whole[:used, STEPS])
    _mean_weights(table.hidden[:used], losses, steps, np.array(tracked, np.int64), np.empty(members), out)
    return out
