"""The network and the streams of the tests of shadow models and of the drift test."""

from __future__ import annotations

import numpy as np

from forecaster import Batch, ModelConfig

CONFIG = ModelConfig(hidden_size=16, head_size=16, horizon=3, quantiles=(0.1, 0.5, 0.9))


def stream(events: int, series: int = 3, seed: int = 1) -> Batch:
    """Returns interleaved series of a random walk."""
    rng = np.random.default_rng(seed)
    names = [f"s{i % series}" for i in range(events)]
    return Batch(names, (np.arange(events) // series) * 60_000, 50 + np.cumsum(rng.normal(size=events)))


def part(batch: Batch, start: int, end: int) -> Batch:
    """Returns the events start..end-1 of a batch."""
    return Batch(batch.series[start:end], batch.timestamp_ms[start:end], batch.value[start:end])
