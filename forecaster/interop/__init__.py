"""Beside other libraries: frames, the interfaces of River and scikit-learn, PyTorch's weights, ONNX, plots.

None of those libraries is imported before it is needed, and none is a dependency of the package: what is missing is
named together with the extra that brings it.
"""

from forecaster.interop.estimator import FrameForecaster
from forecaster.interop.frames import batch_from_frame, forecast_frame
from forecaster.interop.online import OnlineForecaster
from forecaster.interop.onnx_graph import export_onnx
from forecaster.interop.plots import plot
from forecaster.interop.torch_weights import from_torch, to_torch

__all__ = [
    "FrameForecaster",
    "OnlineForecaster",
    "batch_from_frame",
    "export_onnx",
    "forecast_frame",
    "from_torch",
    "plot",
    "to_torch",
]
