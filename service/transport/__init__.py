"""Pairs a source with a sink: what the engine calls a transport."""
