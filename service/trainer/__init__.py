"""The slow loop: training processes and their work."""
