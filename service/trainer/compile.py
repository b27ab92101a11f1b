"""Compiles the functions of the loop: at a start, and in the training process for a network of another shape.

What is compiled is cached on disk, so that a daemon that adopts such a network only loads it.
"""

from __future__ import annotations

import numpy as np

from forecaster import Batch, Forecaster, Model


def compile_kernels(model: Model, *, repairs: bool = False) -> None:
    """Compiles the functions of the loop for a model, with a temporary forecaster.

    `repairs`: also those for late events.
    """
    config = model.config
    covariates = np.zeros((1, len(config.covariates)), np.float32) if config.covariates else None
    known = len(config.future_covariates)
    future = np.zeros((1, known, config.horizon), np.float32) if known else None
    batch = Batch(["warm up"], np.zeros(1, np.int64), np.zeros(1), covariates, future)
    Forecaster(model, max_series=1, history_events=0, late_within=int(repairs)).observe(batch)
