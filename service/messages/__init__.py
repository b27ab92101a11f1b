"""Converts bytes to events and forecasts to bytes; the only package that depends on record formats."""
