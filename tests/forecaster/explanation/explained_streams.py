"""Streams whose newest forecasts the tests of explanations compute once more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from cases import GRU, POOLED, STEP_MS, STREAMING, T0, rough_model
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, ModelConfig

COVARIATES = replace(GRU, mixture=True, covariates=("a",), future_covariates=("p", "q"), calendar=True, seasons=(5, 12))
EXPLAINED = {
    **POOLED,
    "gru-1-pool-covariates-calendar": COVARIATES,
    "gru-1": GRU,
    "decoder-calendar": STREAMING["decoder-calendar"],
    "lstm-2-bare-learnt": STREAMING["lstm-2-bare-learnt"],
    "elman-1-two-seasons-calendar-covariate": STREAMING["elman-1-two-seasons-calendar-covariate"],
}


def batches(config: ModelConfig, seed: int, events: int, series: tuple[str, ...] = ("a",)) -> Iterator[Batch]:
    """Yields events one by one: uneven times, gaps, missing values, outliers, a constant beginning, a level shift."""
    rng = np.random.default_rng(seed)
    for step in range(events):
        for name in series:
            if rng.random() < 0.05:
                continue
            value = 4.0 * np.sin(step / 3) + rng.normal() + (1e7 if step > events // 2 else 0.0)
            value += 60.0 if rng.random() < 0.03 else 0.0
            value = 3.0 if step < 5 else value
            time = T0 + step * STEP_MS + int(rng.integers(0, STEP_MS // 8))
            yield Batch(
                [name],
                np.array([time]),
                np.array([np.nan if rng.random() < 0.05 else value]),
                rng.normal(size=(1, len(config.covariates))).astype(np.float32),
                rng.normal(size=(1, len(config.future_covariates), config.horizon)).astype(np.float32),
            )


def observed(config: ModelConfig, seed: int, events: int) -> tuple[Forecaster, NDArray[np.float64]]:
    """Returns a forecaster after a stream, and the forecast of its newest event."""
    forecaster, newest = Forecaster(rough_model(config)), np.zeros(0)
    for batch in batches(config, seed, events):
        newest = forecaster.observe(batch).quantiles[0]
    return forecaster, newest


def state_bytes(forecaster: Forecaster) -> bytes:
    """Returns everything that a snapshot of a forecaster holds."""
    arrays = forecaster.state()
    return repr(forecaster.header()).encode() + b"".join(arrays[name].tobytes() for name in sorted(arrays))
