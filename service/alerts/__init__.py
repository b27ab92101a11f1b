"""Alerts: what lasts from an anomaly, a silence, a breach or drift until it is over, as a function of the events."""
