"""The parts of `forecaster demo`: a sampler of this machine's metrics, a score board and the screen."""
