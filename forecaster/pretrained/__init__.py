"""Shipped weights, trained on generated series, and their adaptation to a configuration."""
