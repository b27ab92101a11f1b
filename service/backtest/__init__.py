"""The parts of `forecaster backtest`: events in time order, forecast origins, predictions, scores, the report."""
