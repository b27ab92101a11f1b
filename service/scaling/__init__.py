"""Replicas for a forecast load (`[[scale]]`), and whether they were enough; used by the daemon and by the backtest."""
