"""Interfaces to other libraries: frames, River and scikit-learn APIs, stream processors, PyTorch weights, ONNX, plots.

None of those libraries is imported before it is needed, and none is a dependency of the package: the error for a
missing one names the extra that contains it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from forecaster.interop.estimator import FrameForecaster
from forecaster.interop.frames import batch_from_frame, forecast_frame
from forecaster.interop.keyed import KeyedForecaster
from forecaster.interop.online import OnlineForecaster
from forecaster.interop.onnx_graph import export_onnx
from forecaster.interop.plots import plot
from forecaster.interop.statsforecast import StatsForecastModel
from forecaster.interop.torch_weights import from_torch, to_torch

if TYPE_CHECKING:
    from forecaster.interop.sktime import SktimeForecaster


def __getattr__(name: str) -> Any:
    """Imports the class that is one of sktime's, and so needs sktime to exist, on first access."""
    if name == "SktimeForecaster":
        return importlib.import_module("forecaster.interop.sktime").SktimeForecaster
    msg = f"module 'forecaster.interop' has no attribute {name!r}"
    raise AttributeError(msg)


__all__ = [
    "FrameForecaster",
    "KeyedForecaster",
    "OnlineForecaster",
    "SktimeForecaster",
    "StatsForecastModel",
    "batch_from_frame",
    "export_onnx",
    "forecast_frame",
    "from_torch",
    "plot",
    "to_torch",
]
