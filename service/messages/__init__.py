"""Converts bytes to events and forecasts to bytes; the only package that knows formats."""
