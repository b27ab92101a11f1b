"""Chooses how finely rows hold the values that long seasons read, by a budget of bytes per series.

Rows have a number for each step of two seasons where that fits, else means of bins of steps (features/profile.py), of
the fewest steps with which it does. There are at least `LEAST_BINS` bins in the longest season.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from forecaster.config import ModelConfig
from forecaster.layout import layout_of, row_layout
from forecaster.state.table import Table

USUAL_BYTES: Final = 6144
"""Bytes of values and means per series, at most, without a budget: `PLAIN_SEASON` steps of a season fit as values."""

LEAST_BINS: Final = 24


def series_bytes(config: ModelConfig) -> int:
    """Returns the bytes of state per series, without its identifier: see `Forecaster.bytes_per_series`.

    Args:
        config: the network.
    """
    return Table(layout_of(config), 1).bytes_per_series


def with_profile(config: ModelConfig, bytes_per_series: int | None = None) -> ModelConfig:
    """Returns a network with the finest `profile_steps` that fit a budget, the coarsest where none does.

    Args:
        config: the network; its own `profile_steps` are not used.
        bytes_per_series: of the state; None: `USUAL_BYTES` for values and means, whatever the rest takes.
    """
    plain = replace(config, profile_steps=1)
    longest, others = max(config.seasons, default=0), 0
    if bytes_per_series is not None:
        layout = layout_of(plain)
        hidden = row_layout(layout).ensemble + layout.ensemble.floats
        others = series_bytes(plain) - 4 * _padded(hidden)  # statistics and counters
    for steps in range(1, max(1, longest // LEAST_BINS) + 1):
        found = replace(plain, profile_steps=steps)
        layout = layout_of(found)
        if bytes_per_series is None:
            fits = 4 * layout.ring_floats <= USUAL_BYTES
        else:
            fits = others + 4 * _padded(row_layout(layout).ensemble + layout.ensemble.floats) <= bytes_per_series
        if fits:
            return found
    return found if layout.ring.held else plain


def _padded(numbers: int) -> int:
    return -(-numbers // 16) * 16
