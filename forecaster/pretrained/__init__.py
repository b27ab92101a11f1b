"""Weights that come with the program, fitted to generated series, and how they are fitted to a configuration."""
