"""Snapshots of partitions on disk, where the fast loop and the trainer meet."""
