"""Fixtures of several training tests: a short history, and the settings to train on it."""

from __future__ import annotations

import cases
import numpy as np

from forecaster import History, Model, TrainConfig

TRAIN = TrainConfig(k1=6, k2=12, batch=8, max_steps=60, warmup_steps=10, evaluate_every=20, learning_rate=1e-2)
START = Model.initial(cases.GRU)


def sines(steps: int = 300, series: int = 3, noise: float = 0.02, missing: float = 0.0) -> History:
    """Returns sines of a period of eight steps, which the network's only season, of five, does not cover."""
    rng = np.random.RandomState(1)
    which = np.repeat(np.arange(series), steps)
    step = np.tile(np.arange(steps), series)
    value = np.sin(2 * np.pi * step / 8 + which) * (which + 1) + 10 * which + noise * rng.normal(size=step.size)
    value[rng.rand(step.size) < missing] = np.nan
    ts = cases.T0 + step * cases.STEP_MS
    return History(which, ts, value.astype(np.float32), np.zeros((step.size, 0), np.float32))
