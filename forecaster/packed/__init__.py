"""Quantiles as codes of two and three bytes; see quantiles.py."""

from forecaster.packed.quantiles import (
    LARGEST_DISTANCE,
    MANTISSA,
    MIDDLE_CODES,
    NO_DIGITS,
    PackedQuantiles,
    pack_quantiles,
    unpack_quantiles,
)

__all__ = [
    "LARGEST_DISTANCE",
    "MANTISSA",
    "MIDDLE_CODES",
    "NO_DIGITS",
    "PackedQuantiles",
    "pack_quantiles",
    "unpack_quantiles",
]
