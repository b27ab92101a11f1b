"""The slow loop: training processes and what they do."""
