"""Metrics for Prometheus and the state for health probes."""
