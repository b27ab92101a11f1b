"""Transports of the engine: pairs of a source and a sink."""
