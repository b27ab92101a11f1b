"""Snapshots of partitions on disk: the engine writes them, a restart and the trainer read them."""
