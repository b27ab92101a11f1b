"""Streaming forecasts from a stateful recurrent network: arrays in, arrays out.

No threads, sockets, clock, environment or logging in here. See `Forecaster` for the five lines to start with.
"""

from forecaster.batch import Batch, Forecasts, Status
from forecaster.config import ModelConfig, TrainConfig
from forecaster.errors import BatchError, CheckpointError, ConfigError, ForecasterError, TrainingError
from forecaster.forecaster import Forecaster
from forecaster.history import History
from forecaster.model import Model, load_model, save_model
from forecaster.training.compare import Comparison, compare
from forecaster.training.loop import FitReport, Progress, fit

__all__ = [
    "Batch",
    "BatchError",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "FitReport",
    "Forecaster",
    "ForecasterError",
    "Forecasts",
    "History",
    "Model",
    "ModelConfig",
    "Progress",
    "Status",
    "TrainConfig",
    "TrainingError",
    "compare",
    "fit",
    "load_model",
    "save_model",
]
