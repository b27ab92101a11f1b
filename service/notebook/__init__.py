"""What `forecaster.read` returns: any table as the daemon understands it, with forecasts and plots."""
