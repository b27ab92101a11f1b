"""The fast loop: records in, forecasts out, one atomic unit per batch."""
