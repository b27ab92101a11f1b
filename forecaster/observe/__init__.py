"""The fused per-event kernel: features, network, ensemble, anomaly score and state, in this order."""

from forecaster.observe.kernel import observe_kernel

__all__ = ["observe_kernel"]
