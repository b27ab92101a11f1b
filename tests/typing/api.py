"""Usage of the public names, checked by the type checker and never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from forecaster import (
    Batch,
    BatchError,
    CheckpointError,
    Comparison,
    ConfigError,
    FitProgress,
    FitReport,
    Forecaster,
    ForecasterError,
    Forecasts,
    History,
    Model,
    ModelConfig,
    Status,
    TrainConfig,
    TrainingError,
    compare,
    fit,
    load_model,
    save_model,
)


def notebook() -> NDArray[np.float64]:
    """Five lines as in a notebook."""
    forecaster = Forecaster(ModelConfig(horizon=24, seasons=(24,)))
    batch = Batch(["a", "b"], np.array([0, 0], np.int64), np.array([1.0, 2.0]))
    forecasts = forecaster.observe(batch)
    assert_type(forecasts, Forecasts)
    assert_type(forecasts.status, NDArray[np.uint8])
    assert_type(forecasts.interval_ms, NDArray[np.int64])
    assert_type(forecaster.fit(), FitReport)
    assert_type(forecasts.quantiles, NDArray[np.float64])
    taken: NDArray[np.bool_] = forecasts.status == Status.OK
    some: NDArray[np.float64] = forecasts.quantiles[taken]
    return some


def training(forecaster: Forecaster, path: Path) -> Comparison:
    """Trains on the history, apart from the stream."""
    losses: list[float] = []

    def watch(progress: FitProgress) -> None:
        losses.append(progress.validation_loss)

    history = forecaster.history()
    assert_type(history, History)
    report = fit(history, forecaster.model, TrainConfig(max_steps=10), watch)
    assert_type(report.model, Model)
    save_model(path, report.model, {"loss": report.validation_loss})
    verdict = compare(forecaster.model, load_model(path), history)
    if verdict.promote:
        forecaster.adopt(report.model)
    return verdict


def persistence(forecaster: Forecaster, path: str) -> Forecaster:
    """Saves the state to a file, and restores it from a file and from arrays."""
    forecaster.save(path)
    copied = {name: array.copy() for name, array in forecaster.state().items()}
    assert_type(Forecaster.load(path), Forecaster)
    return Forecaster.from_state(copied, forecaster.header(), forecaster.model, max_series=10)


def errors() -> str:
    """Catches errors by their common root; a ConfigError names its field."""
    try:
        ModelConfig(cell="transformer")
    except ConfigError as error:
        return error.field
    except (BatchError, CheckpointError, TrainingError) as error:
        root: ForecasterError = error
        return str(root)
    return ""
