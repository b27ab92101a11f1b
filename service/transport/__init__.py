"""A source and a sink as one: what the engine calls a transport."""
