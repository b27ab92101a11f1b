"""One-to-many generation on the stream: a series is continued with values drawn from its own forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts
from forecaster.errors import BatchError
from forecaster.features.calendar_steps import step_times
from forecaster.forecaster import Forecaster
from forecaster.sampling import sample_quantiles


def rollout(
    forecaster: Forecaster,
    series: str,
    forecasts: Forecasts,
    steps: int,
    *,
    row: int = -1,
    paths: int = 100,
    seed: int = 0,
    covariates: NDArray[Any] | None = None,
    future: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    """Draws sample paths of the future of a series, which have the dependence between steps that quantiles lack.

    Each path draws the next value from the 1-step-ahead forecast, observes it on a copy of the series' row, and so on.
    Network, ensemble and calibration are updated along the path. `forecaster` is not changed.

    Args:
        forecaster: the forecaster that has observed the series.
        series: its identifier.
        forecasts: what `observe` returned for the series' newest event.
        steps: length of a path.
        row: the row of that event in `forecasts`.
        paths: number of paths.
        seed: of the draws; the same seed gives the same paths.
        covariates: (steps, C) of the future steps, where the model has some.
        future: (F, K) known-future covariates at the 1st, 2nd, ... future step, nan where missing, where the model has
            some; any K, beyond which they are missing.

    Returns:
        (paths, steps) float32 values for origin + 1, 2, ... intervals.

    Raises:
        BatchError: the series or its interval is not known, the row holds no forecast, or the covariates do not
            fit.
    """
    config = forecaster.config
    interval, width = int(forecasts.interval_ms[row]), len(config.covariates)
    quantiles = np.repeat(forecasts.quantiles[row, :1], paths, axis=0)
    if interval == 0 or not np.isfinite(quantiles).all():
        msg = f"row {row}: got interval {interval} ms, expected an answered event of a series whose interval is known"
        raise BatchError(msg)
    shape = None if covariates is None else covariates.shape
    if shape != ((steps, width) if width else None):
        msg = f"covariates: got {shape or 'none'}, expected {(steps, width) if width else 'none'}"
        raise BatchError(msg)
    known = len(config.future_covariates)
    if (future is None) == bool(known) or (future is not None and (future.ndim != 2 or len(future) != known)):
        got = "none" if future is None else future.shape
        msg = f"future: got {got}, expected {f'({known}, K)' if known else 'none'}"
        raise BatchError(msg)
    twin, names = forecaster.copies(series, paths), [str(i) for i in range(paths)]
    rng, out = np.random.default_rng(seed), np.zeros((paths, steps), np.float32)
    code, timezone = int(forecasts.calendar[row]), forecasts.timezone
    times = step_times(int(forecasts.origin_ms[row]), interval, code, np.arange(1, steps + 1), timezone)
    for i in range(steps):
        out[:, i] = sample_quantiles(quantiles, config.quantiles, rng.random(paths))
        if i + 1 == steps:
            break
        timestamp_ms = np.full(paths, times[i])
        ahead = None if covariates is None else np.repeat(covariates[i : i + 1], paths, axis=0)
        lists = None if future is None else _from(future, i + 1, config.horizon, paths)
        answers = twin.observe(Batch(names, timestamp_ms, out[:, i].astype(np.float64), ahead, lists))
        quantiles = answers.quantiles[:, 0]
    return out


def _from(future: NDArray[Any], step: int, horizon: int, paths: int) -> NDArray[np.float32]:
    """Returns the known future values after `step` steps, repeated for every path."""
    lists = np.full((len(future), horizon), np.nan, np.float32)
    rest = future[:, step : step + horizon]
    lists[:, : rest.shape[1]] = rest
    return np.repeat(lists[None], paths, axis=0)
