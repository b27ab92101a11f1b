"""What the daemon shows to Prometheus and to probes."""
