"""Streaming forecasts from a stateful recurrent network: arrays in, arrays out.

The library uses no threads, sockets, clock, environment or logging. See `Forecaster` for a first example.

Names are imported on first access, so that settings and errors do not load the compiler.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecaster.batch import Batch, Forecasts, Note, Silence, Status, is_observed
    from forecaster.config import AnomalyConfig, ModelConfig, TrainConfig
    from forecaster.ensemble.weights import tracked_horizons
    from forecaster.errors import (
        BatchError,
        CheckpointError,
        ConfigError,
        ForecasterError,
        MissingExtraError,
        NothingToLearnError,
        TrainingError,
        install_command,
    )
    from forecaster.evaluation.backtest import Backtest, Retraining, backtest, geometric_positions, retrained
    from forecaster.evaluation.compilation import compile_postponed
    from forecaster.evaluation.drift import DriftTest
    from forecaster.evaluation.quality import Quality, QualityWatch
    from forecaster.evaluation.scores import Scores, at_levels, score
    from forecaster.evaluation.seasons import calendar_seasons, detect_seasons, on_grid
    from forecaster.evaluation.shadow import Shadow
    from forecaster.explanation.explain import Explanation, WhatIf, explain, what_if
    from forecaster.explanation.left_out import LeftOut
    from forecaster.explanation.read_values import ReadValue
    from forecaster.explanation.row_twin import RowTwin
    from forecaster.explanation.similar import PastSituation
    from forecaster.explanation.situation import Situation
    from forecaster.features.calendar import calendar_table
    from forecaster.features.calendar_steps import (
        cadence_months,
        calendar_interval,
        calendar_months,
        calendar_name,
        calendar_of,
        grid_code,
        step_times,
        steps_between,
        target_times,
    )
    from forecaster.forecaster import Forecaster
    from forecaster.inspection import member_names, mixture_weights
    from forecaster.interop.reading import read
    from forecaster.kernels.postponed import kernels_wait
    from forecaster.kernels.setting import use_kernels, used_kernels
    from forecaster.model import Model, load_model, same_shape, save_model
    from forecaster.observe.kernel import kernel_form
    from forecaster.observe.series_scores import RecentScores
    from forecaster.pretrained.start import is_pretrained, start_model, transferred
    from forecaster.rollout import rollout
    from forecaster.sequences.batch import Sequences, padded
    from forecaster.sequences.config import SequenceConfig, SequenceTrain
    from forecaster.sequences.model import SequenceModel
    from forecaster.sequences.training import SequenceProgress, SequenceReport, fit_sequences, sequence_loss
    from forecaster.series_column import SeriesColumn, SeriesLookup, SeriesNames, chosen
    from forecaster.state.budget import series_bytes, with_profile
    from forecaster.state.history import History
    from forecaster.training.compare import Comparison, challenge, compare
    from forecaster.training.loop import FitProgress, FitReport, fit, fit_from

_MODULES = {
    "batch": (
        "Batch",
        "Forecasts",
        "Note",
        "Silence",
        "Status",
        "is_observed",
    ),
    "config": (
        "AnomalyConfig",
        "ModelConfig",
        "TrainConfig",
    ),
    "ensemble.weights": ("tracked_horizons",),
    "errors": (
        "BatchError",
        "CheckpointError",
        "ConfigError",
        "ForecasterError",
        "MissingExtraError",
        "NothingToLearnError",
        "TrainingError",
        "install_command",
    ),
    "evaluation.backtest": (
        "Backtest",
        "Retraining",
        "backtest",
        "geometric_positions",
        "retrained",
    ),
    "evaluation.compilation": ("compile_postponed",),
    "evaluation.drift": ("DriftTest",),
    "evaluation.quality": (
        "Quality",
        "QualityWatch",
    ),
    "evaluation.scores": (
        "Scores",
        "at_levels",
        "score",
    ),
    "evaluation.seasons": (
        "calendar_seasons",
        "detect_seasons",
        "on_grid",
    ),
    "evaluation.shadow": ("Shadow",),
    "explanation.explain": (
        "Explanation",
        "WhatIf",
        "explain",
        "what_if",
    ),
    "explanation.left_out": ("LeftOut",),
    "explanation.read_values": ("ReadValue",),
    "explanation.row_twin": ("RowTwin",),
    "explanation.similar": ("PastSituation",),
    "explanation.situation": ("Situation",),
    "features.calendar": ("calendar_table",),
    "features.calendar_steps": (
        "cadence_months",
        "calendar_interval",
        "calendar_months",
        "calendar_name",
        "calendar_of",
        "grid_code",
        "step_times",
        "steps_between",
        "target_times",
    ),
    "forecaster": ("Forecaster",),
    "inspection": (
        "member_names",
        "mixture_weights",
    ),
    "interop.reading": ("read",),
    "kernels.postponed": ("kernels_wait",),
    "kernels.setting": (
        "use_kernels",
        "used_kernels",
    ),
    "model": (
        "Model",
        "load_model",
        "same_shape",
        "save_model",
    ),
    "observe.kernel": ("kernel_form",),
    "observe.series_scores": ("RecentScores",),
    "pretrained.start": (
        "is_pretrained",
        "start_model",
        "transferred",
    ),
    "rollout": ("rollout",),
    "series_column": (
        "SeriesColumn",
        "SeriesLookup",
        "SeriesNames",
        "chosen",
    ),
    "sequences.batch": (
        "Sequences",
        "padded",
    ),
    "sequences.config": (
        "SequenceConfig",
        "SequenceTrain",
    ),
    "sequences.model": ("SequenceModel",),
    "sequences.training": (
        "SequenceProgress",
        "SequenceReport",
        "fit_sequences",
        "sequence_loss",
    ),
    "state.budget": (
        "series_bytes",
        "with_profile",
    ),
    "state.history": ("History",),
    "training.compare": (
        "Comparison",
        "challenge",
        "compare",
    ),
    "training.loop": (
        "FitReport",
        "FitProgress",
        "fit",
        "fit_from",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports a public name from its module on first access."""
    if name not in _HOMES:
        msg = f"module 'forecaster' has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(importlib.import_module(f"forecaster.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Returns the public names."""
    return sorted(__all__)


__all__ = [
    "AnomalyConfig",
    "Backtest",
    "Batch",
    "BatchError",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "DriftTest",
    "Explanation",
    "FitProgress",
    "FitReport",
    "Forecaster",
    "ForecasterError",
    "Forecasts",
    "History",
    "LeftOut",
    "MissingExtraError",
    "Model",
    "ModelConfig",
    "Note",
    "NothingToLearnError",
    "PastSituation",
    "Quality",
    "QualityWatch",
    "ReadValue",
    "RecentScores",
    "Retraining",
    "RowTwin",
    "Scores",
    "SequenceConfig",
    "SequenceModel",
    "SequenceProgress",
    "SequenceReport",
    "SequenceTrain",
    "Sequences",
    "SeriesColumn",
    "SeriesLookup",
    "SeriesNames",
    "Shadow",
    "Silence",
    "Situation",
    "Status",
    "TrainConfig",
    "TrainingError",
    "WhatIf",
    "at_levels",
    "backtest",
    "cadence_months",
    "calendar_interval",
    "calendar_months",
    "calendar_name",
    "calendar_of",
    "calendar_seasons",
    "calendar_table",
    "challenge",
    "chosen",
    "compare",
    "compile_postponed",
    "detect_seasons",
    "explain",
    "fit",
    "fit_from",
    "fit_sequences",
    "geometric_positions",
    "grid_code",
    "install_command",
    "is_observed",
    "is_pretrained",
    "kernel_form",
    "kernels_wait",
    "load_model",
    "member_names",
    "mixture_weights",
    "on_grid",
    "padded",
    "read",
    "retrained",
    "rollout",
    "same_shape",
    "save_model",
    "score",
    "sequence_loss",
    "series_bytes",
    "start_model",
    "step_times",
    "steps_between",
    "target_times",
    "tracked_horizons",
    "transferred",
    "use_kernels",
    "used_kernels",
    "what_if",
    "with_profile",
]
