"""Windows over raw events: the events of a series within an interval become one value; pure, one partition at a time.

    raw events -> interval_grid (which window) -> open_window (what it holds) -> aggregator (when it closes) -> events

`window_arrays` converts the open windows to arrays of a snapshot and back.
"""
