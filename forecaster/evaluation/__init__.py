"""Scores of forecasts against actuals: quality, drift, shadow models, seasons, backtests."""
