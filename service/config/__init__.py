"""Settings: every key with its default, its bounds and its description; read from a file, the environment and flags."""
