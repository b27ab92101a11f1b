"""The fast loop: reads records, forecasts their events and publishes one atomic unit per batch."""
