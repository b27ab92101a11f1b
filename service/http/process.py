"""The registry of a process: the daemon's metrics beside those of Python and of the process itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector


def process_registry() -> CollectorRegistry:
    """A fresh registry with memory, file descriptors, processor time and garbage collection of this process.

    Fresh, unlike the global one of prometheus_client, so that a second daemon in one process (in tests) does not
    meet the metrics of the first.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
