"""Recurrent cells: elman, gru, lstm, each in its equations; layer.py drives any of them."""
