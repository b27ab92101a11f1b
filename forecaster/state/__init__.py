"""The state per series, its history, and how both are saved and restored."""
