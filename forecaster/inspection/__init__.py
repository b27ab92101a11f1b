"""Inspection of a forecaster: gradients by lag, speed of its parts, ensemble weights."""

from forecaster.inspection.gradients import gradient_by_lag, plot_gradients, stream_gradient_by_lag
from forecaster.inspection.mixture_weights import member_names, mixture_weights
from forecaster.inspection.speed import observe_work, operations, peak_work, step_work

__all__ = [
    "gradient_by_lag",
    "member_names",
    "mixture_weights",
    "observe_work",
    "operations",
    "peak_work",
    "plot_gradients",
    "step_work",
    "stream_gradient_by_lag",
]
