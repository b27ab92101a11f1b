"""What `forecaster backtest` is made of: a whole file in time order, origins, predictions, scores, the report."""
