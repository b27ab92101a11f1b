"""What `forecaster demo` adds to the daemon: a sampler of this machine, its score and its screen."""
