"""Interfaces to other libraries: frames, River and scikit-learn APIs, PyTorch weights, ONNX, plots.

None of those libraries is imported before it is needed, and none is a dependency of the package: the error for a
missing one names the extra that contains it.
"""

from forecaster.interop.estimator import FrameForecaster
from forecaster.interop.frames import batch_from_frame, forecast_frame
from forecaster.interop.keyed import KeyedForecaster
from forecaster.interop.online import OnlineForecaster
from forecaster.interop.onnx_graph import export_onnx
from forecaster.interop.plots import plot
from forecaster.interop.torch_weights import from_torch, to_torch

__all__ = [
    "FrameForecaster",
    "KeyedForecaster",
    "OnlineForecaster",
    "batch_from_frame",
    "export_onnx",
    "forecast_frame",
    "from_torch",
    "plot",
    "to_torch",
]
