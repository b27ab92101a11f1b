"""Settings: every key with its default, its bounds and what it is for; files, environment and flags."""
