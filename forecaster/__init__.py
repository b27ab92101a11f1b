"""Streaming forecasts from a stateful recurrent network: arrays in, arrays out.

No threads, sockets, clock, environment or logging in here. See `Forecaster` for the five lines to start with.
"""

from forecaster.batch import Batch, Forecasts, Status
from forecaster.config import ModelConfig, TrainConfig
from forecaster.errors import BatchError, CheckpointError, ConfigError, ForecasterError, TrainingError
from forecaster.forecaster import Forecaster
from forecaster.history import History
from forecaster.model import Model, load_model, save_model

__all__ = [
    "Batch",
    "BatchError",
    "CheckpointError",
    "ConfigError",
    "Forecaster",
    "ForecasterError",
    "Forecasts",
    "History",
    "Model",
    "ModelConfig",
    "Status",
    "TrainConfig",
    "TrainingError",
    "load_model",
    "save_model",
]
