"""Streaming forecasts from a stateful recurrent network."""
