"""What turns the hidden state into forecasts: direct.py, all horizons at once; decoder.py, one after another."""
