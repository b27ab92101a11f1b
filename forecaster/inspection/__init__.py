"""Inspection of a forecaster: gradients by lag, speed of its parts, ensemble weights.

The daemon needs the ensemble weights alone; other names are imported on first access, as those of the library are.
"""

import importlib
from typing import TYPE_CHECKING, Any

from forecaster.ensemble.names import member_names
from forecaster.inspection.mixture_weights import mixture_weights

if TYPE_CHECKING:
    from forecaster.inspection.gradients import gradient_by_lag, plot_gradients, stream_gradient_by_lag
    from forecaster.inspection.speed import observe_work, operations, peak_work, step_work

_HOMES = {
    "gradient_by_lag": "gradients",
    "observe_work": "speed",
    "operations": "speed",
    "peak_work": "speed",
    "plot_gradients": "gradients",
    "step_work": "speed",
    "stream_gradient_by_lag": "gradients",
}


def __getattr__(name: str) -> Any:
    """Imports a public name from its module on first access."""
    if name not in _HOMES:
        msg = f"module 'forecaster.inspection' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"forecaster.inspection.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Returns the public names."""
    return sorted(__all__)


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
