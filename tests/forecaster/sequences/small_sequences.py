"""Small networks for sequences, and inputs for them."""

from __future__ import annotations

import numpy as np

from forecaster import (
    SequenceConfig,
    SequenceModel,
    Sequences,
    SequenceTrain,
)

N, T = 5, 11


NETWORKS = {
    "gru": SequenceConfig(features=2, hidden_size=16, layers=2, layer_norm=True, residual=True, initial="learnt"),
    "lstm symbols": SequenceConfig(
        symbols=6, features=1, hidden_size=16, cell="lstm", output="classes", outputs=6, head_size=16
    ),
    "none": SequenceConfig(features=2, cell="none", output="quantiles", quantiles=(0.1, 0.5, 0.7, 0.9), head_size=16),
}


def sequences(config: SequenceConfig, n: int = N, steps: int = T, *, gaps: bool = False) -> Sequences:
    """Returns inputs that fit a network, with missing steps on request."""
    rng = np.random.default_rng(n)
    features = rng.normal(size=(n, steps, config.features)).astype(np.float32) if config.features else None
    symbols = rng.integers(0, config.symbols, (n, steps)) if config.symbols else None
    future = rng.normal(size=(n, config.horizon, config.future)).astype(np.float32) if config.future else None
    if gaps:
        gone = rng.random((n, steps)) < 0.3
        if features is not None:
            features[gone] = np.nan
        if symbols is not None:
            symbols[gone] = -1
    return Sequences(features, symbols, None, future)


def part(data: Sequences, start: int, stop: int) -> Sequences:
    """Returns the steps start..stop-1."""
    cut = [None if column is None else column[:, start:stop] for column in (data.features, data.symbols)]
    return Sequences(*cut)


def rough(config: SequenceConfig) -> SequenceModel:
    """Returns a model without zero parameters."""
    initial = SequenceModel.initial(config)
    noise = np.random.RandomState(0).normal(scale=0.1, size=initial.params.size).astype(np.float32)
    return SequenceModel(config, initial.params + noise)


SMALL = SequenceConfig(features=2, hidden_size=16, layers=2)


QUICK = SequenceTrain(epochs=8, batch=16, learning_rate=0.01)
