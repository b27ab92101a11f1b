"""Compiles the functions that a first start postpones, see kernels/postponed.py, with a call of each."""

from __future__ import annotations

import numpy as np

from forecaster.batch import Batch, empty_forecasts
from forecaster.config import ModelConfig
from forecaster.evaluation.quality import QualityWatch
from forecaster.layout import layout_of
from forecaster.observe.series_scores import SeriesScorer
from forecaster.state.table import Table


def compile_postponed() -> None:
    """Compiles these functions into the cache on disk; one that is there is only loaded."""
    config = ModelConfig()
    batch = Batch(["warm up"], np.zeros(1, np.int64), np.zeros(1))
    forecasts, table = empty_forecasts(batch.timestamp_ms, config), Table(layout_of(config), 1)
    forecasts.steps[:], forecasts.status[:] = 1, 0
    SeriesScorer(table, config.quantiles, config.seasons).observe(np.zeros(1, np.int64), batch.value, forecasts)
    QualityWatch(config, 1).observe(batch, forecasts, 1)
