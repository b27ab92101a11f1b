"""Bytes to events and forecasts to bytes; the only part that knows formats."""
