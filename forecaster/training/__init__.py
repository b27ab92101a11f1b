"""Training: windows of history, truncated BPTT, the optimiser, the loop, champion against challenger."""
